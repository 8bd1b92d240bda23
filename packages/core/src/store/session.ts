/**
 * Opening a connection to a store, and opening it again.
 *
 * A writer first looks through a read-only connection: such a connection never checkpoints, so when a read
 * error has cut the write-ahead log short (SQLite then sees a torn tail), the log is still there. Only when
 * the store holds what its high-water mark attests is it opened for writing and made durable.
 */
import type { Keyring } from "../keys/keyring.ts";
import { parseCheckpoint } from "../proof/checkpoint.ts";
import { parseNote } from "../proof/note.ts";
import { rootOf } from "../proof/tree.ts";
import { base64, type Bytes } from "../std/bytes.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import type { Clock, Crypto } from "../std/ports.ts";
import { type Judgement, judgeMark, type Place } from "./judge.ts";
import { createLease, type Lease, type ProcessIdentity } from "./lease.ts";
import { type MarkFile, type MarkReading, readMark } from "./mark.ts";
import { configure, durableBarrier } from "./pragmas.ts";
import { wasPulled } from "./pulled.ts";
import { wasRestored } from "./restored.ts";
import { checkFormat, isOlderFormat, schemaDrift } from "./schema.ts";
import { createSqliteEventLog, type SqliteEventLog } from "./sqlite-event-log.ts";
import type { Room } from "./pages.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";

/** Where a store lies, as its platform sees it. */
export interface StoreMedium {
  /** Opens the database with the page key, which is wiped by the caller afterwards. */
  openDriver(pageKey: Bytes, options: { readonly readOnly: boolean }): SqliteDriver;
  readonly place: Place;
  /** The high-water mark of one incarnation. */
  markFile(incarnation: string): MarkFile;
  /** What there is for a file that is written anew; without it that is not asked before. */
  readonly room?: () => Room;
  /** Gives back what was kept open for the marks. */
  close?(): void;
}

/** Ports that a connection to a store needs. */
export interface SessionDeps {
  readonly crypto: Crypto;
  readonly clock: Clock;
  readonly process: ProcessIdentity;
  readonly keyring: Keyring;
  readonly medium: StoreMedium;
}

/** What hangs on one open connection. */
export interface Session {
  readonly driver: SqliteDriver;
  readonly log: SqliteEventLog;
  readonly lease: Lease;
}

/** The device log that this store writes, and what its mark says about it. */
export interface OwnLog {
  readonly device: string;
  readonly incarnation: string;
  readonly size: number;
  /** base64 */
  readonly root: string;
  readonly reading: MarkReading;
  readonly judgement: Judgement;
}

const looksMax = 3;

/**
 * A connection for reading, checked. Throws the storage codes, `store_foreign`, `store_newer`, `store_older`,
 * `store_drifted`.
 */
export function openForReading(deps: SessionDeps): Session {
  return openSession(deps, "read");
}

/**
 * A connection for writing, checked and durable. A store that holds less than its mark says is looked at
 * again, and stays as it is: the connection that is returned is then for reading only.
 */
export function openForWriting(deps: SessionDeps): Session {
  let look = openSession(deps, "read");
  for (let times = 1; orClosed(look, () => behindMark(deps, look)); times++) {
    if (times === looksMax) return look;
    look.driver.close();
    look = openSession(deps, "read");
  }
  const session = orClosed(look, () => openSession(deps, "write"));
  look.driver.close();
  orClosed(session, () => {
    durableBarrier(session.driver);
  });
  return session;
}

/** A connection that nobody gets is closed: SQLite shares what it knows of a file among all in a process. */
function orClosed<T>(session: Session, work: () => T): T {
  try {
    return work();
  } catch (error) {
    session.driver.close();
    throw error;
  }
}

function behindMark(deps: SessionDeps, session: Session): boolean {
  if (wasRestored(deps, session.driver)) return false;
  const verdict = readOwnLog(deps, session)?.judgement.verdict;
  return verdict === "rolled-back" || verdict === "rewritten";
}

/** Opens for writing whatever the mark says: the operator has accepted the older state. */
export function openAccepted(deps: SessionDeps): Session {
  const session = openSession(deps, "write");
  orClosed(session, () => {
    durableBarrier(session.driver);
  });
  return session;
}

