/**
 * Rotating data keys: a new generation of every own key of the scopes that are meant, and the frames on this
 * device encrypted anew under it, in chunks. Headers hold commitments, so that leaves, roots and signatures stay
 * as they are; that they do is checked before the rotation is called verified.
 *
 * The former generation opens on: the server and other replicas hold frames of it, and so may backups. It is
 * destroyed only where the caller says that nothing else needs it.
 *
 * Where it stands is the row `rotation/data` of the table `store`, written in the transaction that re-encrypts.
 */
import type { AuditTrail } from "../audit/audit-log.ts";
import type { Header } from "../event/event.ts";
import type { Keyring } from "../keys/keyring.ts";
import { isOver, type RotationPhase } from "../keys/rotation.ts";
import { frameGeneration, openFrame, sealFrame } from "../seal/frame.ts";
import { base64, base64url, type Bytes, concat, fromBase64url, wipe } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Crypto, Random, Timers } from "../std/ports.ts";
import { durableBarrier } from "../store/pragmas.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { inTransaction, type SqliteEventLog } from "../store/sqlite-event-log.ts";
import { rangeFromTiles } from "../proof/tiles.ts";
import { rootOf } from "../proof/tree.ts";
import type { Writer } from "../store/writer.ts";
import type { Observer } from "../telemetry/observer.ts";
import { pause, type RotationOrder, tellPhase } from "./rotate-keys.ts";

/** Which data keys, and what becomes of the former generation. */
export interface DataKeyRotationWish {
  /** Scope ids; absent: all. */
  readonly scopes?: readonly string[];
  /**
   * `keep` (default): the former generation opens on. `destroy`: it goes once everything here is verified; refused
   * with `key_generation_needed` where a server has events of this store.
   */
  readonly former?: "keep" | "destroy";
}

interface LogRoot {
  readonly device: string;
  readonly incarnation: string;
  readonly size: number;
  readonly root: string;
}

/** What is written down. */
interface DataKeyRotationRow {
  readonly id: string;
  readonly phase: RotationPhase;
  readonly former: "keep" | "destroy";
  /** The new generation of each key. */
  readonly keys: Readonly<Record<string, number>>;
  /** Last position done, and the last to be done. */
  readonly cursor: number;
  readonly until: number;
  /** Roots of all device logs as they were. */
  readonly roots: readonly LogRoot[];
}

/** Where a rotation of data keys stands. */
export interface DataKeyRotationState {
  readonly id: string;
  readonly phase: RotationPhase;
  readonly keys: number;
  /** Events looked at, of those to be looked at. */
  readonly done: number;
  readonly total: number;
}

/** What rotation of data keys in an open store stands on. */
export interface RotateDataKeysDeps {
  readonly writer: Writer;
  readonly keyring: Keyring;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly timers: Timers;
  readonly observer: Observer;
  readonly audit: AuditTrail;
  readonly session: () => { readonly driver: SqliteDriver; readonly log: SqliteEventLog };
  readonly stopped: () => boolean;
  readonly onProgress?: ((state: DataKeyRotationState) => void) | undefined;
}

const rowName = "rotation/data";

function readRow(driver: SqliteDriver): DataKeyRotationRow | undefined {
  const row = driver
    .prepare("SELECT value FROM store WHERE name = ?")
    .get<{ value: string }>(rowName);
  return row === undefined ? undefined : (JSON.parse(row.value) as DataKeyRotationRow);
}

