/**
 * Salvage: another store out of what is left of a damaged one.
 *
 * Nothing is believed because it lay there. Headers count by their leaves, own logs by their signed notes, frames by
 * their commitments; rows that nothing vouches for are taken over only where the whole of what was built verifies.
 * There are two ways to build. *Whole*: nothing of the log is missing, and what sync keeps was readable; the store is
 * as it was. *Own*: the own logs up to their bases, with what the server stated of them; what else came from it is
 * left out and fetched from it again, and what it has receipted is learned from it again.
 */
import { createOutboxWhole } from "../outbox/whole.ts";
import { parseCheckpoint, parseDeviceLogOrigin } from "../proof/checkpoint.ts";
import { parseNote } from "../proof/note.ts";
import type { Problem } from "../proof/log-source.ts";
import { concatAll, utf8 } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { preparePages } from "../store/pragmas.ts";
import { noteRestored, restoredRow } from "../store/restored.ts";
import { createSchema } from "../store/schema.ts";
import type { SqliteDriver, SqlValue } from "../store/sqlite-driver.ts";
import { inTransaction } from "../store/sqlite-event-log.ts";
import { createAccessTable } from "../sync/access-table.ts";
import {
  type BackedUpFrame,
  type BackedUpTable,
  frameParts,
  tablesAfter,
  unsound,
} from "./backup-rows.ts";
import { type Gathered, type GatheredEvent, readHeader } from "./gather.ts";
import type { SalvagedLog, KnownReceipt } from "./judge-salvage.ts";
import { createEventLoader } from "./load-events.ts";
import { type LostRows, readDamaged } from "./read-damaged.ts";
import { checkReferences, leaveShredded, type RestoreDeps, stagingPragmas } from "./restore.ts";
import { checkLog } from "./check-log.ts";

/** What reading a damaged store gave besides what was gathered. */
export interface ReadStore {
  /** Keys that could not be read, by table; tables that were read whole are not in it. */
  readonly lost: Readonly<Record<string, number>>;
  /** Rows that were read and do not verify. */
  readonly refused: number;
  /** By number of the gathered log. */
  readonly receipts: ReadonlyMap<number, KnownReceipt>;
}

/** Reads what can be read of headers and notes; frames come after whatever else fills in ({@link gatherFrames}). */
export function gatherStore(damaged: SqliteDriver, gathered: Gathered): ReadStore {
  const lost: Record<string, number> = {};
  const numbers = new Map<number, number>();
  let refused = 0;
  const rowsOf = function* (table: string, columns: readonly string[]) {
    const counter: LostRows = { keys: 0 };
    yield* readDamaged(damaged, table, columns, counter);
    if (counter.keys > 0) lost[table] = counter.keys;
  };
  inTransaction(gathered.driver, () => {
    for (const [number, device, incarnation] of rowsOf("incarnations", ["device", "incarnation"])) {
      const log = gathered.log(String(device), String(incarnation), Number(number));
      numbers.set(Number(number), log);
    }
    for (const [position, leaf, header] of rowsOf("events", ["leaf", "header"])) {
      const taken = gathered.event(String(header), Number(position), String(leaf));
      if (taken === undefined) refused += 1;
    }
    for (const [number, size, root, note] of rowsOf("commits", ["size", "root", "note"])) {
      const log = logOfNote(gathered, String(note));
      if (log === undefined) refused += 1;
      else {
        const row = { size: Number(size), root: String(root), note: String(note) };
        gathered.note(log, { ...row, number: Number(number) });
      }
    }
  });
  const receipts = new Map<number, KnownReceipt>();
  for (const [number, size, owed] of rowsOf("pushed", ["size", "owed"])) {
    const log = numbers.get(Number(number));
    const ranges = rangesOf(String(owed));
    if (log === undefined) continue;
    if (ranges === undefined || !Number.isSafeInteger(size)) refused += 1;
    else receipts.set(log, { size: Number(size), owed: ranges });
  }
  return { lost, refused, receipts };
}

/** Half-open ranges as JSON; `undefined` for what is none. */
function rangesOf(text: string): KnownReceipt["owed"] | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isRange = (one: unknown): boolean =>
      Array.isArray(one) && one.length === 2 && one.every(Number.isSafeInteger);
    return Array.isArray(value) && value.every(isRange)
      ? (value as KnownReceipt["owed"])
      : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Gathers what an earlier salvage left to be recorded anew; how many rows of it could not be read. Its positions are of
 * the store before; behind a base, they count for the order alone.
 */
