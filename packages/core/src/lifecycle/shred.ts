/**
 * Shredding on this device: what the log puts in force is seen through, from wherever it stands, behind the commit
 * that put it in force and at every start. Nobody has to ask for it, and a crash at any statement is gone on from.
 *
 * | State of a row | The work that leads on |
 * | --- | --- |
 * | `in-force` | data keys destroyed in both copies of the keyring, grants withdrawn, a new HPKE key where keys were granted, the epoch closed |
 * | `keys-destroyed` | content of events deleted, read models, texts and snapshots made anew without it |
 * | `frames-deleted` | `VACUUM`, and the write-ahead log cut off |
 * | `cleaned` | once the epoch is closed and the former HPKE key gone: `ShredAcknowledged` |
 * | `acknowledged` | nothing |
 *
 * Keys go first: from then on nothing that is left opens. All work may be done twice.
 */
import { readIncarnationPub } from "../seal/incarnation.ts";
import { shredAcknowledgedType } from "../event/system.ts";
import { base64, base64url } from "../std/bytes.ts";
import { type HoldfastError, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import {
  contentKey,
  everySection,
  shreddedBy,
  shredKey,
  type ShredRow,
  type ShredState,
} from "../store/shreds.ts";
import { checkRoom, cutOff, freeSomePages, isIncremental, type Room } from "../store/pages.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { inTransaction, type SqliteEventLog } from "../store/sqlite-event-log.ts";
import type { ReadModels } from "../projection/read-models.ts";
import { localValues } from "../sync/local-values.ts";
import { readAccess } from "../sync/access-table.ts";
import { pause, rotateKeys, type RotateKeysDeps, tellPhase } from "./rotate-keys.ts";
import { accountShreds, assertOrdered, type ShredOrder } from "./shred-account.ts";
import {
  deleteFrames,
  forgetNotes,
  streamsOf,
  waitingGrants,
  withdrawGrants,
} from "./shred-rows.ts";

/** The open connection that a shred works on. */
export interface ShredSession {
  readonly driver: SqliteDriver;
  readonly log: SqliteEventLog;
  readonly models: Pick<ReadModels, "shred">;
}

/** What shredding in an open store stands on. */
export interface ShredDeps extends RotateKeysDeps {
  readonly session: () => ShredSession;
  /** With the lease held, in one transaction; listeners hear of it. */
  readonly transact: <T>(work: (session: ShredSession) => T) => Promise<T>;
  /** Opens the next own log, which names the present HPKE key. */
  readonly rekey: () => Promise<void>;
  /** Destroys former HPKE keys where the log grants to the present one. */
  readonly retireHpkeKeys: () => Promise<void>;
  /** For a file that is written anew; absent: not known. */
  readonly room?: (() => Room) | undefined;
  /** Appends `ShredAcknowledged`. */
  readonly acknowledge: (shred: string) => Promise<void>;
}

/** Where a run ended: nothing is open, or something waits for others: a reader, a provider, an admin's grant. */
export type ShredOutcome =
  | { readonly status: "done" }
  | { readonly status: "waiting"; readonly code: HoldfastError["code"] | undefined };

const waiting = (code?: HoldfastError["code"]): ShredOutcome => ({ status: "waiting", code });

/** Row and order belong together. */
type Ordered = readonly { readonly row: ShredRow; readonly order: ShredOrder }[];

/** Sees open shreds through, as far as that can be done now. Throws the storage codes and those of the keyring. */
export async function continueShreds(deps: ShredDeps): Promise<ShredOutcome> {
  for (;;) {
    if (deps.stopped()) return waiting();
    const { driver, log } = deps.session();
    const open = log.shreds.open();
    deps.observer.gauge("shreds_open", open.length);
    if (open.length === 0) return { status: "done" };
    const account = accountShreds(readAccess(driver), deps.keyring.shreds);
    const orders = new Map(account.orders.map((order) => [contentKey(order), order]));
    // A row that neither log nor keyring accounts for orders nothing: verify names it.
    const ordered = open.flatMap((row) => {
      const order = orders.get(contentKey(row));
      return order === undefined ? [] : [{ row, order }];
    });
    const state = works.find(([name]) => ordered.some(({ row }) => row.state === name));
    if (state === undefined) return waiting("interlock_unproven");
    const [name, work] = state;
    const outcome = await work(
      deps,
      ordered.filter(({ row }) => row.state === name),
    );
    if (outcome !== undefined) return outcome;
    await pause(deps.timers);
  }
}

/** The work of each state, in their order; an outcome: it cannot go on now. */
const works: readonly (readonly [
  ShredState,
  (deps: ShredDeps, rows: Ordered) => Promise<ShredOutcome | undefined>,
])[] = [
  ["in-force", destroyKeys],
  ["keys-destroyed", deleteContent],
  ["frames-deleted", clean],
  ["cleaned", acknowledge],
];

async function advance(deps: ShredDeps, rows: Ordered, state: ShredState): Promise<void> {
  await deps.transact(({ log }) => {
    for (const { row } of rows) log.shreds.advance(row, state);
  });
  for (const { row } of rows) {
    deps.observer.count("shred_phases", 1, { phase: state });
    deps.observer.log("info", "shred_advanced", { shred: row.shred, phase: state });
  }
}

async function destroyKeys(deps: ShredDeps, rows: Ordered): Promise<undefined> {
  const { keyring, clock } = deps;
  await deps.writer.exclusively(({ driver, lease }, token) => {
    const waits = rows.map(({ order }) => waitingGrants(driver, order));
    inTransaction(driver, () => {
      lease.assertHeld(token);
      withdrawGrants(driver, keysOf(deps, rows), clock.now());
    });
    const came = new Set(
      rows.flatMap(({ row }, at) => (waits[at]?.came.length === 0 ? [] : [shredKey(row)])),
    );
    for (const { order } of rows) assertOrdered(order);
    keyring.shreds.destroy(
      rows.map(({ row: { scope, section, shred, leaf } }) => ({
        scope,
        ...(section !== everySection && { section }),
        shred,
        leaf,
      })),
      ({ scope, section = everySection, shred, leaf }) =>
        came.has(shredKey({ scope, section, shred, leaf })),
    );
    inTransaction(driver, () => {
      const values = localValues(driver);
      for (const { came: names, outgoing } of waits) {
        for (const name of [...names, ...outgoing]) values.remove(name);
      }
    });
  });
  await renewHpkeKey(deps);
  // What cannot be closed now, is before the shred is acknowledged; content goes meanwhile.
  await closeEpoch(deps);
  await advance(deps, rows, "keys-destroyed");
}

function keysOf({ keyring }: ShredDeps, rows: Ordered): readonly string[] {
  const isMeant = shreddedBy(rows.map(({ row }) => row));
  return keyring
    .dataKeys()
    .filter(isMeant)
    .map(({ id }) => id);
}

/** Where keys of it were granted to this installation, whoever has its HPKE key and old grants could open them. */
async function renewHpkeKey(deps: ShredDeps): Promise<void> {
  const { keyring, writer, audit, observer } = deps;
  const present = base64url(keyring.hpke().publicKey);
  if (keyring.shreds.list().some(({ hpke }) => hpke === present)) {
    await tellPhase({ audit, observer }, { key: "hpke", phase: "planned" }, { why: "shred" });
    await writer.exclusively(() => keyring.addHpkeKey());
  }
  if (keyring.hasFormerHpkeKeys && !isNamed(deps)) await deps.rekey();
}

/** Does the newest own log name the present HPKE key? */
function isNamed({ session, keyring }: ShredDeps): boolean {
  const opening = session()
    .driver.prepare(
      `SELECT header FROM events JOIN incarnations ON incarnations.number = events.incarnation
       WHERE own = 1 AND sequence = 1 ORDER BY position DESC LIMIT 1`,
    )
    .get<{ header: string }>();
  const { pub } = JSON.parse(opening?.header ?? "{}") as { readonly pub?: unknown };
  return readIncarnationPub(pub)?.hpke === base64(keyring.hpke().publicKey);
}

/** Survivors under a new epoch key, the old one destroyed; why not, where that cannot be now. */
async function closeEpoch(deps: ShredDeps): Promise<HoldfastError["code"] | undefined> {
  if (deps.keyring.shreds.list().every(({ isEpochClosed }) => isEpochClosed)) return undefined;
  try {
    await rotateKeys(deps, "epoch", { why: "shred" });
    return undefined;
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return error.code;
  }
}

async function deleteContent(deps: ShredDeps, rows: Ordered): Promise<ShredOutcome | undefined> {
  const orders = rows.map(({ order }) => order);
  const head = deps.session().log.head();
  const { shredWindowEvents: window, shredWindowStreams } = limits;
  for (let from = 1; from <= head; from += window) {
    if (deps.stopped()) return waiting();
    await deps.transact(({ driver }) => {
      deleteFrames(driver, orders, from, from + window - 1);
    });
    await pause(deps.timers);
  }
  const streams = streamsOf(deps.session().driver, orders);
  for (let at = 0; at < streams.length; at += shredWindowStreams) {
    if (deps.stopped()) return waiting();
    await deps.transact(({ models }) => {
      models.shred(streams.slice(at, at + shredWindowStreams));
    });
    await pause(deps.timers);
  }
  await deps.transact(({ driver }) => {
    forgetNotes(driver, orders);
  });
  await advance(deps, rows, "frames-deleted");
  return undefined;
}

/** Free pages and the write-ahead log may hold what was deleted: the file is written anew, the log cut off. */
async function clean(deps: ShredDeps, rows: Ordered): Promise<ShredOutcome | undefined> {
  let isWritten = false;
  for (let tries = 1; ; tries++) {
    const left = await deps.writer.exclusively(({ driver, lease }, token) => {
      inTransaction(driver, () => lease.assertHeld(token));
      return unlessRefused(() => {
        if (!isWritten) writeAnew(driver, deps.room?.());
        isWritten = true;
        return cutOff(driver);
      });
    });
    if (left === undefined) break;
    if (left === "compact_no_room") {
      await giveBack(deps);
      return waiting(left);
    }
    // Another process reads from before: it is asked again after a while, and at the next start.
    if (tries >= limits.shredCleanTriesMax || deps.stopped()) return waiting(left);
    await new Promise<void>((resolve) => deps.timers.after(limits.shredCleanWaitMs, resolve));
  }
  await advance(deps, rows, "cleaned");
  return undefined;
}

/** `VACUUM` copies into memory, and then through the write-ahead log: without room it would take that of others. */
function writeAnew(driver: SqliteDriver, room: Room | undefined): void {
  if (room !== undefined) checkRoom(driver, room);
  driver.exec("VACUUM");
}

/** Why it cannot be done now; `undefined`: it is done. */
function unlessRefused(work: () => boolean): "store_busy" | "compact_no_room" | undefined {
  try {
    return work() ? undefined : "store_busy";
  } catch (error) {
    if (isHoldfastError(error, "compact_no_room")) return "compact_no_room";
    if (isHoldfastError(error, "store_busy")) return "store_busy";
    throw error;
  }
}

/**
 * Until there is room: what was deleted is zeros (`secure_delete`), its pages go where the file can give them back, and
 * the write-ahead log is cut off. Copies of rows that SQLite moved within a page before may be left in its gaps.
 */
async function giveBack({ session, transact, timers, writer, stopped }: ShredDeps): Promise<void> {
  if (isIncremental(session().driver)) {
    while (!stopped() && (await transact(({ driver }) => freeSomePages(driver)))) {
      await pause(timers);
    }
  }
  await writer.exclusively(({ driver }) => unlessRefused(() => cutOff(driver)));
}

async function acknowledge(deps: ShredDeps, rows: Ordered): Promise<ShredOutcome | undefined> {
  const { keyring } = deps;
  const code = await closeEpoch(deps);
  if (code !== undefined) return waiting(code);
  const isGranted = (): boolean => keyring.shreds.list().some(({ hpke }) => hpke !== undefined);
  if (isGranted()) {
    await renewHpkeKey(deps);
    await deps.retireHpkeKeys();
    if (isGranted()) return waiting();
  }
  for (const shred of new Set(rows.map(({ row }) => row.shred))) {
    if (isAcknowledged(deps, shred)) continue;
    try {
      await deps.acknowledge(shred);
    } catch (error) {
      // Without the tenant's pseudonym key there is no stream to say it in yet.
      if (!isHoldfastError(error, "pseudonym_key_awaited")) throw error;
      return waiting(error.code);
    }
  }
  await advance(deps, rows, "acknowledged");
  return undefined;
}

/** Has this device said so already? */
function isAcknowledged({ session }: ShredDeps, shred: string): boolean {
  return (
    session()
      .driver.prepare(
        `SELECT 1 FROM events JOIN incarnations ON incarnations.number = events.incarnation
         WHERE own = 1 AND type = ? AND header ->> '$.pub.shred' = ? LIMIT 1`,
      )
      .get(shredAcknowledgedType, shred) !== undefined
  );
}