function writeRow(driver: SqliteDriver, row: DataKeyRotationRow): void {
  driver
    .prepare(
      `INSERT INTO store (name, value) VALUES (?, ?)
       ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
    )
    .run(rowName, JSON.stringify(row));
}

/** Where the rotation that was begun last stands; `undefined`: there was none. */
export function dataKeyRotation(driver: SqliteDriver): DataKeyRotationState | undefined {
  const row = readRow(driver);
  return row && stateOf(row);
}

function stateOf({ id, phase, keys, cursor, until }: DataKeyRotationRow): DataKeyRotationState {
  return { id, phase, keys: Object.keys(keys).length, done: cursor, total: until };
}

/**
 * Begins a rotation of data keys and sees it through. Throws `rotation_under_way`, `key_generation_needed`,
 * `rotation_unfinished` and what an append throws.
 */
export async function rotateDataKeys(
  deps: RotateDataKeysDeps,
  wish: DataKeyRotationWish,
  order: RotationOrder,
): Promise<DataKeyRotationState> {
  const planned = await transact(deps, (driver, log) => plan(deps, driver, log, wish));
  await tell(deps, planned, order);
  const over = await continueDataKeyRotation(deps, order);
  if (over === undefined || !isFinished(over)) throw new HoldfastError("rotation_unfinished");
  return stateOf(over);
}

function isFinished({ phase, former }: Pick<DataKeyRotationRow, "phase" | "former">): boolean {
  return isOver(phase) || (phase === "verified" && former === "keep");
}

/** Is one under way? */
export function isDataKeyRotationOpen(driver: SqliteDriver): boolean {
  const row = readRow(driver);
  return row !== undefined && !isFinished(row);
}

/** Goes on with the rotation that is under way, if any. */
export async function continueDataKeyRotation(
  deps: RotateDataKeysDeps,
  order: RotationOrder = {},
): Promise<DataKeyRotationRow | undefined> {
  let row = readRow(deps.session().driver);
  while (row !== undefined && !isFinished(row)) {
    if (deps.stopped()) return row;
    const before: DataKeyRotationRow = row;
    row = await step(deps, before);
    deps.observer.gauge("rotation_records_left", row.until - row.cursor, { key: "data" });
    deps.onProgress?.(stateOf(row));
    if (row.phase !== before.phase) await tell(deps, row, order);
    await pause(deps.timers);
  }
  return row;
}

/** Runs work with the lease held, in one transaction. */
function transact<T>(
  { writer }: RotateDataKeysDeps,
  work: (driver: SqliteDriver, log: SqliteEventLog) => T,
): Promise<T> {
  return writer.exclusively(({ driver, log, lease }, token) =>
    inTransaction(driver, () => {
      lease.assertHeld(token);
      return work(driver, log);
    }),
  );
}

function plan(
  { keyring, random }: RotateDataKeysDeps,
  driver: SqliteDriver,
  log: SqliteEventLog,
  { scopes, former = "keep" }: DataKeyRotationWish,
): DataKeyRotationRow {
  const last = readRow(driver);
  if (last !== undefined && !isFinished(last)) throw new HoldfastError("rotation_under_way");
  if (former === "destroy" && isHeldElsewhere(driver)) {
    throw new HoldfastError("key_generation_needed");
  }
  const keys = keyring.nextGenerations((scope) => scopes?.includes(scope) ?? true);
  const row: DataKeyRotationRow = {
    id: base64url(random.bytes(8)),
    phase: "planned",
    former,
    keys,
    cursor: 0,
    until: 0,
    roots: rootsOf(driver, log),
  };
  writeRow(driver, row);
  return row;
}

/** Has a server taken any event? Its frames are of the former generation, and come back from it. */
function isHeldElsewhere(driver: SqliteDriver): boolean {
  return driver.prepare("SELECT 1 FROM pushed LIMIT 1").get() !== undefined;
}

function rootsOf(driver: SqliteDriver, log: SqliteEventLog): readonly LogRoot[] {
  return driver
    .prepare("SELECT device, incarnation FROM incarnations WHERE own = 1 ORDER BY number")
    .all<{ device: string; incarnation: string }>()
    .flatMap(({ device, incarnation }) => {
      const size = log.deviceLogSize(device, incarnation);
      const note = size === 0 ? undefined : log.noteCovering(device, incarnation, size);
      return note === undefined ? [] : [{ device, incarnation, size, root: note.root }];
    });
}

async function step(
  deps: RotateDataKeysDeps,
  row: DataKeyRotationRow,
): Promise<DataKeyRotationRow> {
  switch (row.phase) {
    case "planned":
      await deps.writer.exclusively(() => deps.keyring.addGenerations(row.keys));
      return put(deps, { ...row, phase: "new-key-created" });
    case "new-key-created":
      // Made durable in both copies by `addGenerations`; other devices get it as every key, with the next exchange.
      await deps.writer.exclusively(() => deps.keyring.flush());
      return put(deps, { ...row, phase: "distributed" });
    case "distributed":
      return put(deps, { ...row, phase: "primary" });
    case "primary":
      return transact(deps, (driver, log) => {
        const next = { ...row, phase: "rewrapping", cursor: 0, until: log.head() } as const;
        writeRow(driver, next);
        return next;
      });
    case "rewrapping":
      return row.cursor < row.until ? rewrap(deps, row) : check(deps, row);
    case "verified":
      await deps.writer.exclusively(() => deps.keyring.destroyGenerations(row.keys));
      return put(deps, { ...row, phase: "old-key-destroyed" });
    case "old-key-destroyed":
    case "rolled-back":
      return row;
    default:
      return row.phase satisfies never;
  }
}

function put(deps: RotateDataKeysDeps, row: DataKeyRotationRow): Promise<DataKeyRotationRow> {
  return transact(deps, (driver) => {
    writeRow(driver, row);
    return row;
  });
}

interface FrameRow {
  readonly position: number;
  readonly leaf: string;
  readonly header: string;
  readonly section: string;
  readonly key: string;
  readonly bytes: Uint8Array;
}

function framesAfter(driver: SqliteDriver, after: number, to: number): readonly FrameRow[] {
  return driver
    .prepare(
      `SELECT frames.position AS position, leaf, header, section, key, bytes
       FROM frames JOIN events ON events.position = frames.position
       WHERE frames.position > ? AND frames.position <= ? AND state = 'present'
       ORDER BY frames.position`,
    )
    .all<FrameRow>(after, to);
}

/** One chunk in one transaction: frames under the new generation, and the cursor behind them. */
function rewrap(deps: RotateDataKeysDeps, row: DataKeyRotationRow): Promise<DataKeyRotationRow> {
  const to = Math.min(row.until, row.cursor + limits.rotationChunkEvents);
  return transact(deps, (driver) => {
    const update = driver.prepare("UPDATE frames SET bytes = ? WHERE position = ? AND section = ?");
    for (const frame of framesAfter(driver, row.cursor, to)) {
      const generation = row.keys[frame.key];
      if (generation === undefined || (frameGeneration(frame.bytes) ?? generation) >= generation) {
        continue;
      }
      update.run(reencrypt(deps, frame, generation), frame.position, frame.section);
    }
    const next = { ...row, cursor: to };
    writeRow(driver, next);
    return next;
  });
}

/** The same section under another generation. Throws `section_unopened`: nothing is replaced that does not open. */
function reencrypt(deps: RotateDataKeysDeps, frame: FrameRow, generation: number): Bytes {
  const { crypto, random, keyring } = deps;
  const { opened, leaf } = openedFrame(deps, frame);
  const key = keyring.dataKey(frame.key, generation);
  if (key === undefined) throw new HoldfastError("keyring_record_missing", { record: "data" });
  const salted = concat(opened.salt, opened.plaintext);
  wipe(opened.plaintext, opened.salt);
  try {
    return sealFrame({ crypto, random }, key, frame.section, leaf, salted);
  } finally {
    wipe(salted);
  }
}

function openedFrame({ crypto, keyring }: RotateDataKeysDeps, frame: FrameRow) {
  const { sec } = JSON.parse(frame.header) as Header;
  const leaf = fromBase64url(frame.leaf) as Bytes;
  const commitment = fromBase64url(sec[frame.section]?.c ?? "") as Bytes;
  const generation = frameGeneration(frame.bytes);
  const key = generation === undefined ? undefined : keyring.dataKey(frame.key, generation);
  const opened = key && openFrame(crypto, key, frame.section, leaf, frame.bytes, commitment);
  if (opened === undefined) {
    const { position, section } = frame;
    throw new HoldfastError("section_unopened", { position, section });
  }
  return { opened, leaf };
}

/** Every frame opens under the new generation to what its header commits to; every root is what it was. */
async function check(
  deps: RotateDataKeysDeps,
  row: DataKeyRotationRow,
): Promise<DataKeyRotationRow> {
  let stale = 0;
  for (let from = 0; from < row.until; from += limits.rotationChunkEvents) {
    const { driver } = deps.session();
    for (const frame of framesAfter(
      driver,
      from,
      Math.min(row.until, from + limits.rotationChunkEvents),
    )) {
      const generation = row.keys[frame.key];
      if (generation === undefined) continue;
      if ((frameGeneration(frame.bytes) ?? 0) < generation) stale += 1;
      const { opened } = openedFrame(deps, frame);
      wipe(opened.plaintext, opened.salt);
    }
    if (deps.stopped()) return row;
    await pause(deps.timers);
  }
  const { driver, log } = deps.session();
  for (const { device, incarnation, size, root } of row.roots) {
    const range = rangeFromTiles(deps.crypto, log.leafSource(device, incarnation), size);
    if (base64(rootOf(deps.crypto, range)) === root) continue;
    throw new HoldfastError("store_rewritten", { held: size });
  }
  // A frame that came from elsewhere meanwhile is moved as the others were.
  if (stale > 0) return put(deps, { ...row, cursor: 0 });
  durableBarrier(driver);
  return put(deps, { ...row, phase: "verified" });
}

function tell(
  deps: RotateDataKeysDeps,
  row: DataKeyRotationRow,
  order: RotationOrder,
): Promise<void> {
  const { id, phase, done, total } = stateOf(row);
  return tellPhase(deps, { rotation: id, key: "data", phase, done, total }, order);
}