export function gatherSurvivors(survivors: SqliteDriver, gathered: Gathered): number {
  const lost: LostRows = { keys: 0 };
  inTransaction(gathered.driver, () => {
    const columns = ["leaf", "header", "position"];
    for (const [, leaf, header, position] of readDamaged(survivors, "events", columns, lost)) {
      gathered.event(String(header), Number(position), String(leaf));
    }
    for (const [, leaf, section, key, state, bytes] of readDamaged(
      survivors,
      "frames",
      ["leaf", "section", "key", "state", "bytes"],
      lost,
    )) {
      gathered.frame(String(leaf), frameOf(section, key, state, bytes));
    }
  });
  return lost.keys;
}

/** The log that a note says it is of. */
export function logOfNote(gathered: Gathered, note: string): number | undefined {
  try {
    const origin = parseDeviceLogOrigin(parseCheckpoint(parseNote(note).text).origin);
    return origin && gathered.log(origin.device, origin.incarnation);
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return undefined;
  }
}

/** Frames of gathered events, by the positions that they have in the damaged store. */
export function gatherFrames(
  damaged: SqliteDriver,
  gathered: Gathered,
): { readonly lost: number; readonly refused: number } {
  const counter: LostRows = { keys: 0 };
  let refused = 0;
  // Positions of a backup may be those before a salvage: then a place has two events, and the frame fits one of them.
  const leavesAt = gathered.driver.prepare("SELECT leaf FROM events WHERE position = ?");
  const columns = ["position", "section", "key", "state", "bytes"];
  inTransaction(gathered.driver, () => {
    for (const [, position, section, key, state, bytes] of readDamaged(
      damaged,
      "frames",
      columns,
      counter,
    )) {
      const frame = frameOf(section, key, state, bytes);
      const events = leavesAt.all<{ leaf: string }>(Number(position));
      if (!events.some(({ leaf }) => gathered.frame(leaf, frame))) refused += 1;
    }
  });
  return { lost: counter.keys, refused };
}

function frameOf(
  ...[section, key, state, bytes]: readonly (SqlValue | undefined)[]
): Omit<BackedUpFrame, "position"> {
  return {
    section: String(section),
    key: String(key),
    state: String(state),
    bytes: bytes instanceof Uint8Array ? bytes : null,
  };
}

/** How a store is built; see the module header. `bare`: as `own`, without what the server stated. */
export type SalvageMode = "whole" | "own" | "bare";

/** What sync depends on, and nothing can make again without the server. */
const neededWhole = [
  "store",
  "incarnations",
  "sync",
  "checkpoints",
  "server_leaves",
  "pushed",
  "pulls",
  "note_links",
  "proofs",
];

/** Can the store become as it was? */
export function salvageMode(
  gathered: Gathered,
  logs: readonly SalvagedLog[],
  lost: ReadStore["lost"],
): SalvageMode {
  const { driver } = gathered;
  const count = driver.prepare("SELECT count(*) AS n, max(position) AS last FROM events");
  const { n, last } = count.get<{ n: number; last: number | null }>() ?? { n: 0, last: 0 };
  const placed = driver.prepare("SELECT count(DISTINCT position) AS n FROM events");
  const gapless = n === (last ?? 0) && placed.get<{ n: number }>()?.n === n;
  const cut = logs.some(({ base, survivors, receipted }) => survivors > 0 || receipted > base);
  const beyond = driver.prepare("SELECT 1 AS n FROM events WHERE log = ? AND sequence > ? LIMIT 1");
  const tails = logs.some(({ number, base }) => beyond.get(number, base) !== undefined);
  const readable = neededWhole.every((table) => lost[table] === undefined);
  return gapless && !cut && !tails && readable ? "whole" : "own";
}

/** What was built. */
export interface BuiltStore {
  readonly mode: SalvageMode;
  readonly events: number;
  /** Sections whose content no source had: their headers stand, `event leaf` and section. */
  readonly lostSections: readonly { readonly id: string; readonly section: string }[];
  /** Events of other installations that are left out: to be fetched from the server again. */
  readonly foreignLeftOut: number;
}

/**
 * Builds a store into an empty database and verifies it. Throws `backup_unsound` when what was built does not verify:
 * whoever built it whole builds it of the own logs then, in another empty database.
 */
export function buildSalvaged(
  deps: RestoreDeps,
  damaged: SqliteDriver,
  gathered: Gathered,
  logs: readonly SalvagedLog[],
  mode: SalvageMode,
): BuiltStore {
  const { driver } = deps;
  preparePages(driver);
  driver.exec(stagingPragmas);
  inTransaction(driver, () => {
    createSchema(driver);
    putStoreRows(deps, damaged, mode);
    const keeps = rowsKept(logs, mode);
    for (const table of tablesAfter) copyTable(deps, damaged, table, keeps(table));
  });
  putLogs(driver, gathered, logs, mode);
  const { events, lostSections } = putEvents(deps, gathered, logs, mode);
  inTransaction(driver, () => {
    createAccessTable({ driver, keyring: deps.keyring }).rebuild();
    createOutboxWhole(driver).rebuild();
    leaveShredded(deps);
  });
  verifyBuilt(deps, logs);
  const complete = logs.every(
    ({ base, attested, survivors }) => base === attested && survivors === 0,
  );
  if (!complete || mode !== "whole") {
    inTransaction(driver, () => {
      noteRestored(deps, driver);
    });
  }
  const foreign = gathered.driver.prepare(
    "SELECT count(*) AS n FROM events JOIN logs ON logs.number = events.log WHERE own = 0",
  );
  const foreignLeftOut = mode !== "whole" ? (foreign.get<{ n: number }>()?.n ?? 0) : 0;
  return { mode, events, lostSections: notShredded(driver, lostSections), foreignLeftOut };
}

