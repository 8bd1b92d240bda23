/**
 * The life of an open store: one session after another, its writer, what was found, and its end.
 */
import { type AuditTrail, createAuditTrail } from "../audit/audit-log.ts";
import { auditTypes } from "../audit/audit-events.ts";
import { keyUseIn } from "../audit/key-use.ts";
import { createRegistry } from "../event/registry.ts";
import { createUuidV7 } from "../event/uuid.ts";
import { isOver, type RotationState } from "../keys/rotation.ts";
import { limits } from "../std/limits.ts";
import {
  continueDataKeyRotation,
  type DataKeyRotationState,
  isDataKeyRotationOpen,
  type RotateDataKeysDeps,
} from "../lifecycle/rotate-data-keys.ts";
import { continueRotation, type RotateKeysDeps, tellPhase } from "../lifecycle/rotate-keys.ts";
import { base64 } from "../std/bytes.ts";
import { type ReadModels } from "../projection/read-models.ts";
import { HoldfastError, isHoldfastError, isMediumFailure } from "../std/errors.ts";
import {
  openAccepted,
  openForReading,
  openForWriting,
  readOwnLog,
  type Session,
} from "../store/session.ts";
import { inTransaction } from "../store/sqlite-event-log.ts";
import { pulledHash } from "../store/pulled.ts";
import {
  becomeWriter,
  createMarker,
  type Marker,
  openNextIncarnation,
  type TenureDeps,
} from "../store/tenure.ts";
import type { WriterIdentity } from "../store/tenancy.ts";
import type { CommitNote } from "../seal/sealed-event.ts";
import { createWriter, type Writer } from "../store/writer.ts";
import { createReplica } from "../sync/replica.ts";
import type { SyncStore } from "../sync/sync-store.ts";
import type { Finding } from "./holdfast.ts";
import { type ClientSession, dressSession, type StoreDeps } from "./client-session.ts";
import { markFindings } from "./mark-findings.ts";
import { createShredding, type Shredding } from "./shredding.ts";
import { openEvent } from "./open-event.ts";

const auditRegistry = createRegistry(auditTypes);

/** A class, because a store has a life: one session after another, and an end. */
export class StoreLife {
  readonly deps: StoreDeps;
  /** `undefined` in a store that is open for reading. */
  readonly writer: Writer | undefined;
  /** Who did what to keys and leases, and which starts were refused. */
  readonly audit: AuditTrail;
  /** What sync plans from and stores into. */
  readonly sync: SyncStore;
  /** Called after every commit, and before a session is given up. */
  readonly listeners = new Set<{ committed(models: ReadModels): void; reopened(): void }>();
  readonly #tenure: TenureDeps;
  readonly #findings = new Map<string, Finding>();
  #session: ClientSession | undefined;
  #closed = false;
  #closing = false;
  #rotating: Promise<void> = Promise.resolve();
  readonly shredding: Shredding;

