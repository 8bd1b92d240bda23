/**
 * The writer loop: the one way into a store.
 *
 * Calls wait in a queue; the loop takes all that wait (group commit), plans them, seals the new events, signs
 * one note, and writes one transaction. A call is answered after COMMIT. After a storage failure the store is
 * closed and opened again, and the ids on the medium decide what had been committed: what is absent is sealed
 * anew under the same ids, or its callers are told.
 */
import { derFromP1363 } from "../proof/ecdsa-der.ts";
import { formatNote, noteKeyId } from "../proof/note.ts";
import { deviceLogOrigin } from "../proof/checkpoint.ts";
import type { Keyring, SigningKeyRecord } from "../keys/keyring.ts";
import { type DeviceHead, type Origin, sealGroup, type SealedGroup } from "../seal/seal.ts";
import type { CommitNote } from "../seal/sealed-event.ts";
import { utf8 } from "../std/bytes.ts";
import { type ErrorCode, HoldfastError, invariant, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock, Crypto, Random, Timers } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { AppendCall, AppendedEvent, AppendResult, PreparedDraft } from "./append.ts";
import type { Lease } from "./lease.ts";
import { createPlanner, type PlannedCall, type PlannedDraft } from "./plan.ts";
import { inTransaction, type AppendParticipant, type SqliteEventLog } from "./sqlite-event-log.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";
import { headerOf } from "./sqlite-event-log.ts";
import type { StreamHead } from "./stream-heads.ts";

/** Everything that hangs on one open connection; made anew when the store is reopened. */
export interface StoreSession {
  readonly driver: SqliteDriver;
  readonly log: SqliteEventLog;
  readonly lease: Lease;
  readonly participants: readonly AppendParticipant[];
}

/** Which incarnation the writer seals for; the key is in the keyring. */
export interface WriterIdentity {
  readonly origin: Origin;
  readonly key: SigningKeyRecord;
}

export interface WriterDeps {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly observer: Observer;
  readonly keyring: Keyring;
  readonly newId: () => string;
  readonly session: () => StoreSession;
  /** Closes and opens the connection again; throws when the medium does not answer. */
  readonly reopen: (code: ErrorCode) => void;
  /**
   * Called with the lease held, before anything is sealed: reads what another process may have changed and
   * opens a new incarnation where one is due.
   */
  readonly becomeWriter: (token: number) => Promise<WriterIdentity>;
  /** Called after COMMIT, before the answer. */
  readonly committed: (identity: WriterIdentity, note: CommitNote) => void;
}

export interface Writer {
  append(call: AppendCall): Promise<AppendResult>;
  /** Runs work that needs the lease, between groups. */
  exclusively<T>(work: (session: StoreSession, token: number) => T): Promise<T>;
  /** Ends after the calls that wait; gives the lease back. */
  close(): Promise<void>;
}

interface WaitingCall {
  /** After a failed attempt its drafts have the ids that they were sealed under. */
  call: AppendCall;
  readonly since: number;
  resolve(result: AppendResult): void;
  reject(error: unknown): void;
}

/** What the writer knows while it holds the lease. */
interface Tenure {
  readonly token: number;
  readonly identity: WriterIdentity;
  head: DeviceHead;
  readonly streams: Map<string, StreamHead>;
}

const storageCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "store_full",
  "store_io_error",
  "store_corrupt",
  "store_read_only",
  "store_busy",
  "store_constraint",
]);
const attemptsMax = 3;

