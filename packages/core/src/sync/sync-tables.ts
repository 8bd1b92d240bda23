/**
 * What sync keeps in the store, row by row; every write in the caller's transaction. Device logs are named by
 * their number in the table `incarnations`.
 */
import type { IndexRanges, ProvenLeaf, ServerLeafKind } from "../proof/server-leaf.ts";
import { type Bytes, concat, fromBase64 } from "../std/bytes.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import type { NewerEvent } from "./newer-event.ts";
import { lostReceipts } from "./lost-receipts.ts";
import { serverLogSteps } from "./server-log-steps.ts";
import type { ServerIdentity } from "./sync-store.ts";

/** A device log that this store knows. */
export interface KnownLog {
  readonly number: number;
  readonly device: string;
  readonly incarnation: string;
  readonly own: 0 | 1;
}

/** A log of this store, with the reason that its opening states. */
export interface OwnKnownLog extends KnownLog {
  readonly reason: string;
}

/** Of own logs, oldest first, the newest that was not opened beside another one for another key provider. */
export function mainLog(logs: readonly OwnKnownLog[]): OwnKnownLog | undefined {
  return logs.findLast(({ reason }) => reason !== "fallback") ?? logs.at(-1);
}

/** A commit note as it is kept. */
export interface KeptNote {
  readonly size: number;
  /** base64 */
  readonly root: string;
  readonly note: string;
}

/** The newest checkpoint that is held. */
export interface HeldCheckpoint {
  readonly log: string;
  readonly size: number;
  readonly root: Bytes;
}

/** What the server has of an own device log, by its newest receipt. */
export interface PushedLog {
  readonly size: number;
  readonly owed: IndexRanges;
  /** Row of the newest receipt. */
  readonly receipt: number | undefined;
  readonly receivedAt: number | undefined;
}

/** A statement of the server log with its proof, to be kept. */
export interface LeafToKeep {
  readonly log: number;
  readonly kind: ServerLeafKind;
  readonly size: number;
  readonly leaf: ProvenLeaf;
  /** The tree that the path is in. */
  readonly tree: { readonly origin: string; readonly size: number };
}

/** Why sync stands still until a person has looked. */
export interface SyncHalt {
  readonly code: string;
  /** UTC ms. */
  readonly at: number;
}

/** A halt that a person ended, and why. */
export interface SyncResume {
  readonly actor: string;
  readonly reason: string;
  /** UTC ms. */
  readonly at: number;
  readonly halted: SyncHalt;
}

/** What is known before the first receipt. */
export const nothingPushed: PushedLog = {
  size: 0,
  owed: [],
  receipt: undefined,
  receivedAt: undefined,
};

/** Pieces of evidence that are kept; what comes after them says nothing new. */
const evidenceMax = 100;

export type SyncTables = ReturnType<typeof createSyncTables>;

/** All of them over one connection. */
export function createSyncTables(driver: SqliteDriver) {
  const one: One = (sql, ...values) => driver.prepare(sql).get(...values);
  return {
    ...namedValues(driver, one),
    ...deviceLogs(driver, one),
    ...serverLog(driver, one),
    ...serverLogSteps(driver),
    ...lostReceipts(driver),
    ...pushedLogs(driver, one),
    ...pulledScopes(driver),
  };
}

/** The first row of a query. */
type One = <Row>(sql: string, ...values: readonly (string | number)[]) => Row | undefined;