  constructor(deps: StoreDeps) {
    this.deps = deps;
    const newId = createUuidV7(deps.clock, deps.random);
    this.#tenure = { ...deps, newId };
    const marker = createMarker(this.#tenure);
    this.shredding = this.#createShredding();
    this.#session = this.#open();
    try {
      for (const code of readOwnLog(deps, this.#session)?.judgement.findings ?? []) {
        this.#find(code, markFindings[code] ?? code);
      }
    } catch (error) {
      this.#session.driver.close();
      throw error;
    }
    if (deps.readOnly) {
      this.audit = this.#createAudit(newId);
      this.sync = this.#createReplica(marker);
      return;
    }
    this.writer = createWriter({
      ...deps,
      newId,
      session: () => this.#writable(),
      reopen: (code) => {
        this.#reopen(code);
      },
      becomeWriter: (token) => {
        marker.forget();
        return becomeWriter(this.#tenure, this.#writable(), token);
      },
      isCurrent: ({ key, generation }) => {
        const { providers } = deps.keyring;
        return generation === providers.generation() && key.provider === providers.line();
      },
      committed: (identity, note) => {
        this.#mark(marker, identity, () => note);
        this.committed();
      },
      tookOver: () => {
        this.audit.note({ kind: "LeaseTakenOver", facts: { lease: "writer" } });
      },
    });
    this.audit = this.#createAudit(newId);
    this.sync = this.#createReplica(marker);
  }

  #createShredding(): Shredding {
    return createShredding({
      isWriter: () => this.writer !== undefined && !this.#closing,
      rotateDeps: () => this.rotateDeps(),
      rotateDataKeysDeps: () => this.rotateDataKeysDeps(),
      rotate: (work) => this.rotate(work),
      session: () => this.current(),
      transact: (work) => this.transact(work),
      rekey: () => this.rekey(),
      retireHpkeKeys: () => this.#retireHpkeKeys(),
      room: this.deps.medium.room,
      find: (code, message) => {
        if (message === undefined) this.#findings.delete(code);
        else this.#find(code, message);
      },
    });
  }

  #createAudit(newId: () => string): AuditTrail {
    const { clock, observer, keyring } = this.deps;
    const opening = { ...this.deps, registry: auditRegistry };
    return createAuditTrail({
      clock,
      observer,
      newId,
      append: this.writer?.append,
      session: () => this.current(),
      actorOf: keyring.actorOf,
      open: (stored) => {
        const { closed, log } = this.current();
        const { isShredded } = log.shreds;
        return openEvent({ ...opening, awaited: closed.has, isShredded }, stored);
      },
    });
  }

  /** The store side of sync. */
  #createReplica(marker: Marker): SyncStore {
    const { crypto, clock, keyring } = this.deps;
    return createReplica({
      crypto,
      clock,
      keyring,
      writer: this.writer,
      session: () => this.current(),
      worker: this.worker,
      openIncarnation: async (token, reason) => {
        marker.forget();
        await openNextIncarnation(this.#tenure, this.#writable(), token, reason);
      },
      pulled: ({ identity, head }) => {
        this.#mark(marker, identity, head);
      },
      onCommitted: () => {
        this.committed();
      },
    });
  }

  /** After COMMIT: what was recorded stands, so that a mark that cannot be written lags, and is found. */
  #mark(
    marker: Marker,
    identity: WriterIdentity,
    head: () => Pick<CommitNote, "size" | "root">,
  ): void {
    try {
      marker.write(identity, { ...head(), pulled: pulledHash(this.current().driver) });
    } catch (error) {
      const code = isHoldfastError(error) ? error.code : "internal";
      this.#find("mark_unwritable", "The high-water mark cannot be written; it lags.");
      this.deps.observer.log("warn", "mark_unwritable", { code });
    }
  }

  /** Names this process's lease of outbox entries. */
  get worker(): string {
    return this.deps.process.holder.replaceAll(/[^\x21-\x7e]/g, "_").slice(0, 128);
  }