function openSession(deps: SessionDeps, mode: "read" | "write"): Session {
  const pageKey = deps.keyring.pageKey();
  const driver = deps.medium.openDriver(pageKey, { readOnly: mode !== "write" });
  pageKey.fill(0);
  try {
    configure(driver);
    checkFormat(driver);
    checkStoreId(driver, deps.keyring);
    checkSchema(driver);
    const log = createSqliteEventLog({ crypto: deps.crypto, driver });
    const lease = createLease({ driver, clock: deps.clock, process: deps.process });
    return { driver, log, lease };
  } catch (error) {
    driver.close();
    throw error;
  }
}

function checkSchema(driver: SqliteDriver): void {
  if (isOlderFormat(driver)) throw new HoldfastError("store_older");
  const [drift] = schemaDrift(driver);
  if (drift !== undefined) throw new HoldfastError("store_drifted", { object: drift });
}

/** Throws `store_foreign` unless the database is that of the keyring. */
export function checkStoreId(driver: SqliteDriver, keyring: Pick<Keyring, "storeId">): void {
  const row = driver
    .prepare("SELECT value FROM store WHERE name = 'store_id'")
    .get<{ value: string }>();
  if (row?.value !== keyring.storeId) throw new HoldfastError("store_foreign");
}

/**
 * Of own device logs, newest first, the one that goes on: the newest whose signing key lies in that provider.
 * Each provider of a keyring has its own line of incarnations, so that a fallback goes on where its key signed
 * before. A log whose key is in no provider that is known is never passed over.
 */
export function lineOf<T extends { readonly incarnation: string }>(
  keyring: Pick<Keyring, "signingKeys">,
  logs: readonly T[],
  provider: string | undefined,
): T | undefined {
  const held = new Map(
    keyring.signingKeys().map((key) => [key.incarnation, key.provider] as const),
  );
  return logs.find(({ incarnation }) => {
    const holder = held.get(incarnation);
    return holder === undefined || holder === provider;
  });
}

interface OwnRow {
  readonly number: number;
  readonly device: string;
  readonly incarnation: string;
}

/**
 * The own device log that goes on with the provider of that id, by default the chosen one; where that provider
 * has none yet, the newest of all. `undefined` in a store that has none.
 *
 * Another process may record meanwhile. So marks are read first, which never lead, and then one state of the store:
 * size, root and note of different moments would look like a history that somebody has written anew.
 */
export function readOwnLog(
  deps: Pick<SessionDeps, "crypto" | "keyring" | "medium">,
  session: Pick<Session, "driver" | "log">,
  provider: string | undefined = deps.keyring.providers.line(),
): OwnLog | undefined {
  const marks = readMarks(deps);
  return inOneState(session.driver, () => judgeOwnLog(deps, session, provider, marks));
}

type MarkOf = (incarnation: string) => MarkReading;

/** Marks of the logs that are known to be own; of a later one when it is asked for. */
function readMarks({ keyring, medium }: Pick<SessionDeps, "keyring" | "medium">): MarkOf {
  const mac = keyring.markMac();
  const read = (incarnation: string): MarkReading => readMark(mac, medium.markFile(incarnation));
  const known = new Map(
    keyring.signingKeys().map(({ incarnation }) => [incarnation, read(incarnation)]),
  );
  return (incarnation) => known.get(incarnation) ?? read(incarnation);
}

/** Reads that see one committed state; within a transaction they do already. */
function inOneState<T>(driver: SqliteDriver, reads: () => T): T {
  if (driver.inTransaction) return reads();
  driver.exec("BEGIN");
  try {
    return reads();
  } finally {
    if (driver.inTransaction) driver.exec("COMMIT");
  }
}