export function createWriter(deps: WriterDeps): Writer {
  const { clock, observer, timers } = deps;
  const queue: WaitingCall[] = [];
  const work: (() => Promise<void>)[] = [];
  let tenure: Tenure | undefined;
  let running: Promise<void> | undefined;
  let cancelIdle: (() => void) | undefined;
  let closed = false;

  function start(): void {
    running ??= Promise.resolve().then(run);
  }

  async function run(): Promise<void> {
    cancelIdle?.();
    while (queue.length > 0 || work.length > 0) {
      const next = work.shift();
      if (next !== undefined) {
        await next();
        continue;
      }
      // Whoever is about to call joins the group: without this a stream of calls is committed one by one.
      await new Promise<void>((resolve) => timers.soon(resolve));
      await commitGroup(takeGroup(queue));
    }
    running = undefined;
    if (!closed) cancelIdle = timers.after(limits.leaseIdleMs, giveBackIdle, true);
  }

  function giveBackIdle(): void {
    if (running === undefined) giveBack();
  }

  function giveBack(): void {
    if (tenure === undefined) return;
    const { token } = tenure;
    tenure = undefined;
    try {
      deps.session().lease.release(token);
    } catch (error) {
      // The lease then ends by expiry, or because this process is gone.
      if (!isHoldfastError(error)) throw error;
    }
  }

  async function holdLease(): Promise<Tenure> {
    if (tenure !== undefined) return tenure;
    const deadline = clock.monotonic() + limits.leaseWaitMsMax;
    for (;;) {
      const attempt = deps.session().lease.tryAcquire();
      if (attempt.status === "held") {
        observer.count("lease_waits", 1, { result: "held" });
        if (attempt.tookOver !== undefined) observer.log("warn", "lease_taken_over");
        const identity = await deps.becomeWriter(attempt.token);
        const { device, incarnation } = identity.origin;
        const state = deps.session().log.deviceLog(device, incarnation);
        invariant(state !== undefined, "a writer's incarnation is in its log");
        tenure = { token: attempt.token, identity, head: state.head, streams: new Map() };
        return tenure;
      }
      if (clock.monotonic() >= deadline) {
        observer.count("lease_waits", 1, { result: "busy" });
        throw new HoldfastError("store_busy", { holder: attempt.holder });
      }
      await new Promise<void>((resolve) => timers.after(leaseRetryMs, resolve));
    }
  }

  async function commitGroup(group: readonly WaitingCall[]): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await commitOnce(group);
        return;
      } catch (error) {
        if (mayTryAgain(error) && attempt < attemptsMax) continue;
        for (const waiting of group) answer(waiting, error);
        return;
      }
    }
  }

  /** Puts the writer into a known state after a failure; says whether the group may be tried again. */
  function mayTryAgain(error: unknown): boolean {
    deps.keyring.release();
    tenure = undefined;
    if (!isHoldfastError(error)) return false;
    if (error.code === "lease_lost") return true;
    if (!storageCodes.has(error.code)) return false;
    try {
      deps.reopen(error.code);
    } catch (reopening) {
      if (!isHoldfastError(reopening)) throw reopening;
      return false;
    }
    return error.code === "store_io_error";
  }

  async function commitOnce(group: readonly WaitingCall[]): Promise<void> {
    const held = await holdLease();
    const session = deps.session();
    const planner = createPlanner({
      crypto: deps.crypto,
      keyring: deps.keyring,
      log: session.log,
      newId: deps.newId,
      device: held.identity.origin.device,
      incarnation: held.identity.origin.incarnation,
      headOf: (stream) => cachedHead(held, session, stream),
    });
    const plans = group.map(({ call }) => planner.planCall(call));
    const drafts = planner.newDrafts;
    if (drafts.length === 0) {
      answerGroup(group, plans, []);
      return;
    }
    const end = observer.span("commit");
    try {
      const sealed = sealGroup(
        {
          crypto: deps.crypto,
          random: deps.random,
          keyFor: (scope, section) => deps.keyring.dataKeyToSeal(scope, section),
        },
        held.identity.origin,
        held.head,
        drafts.map(({ sealable }) => sealable),
      );
      const note = await signCommit(deps, held.identity, sealed);
      deps.keyring.flush();
      const first = writeGroup(session, held, sealed, note, drafts);
      held.head = sealed.head;
      for (const [stream, head] of planner.heads) rememberHead(held, stream, head);
      deps.committed(held.identity, note);
      observer.count("commits", 1);
      observer.observe("commit_events", drafts.length);
      answerGroup(
        group,
        plans,
        sealed.events.map(({ leaf, header }, at) => ({
          id: header.id,
          position: first + at,
          sequence: header.seq,
          leaf,
          stream: header.stream,
          duplicate: false,
        })),
      );
      end("ok");
    } catch (error) {
      end("error");
      for (const [at, waiting] of group.entries()) keepIds(waiting, plans[at] as PlannedCall);
      throw error;
    }
  }

  function writeGroup(
    session: StoreSession,
    held: Tenure,
    sealed: SealedGroup,
    note: CommitNote,
    drafts: readonly { readonly prepared: PreparedDraft }[],
  ): number {
    const urgent = new Set<string>();
    for (const [at, { prepared }] of drafts.entries()) {
      if (prepared.lane === "urgent") urgent.add(sealed.events[at]?.leaf as string);
    }
    const contents = new Map(
      sealed.events.map(({ leaf }, at) => [
        leaf,
        (drafts[at] as { prepared: PreparedDraft }).prepared.content,
      ]),
    );
    const batch = { events: sealed.events, note, urgent, contents };
    let wanted = false;
    let outcome;
    try {
      outcome = inTransaction(session.driver, () => {
        wanted = session.lease.assertHeld(held.token).wanted;
        return session.log.appendWithin(batch, session.participants);
      });
    } catch (error) {
      const position = decidedByReopening(error, sealed);
      if (position === undefined) throw error;
      tenure = undefined;
      return position;
    }
    if (outcome.status === "stale") throw new HoldfastError("lease_lost", { size: outcome.size });
    if (wanted) giveBack();
    return outcome.firstPosition;
  }

  /** After an unknown outcome: position of the first event when the commit is on the medium after all. */
  function decidedByReopening(error: unknown, sealed: SealedGroup): number | undefined {
    if (!isHoldfastError(error) || !storageCodes.has(error.code)) return undefined;
    try {
      deps.reopen(error.code);
    } catch {
      return undefined;
    }
    const stored = deps.session().log.byLeaf(sealed.events[0]?.leaf as string);
    observer.count("commit_unknown", 1, { outcome: stored === undefined ? "absent" : "present" });
    return stored?.position;
  }

  function answer(waiting: WaitingCall, error: unknown): void {
    observer.count("append_calls", 1, { result: isHoldfastError(error) ? error.code : "bug" });
    waiting.reject(error);
  }

  function answerGroup(
    group: readonly WaitingCall[],
    plans: readonly PlannedCall[],
    appended: readonly AppendedEvent[],
  ): void {
    let next = 0;
    for (const [at, waiting] of group.entries()) {
      const plan = plans[at] as PlannedCall;
      if (plan.status === "refused") {
        answer(waiting, plan.error);
        continue;
      }
      observer.observe("append_latency", clock.monotonic() - waiting.since);
      if (plan.status === "answered") {
        observer.count("append_calls", 1, { result: plan.result.status });
        waiting.resolve(plan.result);
        continue;
      }
      const events = plan.drafts.map((draft): AppendedEvent => {
        if (draft.kind === "new") return appended[next++] as AppendedEvent;
        return repeatedEvent(draft, appended);
      });
      observer.count("append_calls", 1, { result: "appended" });
      observer.count("append_events", events.length);
      waiting.resolve({ status: "appended", events });
    }
  }

  return {
    append(call) {
      if (closed) return Promise.reject(new HoldfastError("store_closed"));
      if (queue.length >= limits.writerQueueCallsMax) {
        return Promise.reject(new HoldfastError("store_overloaded", { calls: queue.length }));
      }
      return new Promise((resolve, reject) => {
        queue.push({ call, since: clock.monotonic(), resolve, reject });
        start();
      });
    },
    exclusively(task) {
      if (closed) return Promise.reject(new HoldfastError("store_closed"));
      return new Promise((resolve, reject) => {
        work.push(async () => {
          try {
            const { token } = await holdLease();
            resolve(task(deps.session(), token));
          } catch (error) {
            mayTryAgain(error);
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        });
        start();
      });
    },
    async close() {
      closed = true;
      for (let active = running; active !== undefined; active = running) await active;
      cancelIdle?.();
      giveBack();
    },
  };
}