/** What was shredded is not lost. */
function notShredded(
  driver: SqliteDriver,
  sections: BuiltStore["lostSections"],
): BuiltStore["lostSections"] {
  const state = driver.prepare(
    `SELECT state FROM frames JOIN events ON events.position = frames.position
     WHERE id = ? AND section = ?`,
  );
  return sections.filter(
    ({ id, section }) => state.get<{ state: string }>(id, section)?.state !== "shredded",
  );
}

type Row = readonly SqlValue[];

/** Which rows of a table are taken over as they are. Notes are taken one by one, outbox entries are made again. */
function rowsKept(
  logs: readonly SalvagedLog[],
  mode: SalvageMode,
): (table: BackedUpTable) => (row: Row) => boolean {
  const bases = new Map(logs.map(({ number, base }) => [number, base]));
  return ({ name, columns }) => {
    const column = (row: Row, of: string): SqlValue => row[columns.indexOf(of)] ?? null;
    if (name === "commits" || name === "outbox") return () => false;
    if (mode === "whole" || name === "breakers" || name === "leases") return () => true;
    // Which server it is, and how its logs went on.
    if (name === "sync") return (row) => /^(server$|epoch\/)/.test(String(column(row, "name")));
    if (mode === "bare") return () => false;
    if (name === "checkpoints") return () => true;
    if (name !== "server_leaves") return () => false;
    return (row) => {
      const base = bases.get(Number(column(row, "incarnation")));
      const enrols = column(row, "kind") === "enrol";
      return base !== undefined && (enrols || Number(column(row, "size")) <= base);
    };
  };
}

/** Where a rotation or compacting stood is told in positions and sizes, which are others unless all is as it was. */
const standings: ReadonlySet<unknown> = new Set(["rotation/data", "compact"]);

function putStoreRows(
  { driver, keyring }: RestoreDeps,
  damaged: SqliteDriver,
  mode: SalvageMode,
): void {
  const put = driver.prepare("INSERT OR REPLACE INTO store (name, value) VALUES (?, ?)");
  put.run("created_at", "0");
  for (const [, name, value] of readDamaged(damaged, "store", ["name", "value"], { keys: 0 })) {
    if (name === restoredRow || (mode !== "whole" && standings.has(name))) continue;
    put.run(name ?? "", value ?? "");
  }
  put.run("store_id", keyring.storeId);
  put.run("tenant", keyring.tenant);
}

function copyTable(
  { driver }: RestoreDeps,
  damaged: SqliteDriver,
  { name, columns, values }: BackedUpTable,
  keeps: (row: Row) => boolean,
): void {
  const places = columns.map(() => "?").join(", ");
  const put = driver.prepare(
    `INSERT OR IGNORE INTO ${name} (${columns.join(", ")}) VALUES (${places})`,
  );
  for (const [, ...row] of readDamaged(damaged, name, values, { keys: 0 })) {
    if (keeps(row)) put.run(...row);
  }
}

/** Device logs and their notes: own ones up to the base. */
function putLogs(
  driver: SqliteDriver,
  gathered: Gathered,
  logs: readonly SalvagedLog[],
  mode: SalvageMode,
): void {
  const putLog = driver.prepare(
    "INSERT INTO incarnations (number, device, incarnation, own) VALUES (?, ?, ?, ?)",
  );
  const putNote = driver.prepare(
    "INSERT INTO commits (number, incarnation, size, root, note) VALUES (?, ?, ?, ?, ?)",
  );
  const bases = new Map(logs.map(({ number, base }) => [number, base]));
  // Nothing of it is left, and nobody attests how far it went: the next opening cannot name it.
  const unknown = new Set(logs.flatMap((log) => (log.base + log.marked === 0 ? [log.number] : [])));
  inTransaction(driver, () => {
    const all = gathered.driver.prepare("SELECT * FROM logs ORDER BY number");
    for (const log of all.all<{
      number: number;
      device: string;
      incarnation: string;
      own: number;
    }>()) {
      const base = bases.get(log.number);
      if (unknown.has(log.number) || (base === undefined && mode !== "whole")) continue;
      putLog.run(log.number, log.device, log.incarnation, log.own);
    }
    let number = 0;
    const page = gathered.driver.prepare(
      "SELECT rowid AS place, * FROM notes WHERE number > ? OR (number = ? AND rowid > ?) ORDER BY number, rowid LIMIT 256",
    );
    type Note = {
      place: number;
      log: number;
      size: number;
      root: string;
      note: string;
      number: number;
    };
    for (let after = { number: -1, place: 0 }; ;) {
      const rows = page.all<Note>(after.number, after.number, after.place);
      for (const { log, size, root, note } of rows) {
        const base = bases.get(log);
        if (base === undefined ? mode !== "whole" : size > base) continue;
        putNote.run(++number, log, size, root, note);
      }
      const last = rows.at(-1);
      if (last === undefined) break;
      after = last;
    }
  });
}

