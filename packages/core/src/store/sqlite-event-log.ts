/**
 * The event log on SQLite: one transaction writes headers, frames, tree state, the commit note, stream heads
 * and whatever takes part in the append (outbox, read models).
 */
import type { FrameState, Header } from "../event/event.ts";
import { createTreeBuilder, emptyRange, tileLeaves } from "../proof/tree.ts";
import { type LeafSource, rangeFromTiles } from "../proof/tiles.ts";
import { base64url, type Bytes, fromBase64url } from "../std/bytes.ts";
import { HoldfastError, invariant, isHoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import { noPrevious } from "../event/event.ts";
import type { EventContent } from "../seal/content.ts";
import type { CommitNote, Frame, SealedEvent } from "../seal/sealed-event.ts";
import type {
  CommitBatch,
  CommitOutcome,
  DeviceLogState,
  EventFilter,
  EventLog,
  StoredEvent,
} from "./event-log.ts";
import { createShredTable, type ShredTable } from "./shreds.ts";
import type { SqliteDriver, SqlValue } from "./sqlite-driver.ts";
import {
  advanceHead,
  createStreamHeads,
  type StreamHead,
  type StreamHeads,
} from "./stream-heads.ts";

/** An event that the running transaction has just stored. */
export interface AppendedRow {
  readonly position: number;
  readonly sealed: SealedEvent;
  readonly urgent: boolean;
  /** Of another installation. */
  readonly foreign: boolean;
  /** What the event says, where the batch brought it. */
  readonly content: EventContent | undefined;
  /** The stream before this event, and after it. */
  readonly before: StreamHead | undefined;
  readonly after: StreamHead;
}

/** The outcome of an append, with the heads of the streams that it moved on. */
export type CommitOutcomeWithHeads =
  | (Extract<CommitOutcome, { status: "appended" }> & {
      readonly heads: ReadonlyMap<string, StreamHead>;
    })
  | Extract<CommitOutcome, { status: "stale" }>;

/** What else happens in the append's transaction. Throwing aborts the append. */
export interface AppendParticipant {
  readonly name: string;
  apply(appended: readonly AppendedRow[]): void;
}

/** The event log on SQLite: every answer at once, without a promise. */
export interface SqliteEventLog extends EventLog {
  head(): number;
  deviceLog(device: string, incarnation: string): DeviceLogState | undefined;
  append(batch: CommitBatch): CommitOutcome;
  /** As `append`, inside a transaction of the caller's and with what takes part in it. */
  appendWithin(
    batch: CommitBatch,
    participants: readonly AppendParticipant[],
  ): CommitOutcomeWithHeads;
  /**
   * Appends events of other installations, of any of their logs and with gaps, inside a transaction of the
   * caller's; of own logs, what another holder of them gave back, in order and without gaps. They were verified
   * before; those that are here already are passed over. Throws `event_id_conflict`.
   */
  appendForeignWithin(
    events: readonly SealedEvent[],
    participants: readonly AppendParticipant[],
  ): {
    readonly appended: readonly AppendedRow[];
    readonly heads: ReadonlyMap<string, StreamHead>;
  };
  read(filter: EventFilter): readonly StoredEvent[];
  byLeaf(leaf: string): StoredEvent | undefined;
  byId(id: string): StoredEvent | undefined;
  noteCovering(device: string, incarnation: string, sequence: number): CommitNote | undefined;
  leaves(device: string, incarnation: string, from: number, to: number): readonly string[];
  /** Leaves and tile roots of a device log, for proofs. */
  leafSource(device: string, incarnation: string): LeafSource;
  /** Events of a device log, without building its tree; 0 when it is not here. */
  deviceLogSize(device: string, incarnation: string): number;
  readonly streams: StreamHeads;
  /** What is shredded here. */
  readonly shreds: ShredTable;
}

/** Ports of the event log on SQLite. */
export interface SqliteEventLogDeps {
  readonly crypto: Crypto;
  readonly driver: SqliteDriver;
}

/** Runs `work` in one immediate transaction: committed when it returns, rolled back when it throws. */
export function inTransaction<T>(driver: SqliteDriver, work: () => T): T {
  // The driver keeps prepared statements; `exec` would compile these anew each time.
  driver.prepare("BEGIN IMMEDIATE").run();
  let result: T;
  try {
    result = work();
  } catch (error) {
    // SQLite has already rolled back after some failures (full disk, I/O error).
    if (driver.inTransaction) driver.exec("ROLLBACK");
    throw error;
  }
  driver.prepare("COMMIT").run();
  return result;
}

/** An event log over a connection whose schema is there. */
export function createSqliteEventLog(deps: SqliteEventLogDeps): SqliteEventLog {
  const { driver, crypto } = deps;
  const statements = prepareStatements(driver);
  const [streams, shreds] = [createStreamHeads(driver), createShredTable(driver)];
  const incarnations = createIncarnationNumbers(driver);

  function head(): number {
    return statements.head.get<{ value: number }>()?.value ?? 0;
  }

  function leafSource(device: string, incarnation: string): LeafSource {
    const number = incarnations.find(device, incarnation) ?? -1;
    return {
      leaves: (from, to) =>
        statements.leaves.all<{ leaf: string }>(number, from, to).map(({ leaf }) => digestOf(leaf)),
      tileRoots: (from, to) =>
        statements.tiles.all<{ root: string }>(number, from, to).map(({ root }) => digestOf(root)),
    };
  }

  function deviceLog(device: string, incarnation: string): DeviceLogState | undefined {
    const number = incarnations.find(device, incarnation);
    if (number === undefined) return undefined;
    const last = statements.lastOf.get<{ sequence: number; leaf: string }>(number);
    const size = last?.sequence ?? 0;
    const range = rangeFromTiles(crypto, leafSource(device, incarnation), size);
    return { device, incarnation, size, head: { leaf: last?.leaf ?? noPrevious, range } };
  }

  function deviceLogSize(device: string, incarnation: string): number {
    const number = incarnations.find(device, incarnation) ?? -1;
    return statements.lastOf.get<{ sequence: number }>(number)?.sequence ?? 0;
  }

  function appendWithin(
    batch: CommitBatch,
    participants: readonly AppendParticipant[],
  ): CommitOutcomeWithHeads {
    const { note, events } = batch;
    const known = incarnations.find(note.device, note.incarnation) ?? -1;
    const last = statements.lastOf.get<{ sequence: number; leaf: string }>(known);
    const size = last?.sequence ?? 0;
    const continues = events[0]?.header.prev === (last?.leaf ?? noPrevious);
    if (!continues || size + events.length !== note.size) return { status: "stale", size };
    const foreign = batch.foreign ?? false;
    const number = incarnations.findOrAdd(note.device, note.incarnation, foreign);
    const firstPosition = head() + 1;
    const heads = new Map<string, StreamHead>();
    const appended = events.map((sealed, index): AppendedRow => {
      const row = insertRow(firstPosition + index, number, sealed, heads);
      const urgent = batch.urgent?.has(sealed.leaf) ?? false;
      const content = batch.contents?.get(sealed.leaf);
      return { ...row, foreign, urgent, content };
    });
    for (const [stream, after] of heads) streams.put(stream, after);
    insertTiles(number, size, events);
    statements.insertCommit.run(number, note.size, note.root, note.text);
    for (const participant of participants) participant.apply(appended);
    return { status: "appended", firstPosition, heads };
  }

  function appendForeignWithin(
    events: readonly SealedEvent[],
    participants: readonly AppendParticipant[],
  ) {
    const heads = new Map<string, StreamHead>();
    const appended: AppendedRow[] = [];
    let position = head();
    const owns = createOwnParts(incarnations.isOwn);
    for (const sealed of events) {
      if (statements.byLeaf.get(sealed.leaf) !== undefined) continue;
      const number = incarnations.findOrAdd(sealed.header.dev, sealed.header.inc, true);
      owns.add(number, sealed);
      position += 1;
      const row = insertRow(position, number, sealed, heads);
      appended.push({ ...row, foreign: true, urgent: false, content: undefined });
    }
    for (const [stream, after] of heads) streams.put(stream, after);
    for (const { number, size, events: more } of owns.parts()) insertTiles(number, size, more);
    if (appended.length > 0) for (const each of participants) each.apply(appended);
    return { appended, heads };
  }

  /** Inserts one event and moves the head of its stream on. */
  function insertRow(
    position: number,
    number: number,
    sealed: SealedEvent,
    heads: Map<string, StreamHead>,
  ): Pick<AppendedRow, "position" | "sealed" | "before" | "after"> {
    insertEvent(position, number, sealed);
    const { stream } = sealed.header;
    const before = heads.get(stream) ?? streams.get(stream);
    const after = advanceHead(before, sealed.header, position, () => headersOf(stream));
    heads.set(stream, after);
    return { position, sealed, before, after };
  }

  function headersOf(stream: string): readonly { leaf: string; header: Header }[] {
    return statements.ofStream
      .all<EventRow>(stream)
      .map((row) => ({ leaf: row.leaf, header: JSON.parse(row.header) as Header }));
  }

  function insertEvent(position: number, incarnation: number, sealed: SealedEvent): void {
    const { header } = sealed;
    try {
      statements.insertEvent.run(
        position,
        sealed.leaf,
        header.id,
        incarnation,
        header.seq,
        header.type,
        header.stream,
        header.act,
        header.at,
        sealed.headerText,
      );
    } catch (error) {
      if (
        isHoldfastError(error, "store_constraint") &&
        statements.byId.get(header.id) !== undefined
      )
        throw new HoldfastError("event_id_conflict", { id: header.id }, { cause: error });
      throw error;
    }
    for (const frame of sealed.frames) {
      statements.insertFrame.run(
        position,
        frame.section,
        frame.key,
        frame.state,
        frame.bytes ?? null,
      );
    }
  }

  /** Stores the root of every tile that the new leaves complete. */
  function insertTiles(number: number, size: number, events: readonly SealedEvent[]): void {
    const firstTile = Math.floor(size / tileLeaves);
    const lastTile = Math.floor((size + events.length) / tileLeaves);
    if (firstTile === lastTile) return;
    const tileStart = firstTile * tileLeaves;
    const stored = statements.leaves
      .all<{ leaf: string }>(number, tileStart, lastTile * tileLeaves)
      .map(({ leaf }) => digestOf(leaf));
    for (let tile = firstTile; tile < lastTile; tile++) {
      const builder = createTreeBuilder(crypto, emptyRange);
      const at = (tile - firstTile) * tileLeaves;
      for (const leaf of stored.slice(at, at + tileLeaves)) builder.append(leaf);
      invariant(builder.size === tileLeaves, "a complete tile has all its leaves");
      statements.insertTile.run(number, tile, base64url(builder.root()));
    }
  }

  function withFrames(row: EventRow, headersOnly: boolean): StoredEvent {
    const { position, leaf, header: headerText } = row;
    const frames = headersOnly ? [] : statements.frames.all<FrameRow>(position).map(frameOf);
    return { position, leaf, headerText, frames };
  }

  const one = (row?: EventRow) => (row === undefined ? undefined : withFrames(row, false));

  return {
    capabilities: {
      durable: driver.capabilities.persistent,
      encrypted: driver.capabilities.encrypted,
    },
    streams,
    shreds,
    head,
    deviceLog,
    deviceLogSize,
    leafSource,
    append: (batch) => inTransaction(driver, () => appendWithin(batch, [])),
    appendWithin,
    appendForeignWithin,
    read(filter) {
      const { sql, values } = selectEvents(filter);
      const rows = driver.prepare(sql).all<EventRow>(...values);
      return rows.map((row) => withFrames(row, filter.headersOnly ?? false));
    },
    byLeaf: (leaf) => one(statements.byLeaf.get<EventRow>(leaf)),
    byId: (id) => one(statements.byId.get<EventRow>(id)),
    noteCovering(device, incarnation, sequence) {
      const number = incarnations.find(device, incarnation) ?? -1;
      const row = statements.noteCovering.get<NoteRow>(number, sequence);
      return row === undefined
        ? undefined
        : { device, incarnation, size: row.size, root: row.root, text: row.note };
    },
    leaves(device, incarnation, from, to) {
      const number = incarnations.find(device, incarnation) ?? -1;
      return statements.leaves.all<{ leaf: string }>(number, from, to).map(({ leaf }) => leaf);
    },
  };
}

interface EventRow {
  readonly position: number;
  readonly leaf: string;
  readonly header: string;
}

interface FrameRow {
  readonly section: string;
  readonly key: string;
  readonly state: FrameState;
  readonly bytes: Uint8Array | null;
}

interface NoteRow {
  readonly size: number;
  readonly root: string;
  readonly note: string;
}

function frameOf(row: FrameRow): Frame {
  return { section: row.section, key: row.key, state: row.state, bytes: row.bytes ?? undefined };
}

function digestOf(text: string): Bytes {
  return fromBase64url(text) ?? new Uint8Array(0);
}

function prepareStatements(driver: SqliteDriver) {
  const columns = "position, leaf, header";
  return {
    head: driver.prepare("SELECT max(position) AS value FROM events"),
    lastOf: driver.prepare(
      "SELECT sequence, leaf FROM events WHERE incarnation = ? ORDER BY sequence DESC LIMIT 1",
    ),
    leaves: driver.prepare(
      `SELECT leaf FROM events WHERE incarnation = ? AND sequence > ? AND sequence <= ?
       ORDER BY sequence`,
    ),
    tiles: driver.prepare(
      "SELECT root FROM tiles WHERE incarnation = ? AND tile >= ? AND tile < ? ORDER BY tile",
    ),
    ofStream: driver.prepare(`SELECT ${columns} FROM events WHERE stream = ? ORDER BY position`),
    byLeaf: driver.prepare(`SELECT ${columns} FROM events WHERE leaf = ?`),
    byId: driver.prepare(`SELECT ${columns} FROM events WHERE id = ?`),
    frames: driver.prepare(
      "SELECT section, key, state, bytes FROM frames WHERE position = ? ORDER BY section",
    ),
    noteCovering: driver.prepare(
      `SELECT size, root, note FROM commits WHERE incarnation = ? AND size >= ?
       ORDER BY size LIMIT 1`,
    ),
    insertEvent: driver.prepare(
      `INSERT INTO events
         (position, leaf, id, incarnation, sequence, type, stream, actor, recorded_at, header)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    insertFrame: driver.prepare(
      "INSERT INTO frames (position, section, key, state, bytes) VALUES (?, ?, ?, ?, ?)",
    ),
    insertCommit: driver.prepare(
      "INSERT INTO commits (incarnation, size, root, note) VALUES (?, ?, ?, ?)",
    ),
    insertTile: driver.prepare("INSERT INTO tiles (incarnation, tile, root) VALUES (?, ?, ?)"),
  };
}

/** Events of own logs in one append, each log with the size that it had: its tiles are kept. */
function createOwnParts(isOwn: (number: number) => boolean) {
  const parts = new Map<number, { size: number; events: SealedEvent[] } | undefined>();
  return {
    add(number: number, sealed: SealedEvent): void {
      if (!parts.has(number)) {
        const part = { size: sealed.header.seq - 1, events: [] };
        parts.set(number, isOwn(number) ? part : undefined);
      }
      parts.get(number)?.events.push(sealed);
    },
    parts: () =>
      [...parts].flatMap(([number, part]) => (part === undefined ? [] : [{ number, ...part }])),
  };
}

/** Numbers that stand for (device, incarnation) inside one store. */
function createIncarnationNumbers(driver: SqliteDriver) {
  const select = driver.prepare(
    "SELECT number FROM incarnations WHERE device = ? AND incarnation = ?",
  );
  const insert = driver.prepare(
    "INSERT INTO incarnations (device, incarnation, own) VALUES (?, ?, ?)",
  );
  const find = (device: string, incarnation: string): number | undefined =>
    select.get<{ number: number }>(device, incarnation)?.number;
  const own = driver.prepare("SELECT own FROM incarnations WHERE number = ?");
  return {
    find,
    isOwn: (number: number): boolean => own.get<{ own: number }>(number)?.own === 1,
    findOrAdd(device: string, incarnation: string, foreign: boolean): number {
      const known = find(device, incarnation);
      if (known !== undefined) return known;
      insert.run(device, incarnation, foreign ? 0 : 1);
      const number = find(device, incarnation);
      invariant(number !== undefined, "an inserted incarnation has a number");
      return number;
    },
  };
}

/** Which index serves comes from SQLite; every condition is on an indexed column. */
function selectEvents(filter: EventFilter): { readonly sql: string; readonly values: SqlValue[] } {
  const conditions: string[] = [];
  const values: SqlValue[] = [];
  const add = (condition: string, value: SqlValue | undefined): void => {
    if (value === undefined) return;
    conditions.push(condition);
    values.push(value);
  };
  add("stream = ?", filter.stream);
  add("type = ?", filter.type);
  add("actor = ?", filter.actor);
  add("recorded_at >= ?", filter.since);
  add("recorded_at < ?", filter.until);
  add("position > ?", filter.after);
  if (filter.unsynced === true) {
    // A purged dead letter has left the outbox; the server has not acknowledged its event.
    conditions.push(`(EXISTS (SELECT 1 FROM outbox WHERE outbox.position = events.position)
      OR EXISTS (SELECT 1 FROM dead_letters
        WHERE dead_letters.position = events.position AND dead_letters.purged_at IS NOT NULL))`);
  }
  const where = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`;
  values.push(filter.limit);
  return {
    sql: `SELECT position, leaf, header FROM events ${where} ORDER BY position LIMIT ?`,
    values,
  };
}

/**
 * The header of a stored event. What is stored was checked when it was sealed or taken in; a text that is no
 * header at all was put there by somebody else: `store_corrupt`.
 */
export function headerOf(stored: Pick<StoredEvent, "headerText" | "position">): Header {
  try {
    const header = JSON.parse(stored.headerText) as Header;
    if (typeof header.sec === "object" && header.sec !== null) return header;
  } catch {
    // Told below.
  }
  throw new HoldfastError("store_corrupt", { position: stored.position });
}