const leaseRetryMs = 20;
const headsKeptMax = 10_000;

/** All calls that wait, up to what one commit takes; a call is never split. */
function takeGroup(queue: WaitingCall[]): readonly WaitingCall[] {
  let events = 0;
  let bytes = 0;
  let count = 0;
  for (const { call } of queue) {
    const callBytes = call.drafts.reduce((sum, draft) => sum + draft.bytes, 0);
    const fits =
      events + call.drafts.length <= limits.batchEventsMax &&
      bytes + callBytes <= limits.commitBytesMax;
    if (count > 0 && !fits) break;
    events += call.drafts.length;
    bytes += callBytes;
    count += 1;
  }
  return queue.splice(0, count);
}

function cachedHead(held: Tenure, session: StoreSession, stream: string): StreamHead | undefined {
  const known = held.streams.get(stream);
  if (known !== undefined) return known;
  const head = session.log.streams.get(stream);
  if (head !== undefined) rememberHead(held, stream, head);
  return head;
}

function rememberHead(held: Tenure, stream: string, head: StreamHead): void {
  if (held.streams.size >= headsKeptMax) held.streams.clear();
  held.streams.set(stream, head);
}

/** Whether the attempt is on the medium may be unknown: under the same ids the next one finds out. */
function keepIds(waiting: WaitingCall, plan: PlannedCall): void {
  if (plan.status !== "planned") return;
  const drafts = waiting.call.drafts.map((draft, at): PreparedDraft => {
    const planned = plan.drafts[at];
    return planned?.kind === "new" ? { ...draft, id: planned.sealable.id } : draft;
  });
  waiting.call = { ...waiting.call, drafts };
}

function repeatedEvent(
  draft: Exclude<PlannedDraft, { kind: "new" }>,
  appended: readonly AppendedEvent[],
): AppendedEvent {
  if (draft.kind === "repeated") {
    return { ...(appended[draft.index] as AppendedEvent), duplicate: true };
  }
  const { position, leaf } = draft.stored;
  const { seq, stream } = headerOf(draft.stored);
  return { id: draft.id, position, sequence: seq, leaf, stream, duplicate: true };
}

/** Signs the statement of a sealed group as that incarnation. */
export async function signCommit(
  deps: Pick<WriterDeps, "crypto" | "keyring">,
  identity: WriterIdentity,
  sealed: SealedGroup,
): Promise<CommitNote> {
  const { origin, key } = identity;
  const sign = await deps.keyring.signer(origin.incarnation);
  const made = await sign(utf8(sealed.statement));
  const name = deviceLogOrigin(origin);
  const keyId = noteKeyId(deps.crypto, { name, algorithm: key.algorithm, spki: key.spki });
  const signature = key.algorithm === "ecdsa-p256" ? derFromP1363(made) : made;
  return {
    device: origin.device,
    incarnation: origin.incarnation,
    size: sealed.head.range.size,
    root: sealed.root,
    text: formatNote(sealed.statement, [{ name, keyId, signature }]),
  };
}