  get findings(): readonly Finding[] {
    return [...this.#findings.values()];
  }

  /** A store that does not start is closed: nobody else could. */
  async start(): Promise<void> {
    try {
      await this.#prepare();
    } catch (error) {
      await this.writer?.close();
      this.#closed = true;
      this.#session?.driver.close();
      this.deps.medium.close?.();
      throw error;
    }
  }

  async #prepare(): Promise<void> {
    const writer = this.writer;
    if (writer === undefined) return;
    if (this.current().log.head() === 0) await writer.exclusively(() => undefined);
    if (this.current().driver.capabilities.readOnly) return;
    for (const model of this.current().models.unfinished()) await this.build(model, false);
    const openable = this.current().closed.openable();
    if (openable.length > 0) {
      await this.transact(({ closed, models }) => {
        for (const { key, generation } of openable) models.refold(closed.take(key, generation));
      });
    }
    const sink = keyUseIn((entry) => {
      if (!this.#closing) this.audit.note(entry);
    });
    this.deps.keyring.providers.listen(sink);
    await this.#goOnRotating();
    if (this.shredding.isOpen()) await this.#soon(this.shredding.goOn());
  }

  /** An interrupted rotation goes on behind the opening; one that is soon over is waited for. */
  async #goOnRotating(): Promise<void> {
    const { keyring } = this.deps;
    const { writer } = this;
    const stale = keyring.findings.some(({ code }) => code === "keyring_copy_stale");
    if (stale) await writer?.exclusively(() => keyring.rotation.settle());
    if (keyring.recovery.list().length > 0) {
      await writer?.exclusively(() => keyring.recovery.escrow());
    }
    const state = keyring.rotation.state();
    const inKeyring = state !== undefined && !isOver(state.phase);
    if (!inKeyring && !isDataKeyRotationOpen(this.current().driver)) return;
    const order = { why: "resumed" };
    this.#rotating = this.rotate(async () => {
      await continueRotation(this.rotateDeps(), order);
      await continueDataKeyRotation(this.rotateDataKeysDeps(), order);
    }).then(
      () => undefined,
      (error: unknown) => {
        const code = isHoldfastError(error) ? error.code : "internal";
        this.#find("rotation_stopped", `A rotation of keys cannot go on: ${code}.`);
        this.deps.observer.log("warn", "rotation_stopped", { code });
      },
    );
    await this.#soon(this.#rotating);
  }

  /** Waits for what is soon over, and no longer. */
  async #soon(work: Promise<void>): Promise<void> {
    await Promise.race([
      work,
      new Promise<void>((resolve) =>
        this.deps.timers.after(limits.rotationResumeMs, resolve, true),
      ),
    ]);
  }

  /** What rotation in this store stands on. Throws `store_read_only`. */
  rotateDeps(onProgress?: (state: RotationState) => void): RotateKeysDeps {
    const { writer, audit } = this;
    if (writer === undefined) throw new HoldfastError("store_read_only");
    const { keyring, clock, timers, observer } = this.deps;
    const stopped = (): boolean => this.#closing;
    return { writer, keyring, clock, timers, observer, audit, stopped, onProgress };
  }

  rotateDataKeysDeps(onProgress?: (state: DataKeyRotationState) => void): RotateDataKeysDeps {
    const { writer, keyring, timers, observer, audit, stopped } = this.rotateDeps();
    const { crypto, random } = this.deps;
    const session = (): ClientSession => this.current();
    const ports = { writer, keyring, crypto, random, timers, observer, audit, session };
    return { ...ports, stopped, onProgress };
  }

  /**
   * Former HPKE keys go once the log grants this device access for the present one, or where it has no access to
   * lose: what holders wrap from then on is wrapped to the present one.
   */
  async retireHpkeKeys(): Promise<void> {
    const { keyring } = this.deps;
    if (!keyring.hasFormerHpkeKeys) return;
    await this.#retireHpkeKeys();
    // A shred may have waited for it.
    if (!keyring.hasFormerHpkeKeys && this.shredding.isOpen()) await this.shredding.goOn();
  }

  async #retireHpkeKeys(): Promise<void> {
    const { keyring, observer } = this.deps;
    const { writer } = this;
    if (writer === undefined || !keyring.hasFormerHpkeKeys) return;
    const device = readOwnLog(this.deps, this.current())?.device ?? "";
    const row = this.current().access.fold().devices.get(device);
    if (row !== undefined && row.hpke !== base64(keyring.hpke().publicKey)) return;
    await writer.exclusively(() => keyring.retireHpkeKeys());
    const { audit } = this;
    await tellPhase({ audit, observer }, { key: "hpke", phase: "old-key-destroyed" });
  }

  /** One rotation at a time in this process, in the order in which they were asked for; the last ends before the store. */
  rotate<T>(work: () => Promise<T>): Promise<T> {
    const running = this.#rotating.then(work);
    this.#rotating = running.then(
      () => undefined,
      () => undefined,
    );
    return running;
  }

  /** Opens the next own log, with a new signing key of the provider in use. */
  async rekey(): Promise<void> {
    const { writer } = this;
    if (writer === undefined) throw new HoldfastError("store_read_only");
    const { keyring } = this.deps;
    await writer.exclusively(async (_, token, tenure) => {
      await openNextIncarnation(this.#tenure, this.#writable(), token, "re-key");
      if (keyring.recovery.list().length > 0) await keyring.recovery.escrow();
      tenure.forget();
    });
    this.committed();
  }

  /** Builds in steps, each a transaction of its own: appends go on between them. */
  async build(
    name: string,
    anew: boolean,
    onProgress?: (done: number, total: number) => void,
  ): Promise<void> {
    const writer = this.writer;
    if (writer === undefined) throw new HoldfastError("store_read_only");
    const end = this.deps.observer.span("rebuild");
    const within = <T>(work: (models: ReadModels) => T): Promise<T> =>
      writer.exclusively(({ driver, lease }, token) =>
        inTransaction(driver, () => {
          lease.assertHeld(token);
          return work(this.current().models);
        }),
      );
    await within((models) => {
      if (anew || !models.isBuilding(name)) models.beginBuild(name);
    });
    for (;;) {
      const step = await within((models) => models.stepBuild(name));
      onProgress?.(step.streams, step.total);
      if (step.done) break;
    }
    this.committed();
    end("ok");
  }

  /** Runs work that writes, with the lease held, in one transaction; told to listeners like a commit. */
  async transact<T>(work: (session: ClientSession) => T): Promise<T> {
    if (this.writer === undefined) throw new HoldfastError("store_read_only");
    const result = await this.writer.exclusively(({ driver, lease }, token) =>
      inTransaction(driver, () => {
        lease.assertHeld(token);
        return work(this.current());
      }),
    );
    this.committed();
    return result;
  }

  #open(): ClientSession {
    const { readOnly, acceptRollback } = this.deps;
    const open = readOnly ? openForReading : acceptRollback ? openAccepted : openForWriting;
    return this.#dressed(open(this.deps));
  }

  #dressed(session: Session): ClientSession {
    try {
      return dressSession(this.deps, session, ({ entries }) => {
        this.audit.note({ kind: "LeaseTakenOver", facts: { lease: "outbox", entries } });
      });
    } catch (error) {
      session.driver.close();
      throw error;
    }
  }

  /** After COMMIT: whoever waits for it is told, and what it put in force begins. */
  committed(): void {
    for (const listener of this.listeners) listener.committed(this.current().models);
    this.shredding.committed();
  }

  /** The session to read through. A medium that cannot be written just now is read all the same. */
  current(): ClientSession {
    if (this.#closed) throw new HoldfastError("store_closed");
    if (this.#session !== undefined) return this.#session;
    try {
      this.#session = this.#open();
    } catch (error) {
      if (!isMediumFailure(error)) throw error;
      this.#session = this.#dressed(openForReading(this.deps));
    }
    return this.#session;
  }

  /** The session to write through; a store behind its mark is open for reading only. */
  #writable(): ClientSession {
    if (this.#closed) throw new HoldfastError("store_closed");
    if (this.#session?.driver.capabilities.readOnly === true) {
      this.#refuseBehindMark(this.#session);
      // It is open for reading because the medium could not be written then.
      this.#session.driver.close();
      this.#session = undefined;
    }
    this.#session ??= this.#open();
    if (this.#session.driver.capabilities.readOnly) this.#refuseBehindMark(this.#session);
    return this.#session;
  }

  #refuseBehindMark(session: ClientSession): void {
    const own = readOwnLog(this.deps, session);
    const verdict = own?.judgement.verdict;
    if (verdict !== "rewritten" && verdict !== "rolled-back") return;
    if (verdict === "rolled-back" && this.deps.acceptRollback) return;
    throw new HoldfastError(verdict === "rewritten" ? "store_rewritten" : "store_rolled_back", {
      held: own?.size ?? 0,
      attested: own?.reading.mark?.size ?? 0,
    });
  }

  #reopen(code: string): void {
    this.deps.observer.count("store_reopens", 1, { code });
    this.deps.observer.log("warn", "store_reopened", { code });
    const before = this.#session;
    this.#session = undefined;
    for (const listener of this.listeners) listener.reopened();
    try {
      before?.driver.close();
    } catch (error) {
      // A connection that fails to close is given up; the next one recovers from the medium.
      if (!isHoldfastError(error)) throw error;
    }
    this.#session = this.#open();
  }

  #find(code: string, message: string): void {
    this.#findings.set(code, { code, message });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closing = true;
    await this.#rotating;
    await this.audit.settled();
    await this.writer?.close();
    this.#closed = true;
    try {
      this.#session?.driver.close();
    } finally {
      this.deps.medium.close?.();
      this.deps.keyring[Symbol.dispose]();
    }
  }
}