const eventsRead = 64;

/** The events in their order, with what there is of their frames. */
function putEvents(
  deps: RestoreDeps,
  gathered: Gathered,
  logs: readonly SalvagedLog[],
  mode: SalvageMode,
): Pick<BuiltStore, "events" | "lostSections"> {
  const { driver } = deps;
  const taken = createTaken(gathered, logs, mode);
  const loader = createEventLoader(deps, limits.backupSortedEventsMax + 1);
  const framesOf = gathered.driver.prepare(
    "SELECT section, key, state, bytes FROM frames WHERE leaf = ? ORDER BY section",
  );
  const lostSections: { id: string; section: string }[] = [];
  let position = 0;
  for (let rows = taken.next(); rows.length > 0; rows = taken.next()) {
    const frames: Uint8Array[] = [];
    const headers: string[] = [];
    for (const { leaf, header } of rows) {
      position += 1;
      headers.push(`${header}\n`);
      const here = framesOf.all<Omit<BackedUpFrame, "position">>(leaf);
      const { sec = {}, id } = readHeader(header) ?? { id: "" };
      for (const [section, { k }] of Object.entries(sec)) {
        const frame = here.find((one) => one.section === section);
        if (frame === undefined) lostSections.push({ id, section });
        const absent = { section, key: k, state: "evicted", bytes: null };
        frames.push(...frameParts({ ...(frame ?? absent), position }));
      }
    }
    inTransaction(driver, () => {
      loader.headers("events", utf8(headers.join("")));
      loader.frames("frames", concatAll(frames));
    });
  }
  inTransaction(driver, () => {
    loader.finish();
  });
  return { events: position, lostSections };
}

/** Gathered events that become the log, a few at a time. */
function createTaken(
  { driver }: Gathered,
  logs: readonly SalvagedLog[],
  mode: SalvageMode,
): { next(): readonly GatheredEvent[] } {
  driver.exec("DROP TABLE IF EXISTS temp.bases");
  driver.exec("CREATE TEMP TABLE bases (log INTEGER PRIMARY KEY, base INTEGER NOT NULL) STRICT");
  const put = driver.prepare("INSERT INTO bases VALUES (?, ?)");
  for (const { number, base } of logs) put.run(number, base);
  const page = driver.prepare(
    `SELECT position, events.log AS log, sequence, leaf, header FROM events
       LEFT JOIN bases ON bases.log = events.log
     WHERE (position, events.log, sequence) > (?, ?, ?)
       AND (sequence <= base OR (base IS NULL AND ?))
     ORDER BY position, events.log, sequence LIMIT ${eventsRead}`,
  );
  let after: readonly [number, number, number] = [-1, 0, 0];
  return {
    next() {
      type Row = GatheredEvent & { readonly log: number; readonly sequence: number };
      const rows = page.all<Row>(...after, mode === "whole" ? 1 : 0);
      const last = rows.at(-1);
      if (last !== undefined) after = [last.position, last.log, last.sequence];
      return rows;
    },
  };
}

/** The whole of what was built; content that no source had is told apart. */
function verifyBuilt(deps: RestoreDeps, logs: readonly SalvagedLog[]): void {
  const { problems } = checkLog(deps, { openSections: true });
  // What a log was cut off, verify goes on naming: until the server gives it back, or for ever.
  const told = new Set(["frame_absent", "key_missing", "predecessor_missing", "predecessor_wrong"]);
  const empty = new Set(logs.flatMap((log) => (log.base === 0 ? [`of ${log.incarnation}`] : [])));
  const isTold = ({ code, object }: Problem): boolean =>
    told.has(code) || (code === "receipt_wrong" && [...empty].some((end) => object.endsWith(end)));
  const problem = problems.find((found) => !isTold(found));
  if (problem !== undefined) throw unsound(problem.code, problem.object);
  checkReferences(deps.driver);
}