function judgeOwnLog(
  deps: Pick<SessionDeps, "crypto" | "keyring" | "medium">,
  session: Pick<Session, "driver" | "log">,
  provider: string | undefined,
  marks: MarkOf,
): OwnLog | undefined {
  const { driver, log } = session;
  const logs = driver
    .prepare(
      "SELECT number, device, incarnation FROM incarnations WHERE own = 1 ORDER BY number DESC",
    )
    .all<OwnRow>();
  const own = lineOf(deps.keyring, logs, provider) ?? logs[0];
  const lost = lostLog(deps, session, marks);
  if (own === undefined) return lost;
  const root = rootOfLog(deps, log, own);
  const size = log.deviceLogSize(own.device, own.incarnation);
  const commitAt = driver.prepare(
    "SELECT root, note FROM commits WHERE incarnation = ? AND size = ?",
  );
  const rootAt = (at: number): string | undefined => {
    if (at === 0) return base64(deps.crypto.sha256());
    if (at === size) return root;
    return commitAt.get<{ root: string }>(own.number, at)?.root;
  };
  const reading = marks(own.incarnation);
  const judged = {
    size,
    rootAt,
    wasPulled: (hash: string) => wasPulled(deps.crypto, driver, hash),
  };
  const judgement = judgeMark(reading, judged, deps.medium.place);
  const note = commitAt.get<{ root: string; note: string }>(own.number, size)?.note;
  if (judgement.verdict === "rolled-back") return { ...own, size, root, reading, judgement };
  if (!attests(note, size, root)) {
    const findings = [...new Set([...judgement.findings, "store_rewritten"])];
    return { ...own, size, root, reading, judgement: { verdict: "rewritten", findings } };
  }
  if (lost !== undefined) {
    const findings = [...judgement.findings, ...lost.judgement.findings];
    const { verdict } = lost.judgement;
    return { ...own, size, root, reading: lost.reading, judgement: { verdict, findings } };
  }
  return { ...own, size, root, reading, judgement };
}

/** Root of a device log; empty when its rows do not make a tree, so that it equals no root. */
function rootOfLog(
  deps: Pick<SessionDeps, "crypto">,
  log: SqliteEventLog,
  own: { readonly device: string; readonly incarnation: string },
): string {
  try {
    if (log.deviceLogSize(own.device, own.incarnation) === 0) return base64(deps.crypto.sha256());
    const state = log.deviceLog(own.device, own.incarnation);
    return state === undefined ? "" : base64(rootOf(deps.crypto, state.head.range));
  } catch (error) {
    if (!isHoldfastError(error, "proof_source_short")) throw error;
    return "";
  }
}

/**
 * An own device log of which this very folder held more than it does now, as its mark says. The newest log
 * alone does not tell: a copy from before the last incarnation has another newest log, whole by itself.
 * Likewise a log that is signed with a key of ours and said to be another's.
 */
function lostLog(
  deps: Pick<SessionDeps, "crypto" | "keyring" | "medium">,
  session: Pick<Session, "driver" | "log">,
  marks: MarkOf,
): OwnLog | undefined {
  const ownFlag = session.driver.prepare(
    "SELECT own FROM incarnations WHERE device = ? AND incarnation = ?",
  );
  for (const { device, incarnation } of deps.keyring.signingKeys()) {
    const reading = marks(incarnation);
    const size = session.log.deviceLogSize(device, incarnation);
    const disowned = ownFlag.get<{ own: number }>(device, incarnation)?.own === 0;
    const here = reading.mark?.folder === deps.medium.place.folder;
    const shorter = here && (reading.mark?.size ?? 0) > size;
    if (!disowned && !shorter) continue;
    const root = rootOfLog(deps, session.log, { device, incarnation });
    const judgement = disowned
      ? ({ verdict: "rewritten", findings: ["store_rewritten"] } as const)
      : ({ verdict: "rolled-back", findings: ["store_rolled_back"] } as const);
    return { device, incarnation, size, root, reading, judgement };
  }
  return undefined;
}

/** Does the last note speak of exactly these events? (Its signature is verify's business.) */
function attests(note: string | undefined, size: number, root: string): boolean {
  if (note === undefined) return size === 0;
  try {
    const statement = parseCheckpoint(parseNote(note).text);
    return statement.size === size && base64(statement.root) === root;
  } catch {
    return false;
  }
}