function namedValues(driver: SqliteDriver, one: One) {
  function value(name: string): string | undefined {
    return one<{ value: string }>("SELECT value FROM sync WHERE name = ?", name)?.value;
  }

  function put(name: string, text: string): void {
    driver
      .prepare(
        `INSERT INTO sync (name, value) VALUES (?, ?)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
      )
      .run(name, text);
  }

  return {
    value,
    put,
    server(): ServerIdentity | undefined {
      const text = value("server");
      return text === undefined ? undefined : (JSON.parse(text) as ServerIdentity);
    },
    /** The contradiction that sync stopped for. */
    halted(): SyncHalt | undefined {
      const text = value("halted");
      return text === undefined ? undefined : (JSON.parse(text) as SyncHalt);
    },
    /** Halts that were ended, the oldest first. */
    resumes(): readonly SyncResume[] {
      return driver
        .prepare("SELECT value FROM sync WHERE name GLOB 'resumed/*'")
        .all<{ value: string }>()
        .map((row) => JSON.parse(row.value) as SyncResume)
        .toSorted((a, b) => a.at - b.at);
    },
    /** Keeps that a section of a stored event does not open under its key: the event itself is the evidence. */
    putUnopened(leaf: string, section: string): void {
      put(`unopened/${leaf}/${section}`, "");
    },
    /** Sections that did not open under their key when they were pulled. */
    unopened(): number {
      const row = one<{ n: number }>("SELECT count(*) AS n FROM sync WHERE name GLOB 'unopened/*'");
      return row?.n ?? 0;
    },
    /** Notes an event whose header cannot be read yet; was it news? */
    putNewer(event: NewerEvent): boolean {
      const { device, incarnation, index } = event;
      const name = `newer/${device}/${incarnation}/${String(index).padStart(16, "0")}`;
      if (value(name) !== undefined) return false;
      put(name, JSON.stringify(event));
      return true;
    },
    newer(): readonly NewerEvent[] {
      return driver
        .prepare("SELECT value FROM sync WHERE name GLOB 'newer/*'")
        .all<{ value: string }>()
        .map((row) => JSON.parse(row.value) as NewerEvent);
    },
    /** What can be read now is an event like any other. */
    dropNewer(device: string, incarnation: string, index: number): void {
      const name = `newer/${device}/${incarnation}/${String(index).padStart(16, "0")}`;
      driver.prepare("DELETE FROM sync WHERE name = ?").run(name);
    },
    /** How many there are. */
    newerCount(): number {
      const row = one<{ n: number }>("SELECT count(*) AS n FROM sync WHERE name GLOB 'newer/*'");
      return row?.n ?? 0;
    },
    /** Names of what is kept as evidence: code and digest. */
    evidence(): readonly string[] {
      return driver
        .prepare("SELECT name FROM sync WHERE name GLOB 'evidence/*' ORDER BY name")
        .all<{ name: string }>()
        .map((row) => row.name.slice("evidence/".length));
    },
    halt(code: string, at: number): void {
      put("halted", JSON.stringify({ code, at }));
    },
    /** Takes the stop back; who did it and why stays beside the evidence. */
    resume(by: { readonly actor: string; readonly reason: string; readonly at: number }): void {
      const halted = value("halted");
      if (halted === undefined) return;
      put(`resumed/${by.at}`, JSON.stringify({ ...by, halted: JSON.parse(halted) as unknown }));
      driver.prepare("DELETE FROM sync WHERE name = 'halted'").run();
    },
    /** Keeps what shows a contradiction; the same piece once. */
    keepEvidence(name: string, evidence: Readonly<Record<string, unknown>>): void {
      const kept = one<{ n: number }>(
        "SELECT count(*) AS n FROM sync WHERE name GLOB 'evidence/*'",
      );
      if ((kept?.n ?? 0) >= evidenceMax) return;
      driver
        .prepare("INSERT INTO sync (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING")
        .run(`evidence/${name}`, JSON.stringify(evidence));
    },
  };
}

function deviceLogs(driver: SqliteDriver, one: One) {
  return {
    log(device: string, incarnation: string): KnownLog | undefined {
      return one<KnownLog>(
        `SELECT number, device, incarnation, own FROM incarnations
         WHERE device = ? AND incarnation = ?`,
        device,
        incarnation,
      );
    },
    /** The device log of an event, and its index there. */
    placeOf(position: number): { readonly number: number; readonly index: number } | undefined {
      return one(
        `SELECT incarnation AS number, sequence - 1 AS "index" FROM events WHERE position = ?`,
        position,
      );
    },
    opening(log: number): string | undefined {
      const row = one<{ header: string }>(
        "SELECT header FROM events WHERE incarnation = ? AND sequence = 1",
        log,
      );
      return row?.header;
    },
    openingPosition(log: number): number | undefined {
      const row = one<{ position: number }>(
        "SELECT position FROM events WHERE incarnation = ? AND sequence = 1",
        log,
      );
      return row?.position;
    },
    ownLogs(): readonly OwnKnownLog[] {
      return driver
        .prepare(
          `SELECT number, device, incarnations.incarnation AS incarnation, own,
             (SELECT header ->> '$.pub.reason' FROM events
              WHERE events.incarnation = incarnations.number AND sequence = 1) AS reason
           FROM incarnations WHERE own = 1 ORDER BY number`,
        )
        .all<OwnKnownLog>();
    },
    /** Foreign logs with the size of the newest note that is held, the newest logs first; all, or so many. */
    foreignNotes(limit = -1): readonly {
      readonly number: number;
      readonly device: string;
      readonly incarnation: string;
      readonly size: number;
    }[] {
      return driver
        .prepare(
          `SELECT number, device, incarnations.incarnation AS incarnation,
             (SELECT max(size) FROM commits WHERE commits.incarnation = incarnations.number) AS size
           FROM incarnations WHERE own = 0 AND size IS NOT NULL ORDER BY number DESC LIMIT ?`,
        )
        .all<{ number: number; device: string; incarnation: string; size: number }>(limit);
    },
    /** Greatest sequence; the size of an own log. */
    lastSequence(log: number): number {
      const row = one<{ value: number | null }>(
        "SELECT max(sequence) AS value FROM events WHERE incarnation = ?",
        log,
      );
      return row?.value ?? 0;
    },
    noteAt(log: number, size: number): KeptNote | undefined {
      return one(
        "SELECT size, root, note FROM commits WHERE incarnation = ? AND size = ?",
        log,
        size,
      );
    },
    /** The first note of at least that size. */
    noteFrom(log: number, size: number): KeptNote | undefined {
      return one(
        `SELECT size, root, note FROM commits WHERE incarnation = ? AND size >= ?
         ORDER BY size LIMIT 1`,
        log,
        size,
      );
    },
    /** The last note of at most that size. */
    noteWithin(log: number, size: number): KeptNote | undefined {
      return one(
        `SELECT size, root, note FROM commits WHERE incarnation = ? AND size <= ?
         ORDER BY size DESC LIMIT 1`,
        log,
        size,
      );
    },
    addNote(log: number, note: KeptNote): void {
      driver
        .prepare("INSERT INTO commits (incarnation, size, root, note) VALUES (?, ?, ?, ?)")
        .run(log, note.size, note.root, note.note);
    },
    addNoteLink(log: number, before: number, size: number, path: readonly Bytes[]): void {
      driver
        .prepare("INSERT INTO note_links (incarnation, before, size, path) VALUES (?, ?, ?, ?)")
        .run(log, before, size, concat(...path));
    },
    addProof(
      log: number,
      size: number,
      indices: readonly number[],
      hashes: readonly Bytes[],
    ): void {
      driver
        .prepare("INSERT INTO proofs (incarnation, size, indices, hashes) VALUES (?, ?, ?, ?)")
        .run(log, size, JSON.stringify(indices), concat(...hashes));
    },
  };
}

function serverLog(driver: SqliteDriver, one: One) {
  return {
    /** The checkpoint that was taken last is the newest: earlier ones are never taken. */
    checkpoint(): HeldCheckpoint | undefined {
      const row = one<{ log: string; size: number; root: string }>(
        "SELECT log, size, root FROM checkpoints ORDER BY rowid DESC LIMIT 1",
      );
      if (row === undefined) return undefined;
      return { log: row.log, size: row.size, root: fromBase64(row.root) ?? new Uint8Array(0) };
    },
    /** The newest checkpoint of at most that size of a log. */
    checkpointWithin(log: string, size: number): HeldCheckpoint | undefined {
      const row = one<{ size: number; root: string }>(
        "SELECT size, root FROM checkpoints WHERE log = ? AND size <= ? ORDER BY size DESC LIMIT 1",
        log,
        size,
      );
      if (row === undefined) return undefined;
      return { log, size: row.size, root: fromBase64(row.root) ?? new Uint8Array(0) };
    },
    checkpointNote(log: string, size: number): string | undefined {
      return one<{ note: string }>(
        "SELECT note FROM checkpoints WHERE log = ? AND size = ?",
        log,
        size,
      )?.note;
    },
    addCheckpoint(row: {
      readonly log: string;
      readonly size: number;
      readonly root: string;
      readonly note: string;
      readonly before: number;
      readonly path: readonly Bytes[];
    }): void {
      driver
        .prepare(
          "INSERT INTO checkpoints (log, size, root, note, before, path) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .run(row.log, row.size, row.root, row.note, row.before, concat(...row.path));
    },

    /** Keeps a statement once; the number of its row. */
    keepLeaf({ log, kind, size, leaf, tree }: LeafToKeep): number {
      driver
        .prepare(
          `INSERT INTO server_leaves
             (incarnation, kind, size, leaf, log, leaf_index, log_size, path)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (log, leaf_index) DO NOTHING`,
        )
        .run(log, kind, size, leaf.text, tree.origin, leaf.index, tree.size, concat(...leaf.path));
      const row = one<{ number: number }>(
        "SELECT number FROM server_leaves WHERE log = ? AND leaf_index = ?",
        tree.origin,
        leaf.index,
      );
      return row?.number ?? 0;
    },
    hasLeaf(log: number, kind: ServerLeafKind): boolean {
      return (
        one(
          "SELECT 1 AS found FROM server_leaves WHERE incarnation = ? AND kind = ?",
          log,
          kind,
        ) !== undefined
      );
    },
    /** Where a kept statement stands in the server log. */
    leafPlace(number: number): { readonly log: string; readonly index: number } | undefined {
      return one(`SELECT log, leaf_index AS "index" FROM server_leaves WHERE number = ?`, number);
    },
  };
}

function pushedLogs(driver: SqliteDriver, one: One) {
  return {
    pushed(log: number): PushedLog {
      const row = one<{
        size: number;
        owed: string;
        receipt: number | null;
        receipted_at: number | null;
      }>("SELECT size, owed, receipt, receipted_at FROM pushed WHERE incarnation = ?", log);
      if (row === undefined) return nothingPushed;
      return {
        size: row.size,
        owed: JSON.parse(row.owed) as IndexRanges,
        receipt: row.receipt ?? undefined,
        receivedAt: row.receipted_at ?? undefined,
      };
    },
    putPushed(log: number, pushed: PushedLog): void {
      driver
        .prepare(
          `INSERT INTO pushed (incarnation, size, owed, receipt, receipted_at)
           VALUES (?, ?, ?, ?, ?)
           ON CONFLICT (incarnation) DO UPDATE SET size = excluded.size, owed = excluded.owed,
             receipt = excluded.receipt, receipted_at = excluded.receipted_at`,
        )
        .run(
          log,
          pushed.size,
          JSON.stringify(pushed.owed),
          pushed.receipt ?? null,
          pushed.receivedAt ?? null,
        );
    },
    /** Outbox positions of a device log's indices in those ranges. */
    outboxPositions(log: number, ranges: IndexRanges): readonly number[] {
      const select = driver.prepare(
        `SELECT events.position AS position FROM events
           CROSS JOIN outbox ON outbox.position = events.position
         WHERE events.incarnation = ? AND events.sequence > ? AND events.sequence <= ?
         ORDER BY events.sequence`,
      );
      return ranges.flatMap(([from, to]) =>
        select.all<{ position: number }>(log, from, to).map(({ position }) => position),
      );
    },
    /** Puts events that were acknowledged and are not any more back into the outbox. */
    enqueueAgain(log: number, ranges: IndexRanges): void {
      const insert = driver.prepare(
        `INSERT INTO outbox (position, lane, state, enqueued_at)
         SELECT position, 'normal', 'waiting', recorded_at FROM events
         WHERE incarnation = ? AND sequence > ? AND sequence <= ?
         ON CONFLICT (position) DO NOTHING`,
      );
      for (const [from, to] of ranges) insert.run(log, from, to);
    },
  };
}

function pulledScopes(driver: SqliteDriver) {
  return {
    pulls(): readonly { readonly scope: string; readonly position: number }[] {
      return driver
        .prepare("SELECT scope, position FROM pulls ORDER BY position, scope")
        .all<{ scope: string; position: number }>();
    },
    dropPull(scope: string): void {
      driver.prepare("DELETE FROM pulls WHERE scope = ?").run(scope);
    },
    putPull(scope: string, position: number): void {
      driver
        .prepare(
          `INSERT INTO pulls (scope, position) VALUES (?, ?)
           ON CONFLICT (scope) DO UPDATE SET position = excluded.position`,
        )
        .run(scope, position);
    },
  };
}
