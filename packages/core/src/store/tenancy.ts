/**
 * Holding the store's lease: waiting for it, becoming the writer with it, and giving it back. What the writer
 * knows of the store is true only while it holds the lease, and is forgotten with it.
 */
import { derFromP1363 } from "../proof/ecdsa-der.ts";
import { deviceLogOrigin } from "../proof/checkpoint.ts";
import { formatNote, noteKeyId } from "../proof/note.ts";
import { isProviderFailure } from "../keys/guard.ts";
import type { Keyring } from "../keys/keyring.ts";
import type { SigningKeyRecord } from "../keys/signing.ts";
import type { DeviceHead, Origin, SealedGroup } from "../seal/seal.ts";
import type { CommitNote } from "../seal/sealed-event.ts";
import { utf8 } from "../std/bytes.ts";
import { type ErrorCode, HoldfastError, invariant, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock, Crypto, Random, Timers } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { Lease } from "./lease.ts";
import type { AppendParticipant, SqliteEventLog } from "./sqlite-event-log.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";
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
  /** `KeyProviders.generation` when it was taken up. */
  readonly generation: number;
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
  /** Is that still the identity to write as? Another key provider may have been chosen since. */
  readonly isCurrent: (identity: WriterIdentity) => boolean;
  /** Called after COMMIT, before the answer. */
  readonly committed: (identity: WriterIdentity, note: CommitNote) => void;
  /** Called when the lease was taken over from a holder that is gone or late. */
  readonly tookOver?: () => void;
}

/** What the writer knows while it holds the lease. */
export interface Tenure {
  readonly token: number;
  readonly identity: WriterIdentity;
  readonly sign: CommitSigner;
  head: DeviceHead;
  readonly streams: Map<string, StreamHead>;
}

export interface Tenancy {
  /** The tenure, after waiting for the lease where another process has it. Throws `store_busy`. */
  hold(): Promise<Tenure>;
  /** Forgets what was known of the store and gives the lease back. */
  surrender(): void;
}

const leaseRetryMs = 20;
const headsKeptMax = 10_000;

export function createTenancy(deps: WriterDeps): Tenancy {
  const { clock, observer, timers } = deps;
  let tenure: Tenure | undefined;
  /** Token of the lease that this writer holds, also where it could not become the writer with it. */
  let leased: number | undefined;

  function surrender(): void {
    tenure = undefined;
    if (leased === undefined) return;
    const token = leased;
    leased = undefined;
    try {
      deps.session().lease.release(token);
    } catch (error) {
      // The lease then ends by expiry, or because this process is gone.
      if (!isHoldfastError(error)) throw error;
    }
  }

  /** A provider that fails while its incarnation is taken up leaves the choice to another one. */
  async function hold(): Promise<Tenure> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await holdOnce();
      } catch (error) {
        if (!isProviderFailure(error) || attempt >= limits.keyProvidersMax) throw error;
        surrender();
      }
    }
  }

  async function holdOnce(): Promise<Tenure> {
    if (tenure !== undefined) {
      if (deps.isCurrent(tenure.identity)) return tenure;
      surrender();
    }
    const deadline = clock.monotonic() + limits.leaseWaitMsMax;
    for (;;) {
      const attempt = deps.session().lease.tryAcquire();
      if (attempt.status === "held") {
        observer.count("lease_waits", 1, { result: "held" });
        leased = attempt.token;
        const identity = await deps.becomeWriter(attempt.token);
        const { device, incarnation } = identity.origin;
        const state = deps.session().log.deviceLog(device, incarnation);
        invariant(state !== undefined, "a writer's incarnation is in its log");
        const sign = await createCommitSigner(deps, identity);
        const { token } = attempt;
        tenure = { token, identity, sign, head: state.head, streams: new Map() };
        if (attempt.tookOver !== undefined) {
          observer.log("warn", "lease_taken_over");
          deps.tookOver?.();
        }
        return tenure;
      }
      if (clock.monotonic() >= deadline) {
        observer.count("lease_waits", 1, { result: "busy" });
        throw new HoldfastError("store_busy", { holder: attempt.holder });
      }
      await new Promise<void>((resolve) => timers.after(leaseRetryMs, resolve));
    }
  }

  return { hold, surrender };
}

/** The head of a stream, kept while the lease is held. */
export function cachedHead(
  held: Tenure,
  session: StoreSession,
  stream: string,
): StreamHead | undefined {
  const known = held.streams.get(stream);
  if (known !== undefined) return known;
  const head = session.log.streams.get(stream);
  if (head !== undefined) rememberHead(held, stream, head);
  return head;
}

/** Keeps a head that a commit has moved on. */
export function rememberHead(held: Tenure, stream: string, head: StreamHead): void {
  if (held.streams.size >= headsKeptMax) held.streams.clear();
  held.streams.set(stream, head);
}

/** Signs the statements of sealed groups as one incarnation. */
export type CommitSigner = (sealed: SealedGroup) => Promise<CommitNote>;

/**
 * The signer of that incarnation, for one tenure of the lease: unwrapping and importing the private key costs
 * more than signing (measured: 105 µs of 160 µs for each commit).
 */
export async function createCommitSigner(
  deps: Pick<WriterDeps, "crypto" | "keyring">,
  identity: WriterIdentity,
): Promise<CommitSigner> {
  const { origin, key } = identity;
  const { device, incarnation } = origin;
  const sign = await deps.keyring.signer(incarnation);
  const name = deviceLogOrigin(origin);
  const keyId = noteKeyId(deps.crypto, { name, algorithm: key.algorithm, spki: key.spki });
  return async (sealed) => {
    const made = await sign(utf8(sealed.statement));
    const signature = key.algorithm === "ecdsa-p256" ? derFromP1363(made) : made;
    return {
      device,
      incarnation,
      size: sealed.head.range.size,
      root: sealed.root,
      text: formatNote(sealed.statement, [{ name, keyId, signature }]),
    };
  };
}
