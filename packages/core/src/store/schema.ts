/**
 * Tables of a store, format 3. spec/store.md explains each.
 *
 * `events`, `commits` and `tiles` are immutable by trigger. Triggers stop mistakes, not attackers: whoever
 * may run SQL can drop them, and the signed tree finds what was changed. An event is identified by its leaf;
 * inside one store rows are joined by `position`, an integer that stands for the leaf.
 */
import { HoldfastError } from "../std/errors.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";

/** `PRAGMA application_id`: "HFST". */
export const applicationId = 0x48465354;
/** `PRAGMA user_version`. */
export const storeFormat = 3;

const immutable = (table: string): string => `
CREATE TRIGGER ${table}_no_update BEFORE UPDATE ON ${table}
BEGIN SELECT RAISE(ABORT, '${table} are never updated'); END;
CREATE TRIGGER ${table}_no_delete BEFORE DELETE ON ${table}
BEGIN SELECT RAISE(ABORT, '${table} are never deleted'); END;`;

/** The outbox since format 2. */
export const outboxTables = `
CREATE TABLE outbox (
  position INTEGER PRIMARY KEY REFERENCES events (position),
  lane TEXT NOT NULL CHECK (lane IN ('normal', 'urgent')),
  state TEXT NOT NULL CHECK (state IN ('waiting', 'leased', 'dead')),
  enqueued_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_at INTEGER,
  token INTEGER
) STRICT;
CREATE INDEX outbox_by_turn ON outbox (state, lane, next_at, position);
CREATE INDEX outbox_by_lease ON outbox (token) WHERE token IS NOT NULL;
`;

/** What sync keeps beside the events: format 2 added it. */
export const syncTables = `
CREATE TABLE attempts (
  number INTEGER PRIMARY KEY,
  token INTEGER NOT NULL,
  endpoint TEXT NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  entries INTEGER NOT NULL,
  positions TEXT NOT NULL CHECK (json_valid(positions)),
  started_at INTEGER NOT NULL,
  ended_at INTEGER,
  result TEXT CHECK (result IN ('delivered', 'partly', 'failed', 'cancelled', 'lost')),
  code TEXT,
  status INTEGER
) STRICT;
CREATE INDEX attempts_by_position ON attempts (last, first);
CREATE INDEX attempts_open ON attempts (token) WHERE ended_at IS NULL;

CREATE TABLE dead_letters (
  position INTEGER PRIMARY KEY REFERENCES events (position),
  attempts INTEGER NOT NULL,
  code TEXT NOT NULL,
  message TEXT NOT NULL,
  status INTEGER,
  severity TEXT NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  archived_at INTEGER,
  purged_at INTEGER
) STRICT;

CREATE TABLE breakers (
  endpoint TEXT PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('closed', 'open', 'half-open')),
  failures INTEGER NOT NULL,
  trips INTEGER NOT NULL,
  changed_at INTEGER NOT NULL,
  retry_at INTEGER
) STRICT;

CREATE TABLE sync (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

CREATE TABLE pushed (
  incarnation INTEGER PRIMARY KEY REFERENCES incarnations (number),
  size INTEGER NOT NULL,
  owed TEXT NOT NULL CHECK (json_valid(owed)),
  receipt INTEGER REFERENCES server_leaves (number),
  receipted_at INTEGER
) STRICT;

CREATE TABLE pulls (
  scope TEXT PRIMARY KEY,
  position INTEGER NOT NULL
) STRICT;

CREATE TABLE checkpoints (
  log TEXT NOT NULL,
  size INTEGER NOT NULL,
  root TEXT NOT NULL,
  note TEXT NOT NULL,
  before INTEGER NOT NULL,
  path BLOB NOT NULL,
  PRIMARY KEY (log, size)
) STRICT;
${immutable("checkpoints")}

CREATE TABLE server_leaves (
  number INTEGER PRIMARY KEY,
  incarnation INTEGER NOT NULL REFERENCES incarnations (number),
  kind TEXT NOT NULL,
  size INTEGER NOT NULL,
  leaf TEXT NOT NULL CHECK (json_valid(leaf)),
  log TEXT NOT NULL,
  leaf_index INTEGER NOT NULL,
  log_size INTEGER NOT NULL,
  path BLOB NOT NULL,
  UNIQUE (log, leaf_index)
) STRICT;
CREATE INDEX server_leaves_by_incarnation ON server_leaves (incarnation, kind, size);
${immutable("server_leaves")}

CREATE TABLE note_links (
  incarnation INTEGER NOT NULL REFERENCES incarnations (number),
  before INTEGER NOT NULL,
  size INTEGER NOT NULL,
  path BLOB NOT NULL,
  PRIMARY KEY (incarnation, size)
) STRICT;
${immutable("note_links")}

CREATE TABLE proofs (
  number INTEGER PRIMARY KEY,
  incarnation INTEGER NOT NULL REFERENCES incarnations (number),
  size INTEGER NOT NULL,
  indices TEXT NOT NULL CHECK (json_valid(indices)),
  hashes BLOB NOT NULL
) STRICT;
CREATE INDEX proofs_by_incarnation ON proofs (incarnation, size);
${immutable("proofs")}

CREATE TABLE access (
  device TEXT NOT NULL,
  scope TEXT NOT NULL,
  role TEXT NOT NULL,
  hpke TEXT NOT NULL,
  leaf TEXT NOT NULL,
  PRIMARY KEY (device, scope)
) STRICT;

CREATE TABLE grants (
  key TEXT NOT NULL,
  generation INTEGER NOT NULL,
  recipient TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('sent', 'received', 'withdrawn')),
  at INTEGER NOT NULL,
  PRIMARY KEY (key, generation, recipient)
) STRICT;
`;

/**
 * What is shredded here, and how far: format 3 added it. A row comes in the transaction of the event that puts the
 * shred in force; it only ever moves forward.
 */
export const shredTables = `
CREATE TABLE shreds (
  scope TEXT NOT NULL,
  section TEXT NOT NULL,
  shred TEXT NOT NULL,
  leaf TEXT NOT NULL,
  state TEXT NOT NULL
    CHECK (state IN ('in-force', 'keys-destroyed', 'frames-deleted', 'cleaned', 'acknowledged')),
  PRIMARY KEY (scope, section, shred)
) STRICT;
CREATE INDEX shreds_open ON shreds (state) WHERE state <> 'acknowledged';
CREATE TRIGGER shreds_no_delete BEFORE DELETE ON shreds
BEGIN SELECT RAISE(ABORT, 'shreds are never deleted'); END;
CREATE TRIGGER shreds_only_forward BEFORE UPDATE ON shreds
WHEN NEW.scope <> OLD.scope OR NEW.section <> OLD.section OR NEW.shred <> OLD.shred
  OR NEW.leaf <> OLD.leaf
  OR instr('in-force keys-destroyed frames-deleted cleaned acknowledged', NEW.state)
    < instr('in-force keys-destroyed frames-deleted cleaned acknowledged', OLD.state)
BEGIN SELECT RAISE(ABORT, 'shreds only go forward'); END;
`;

/** DDL of format 3; `schemaDrift` compares a store with it. */
export const schema = `
CREATE TABLE store (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

CREATE TABLE incarnations (
  number INTEGER PRIMARY KEY,
  device TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  own INTEGER NOT NULL CHECK (own IN (0, 1)),
  UNIQUE (device, incarnation)
) STRICT;

CREATE TABLE events (
  position INTEGER PRIMARY KEY,
  leaf TEXT NOT NULL CHECK (length(leaf) = 43),
  id TEXT NOT NULL CHECK (length(id) = 36),
  incarnation INTEGER NOT NULL REFERENCES incarnations (number),
  sequence INTEGER NOT NULL CHECK (sequence > 0),
  type TEXT NOT NULL,
  stream TEXT NOT NULL,
  actor TEXT NOT NULL,
  recorded_at INTEGER NOT NULL CHECK (recorded_at BETWEEN 0 AND 281474976710655),
  header TEXT NOT NULL CHECK (json_valid(header))
) STRICT;
CREATE UNIQUE INDEX events_by_leaf ON events (leaf);
CREATE UNIQUE INDEX events_by_id ON events (id);
CREATE UNIQUE INDEX events_by_sequence ON events (incarnation, sequence);
CREATE INDEX events_by_stream ON events (stream);
CREATE INDEX events_by_type ON events (type);
CREATE INDEX events_by_actor ON events (actor);
CREATE INDEX events_by_time ON events (recorded_at);
CREATE TRIGGER events_without_gap BEFORE INSERT ON events
WHEN NEW.position <> (SELECT coalesce(max(position), 0) + 1 FROM events)
BEGIN SELECT RAISE(ABORT, 'positions have no gap'); END;
CREATE TRIGGER events_own_without_gap BEFORE INSERT ON events
WHEN (SELECT own FROM incarnations WHERE number = NEW.incarnation) = 1
 AND NEW.sequence <> (
   SELECT coalesce(max(sequence), 0) + 1 FROM events WHERE incarnation = NEW.incarnation)
BEGIN SELECT RAISE(ABORT, 'sequences have no gap'); END;
${immutable("events")}

CREATE TABLE frames (
  position INTEGER NOT NULL REFERENCES events (position),
  section TEXT NOT NULL,
  key TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('present', 'owed', 'shredded', 'evicted')),
  bytes BLOB,
  CHECK ((state = 'present') = (bytes IS NOT NULL)),
  PRIMARY KEY (position, section)
) STRICT;

CREATE TABLE commits (
  number INTEGER PRIMARY KEY,
  incarnation INTEGER NOT NULL REFERENCES incarnations (number),
  size INTEGER NOT NULL,
  root TEXT NOT NULL,
  note TEXT NOT NULL,
  UNIQUE (incarnation, size)
) STRICT;
${immutable("commits")}

CREATE TABLE tiles (
  incarnation INTEGER NOT NULL REFERENCES incarnations (number),
  tile INTEGER NOT NULL,
  root TEXT NOT NULL,
  PRIMARY KEY (incarnation, tile)
) STRICT;
${immutable("tiles")}

CREATE TABLE streams (
  stream TEXT PRIMARY KEY,
  scope TEXT NOT NULL,
  vector TEXT NOT NULL CHECK (json_valid(vector)),
  frontier TEXT NOT NULL CHECK (json_valid(frontier)),
  recorded INTEGER NOT NULL,
  reordered_at INTEGER NOT NULL,
  ahead TEXT NOT NULL CHECK (json_valid(ahead)),
  devices INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX streams_shared ON streams (stream) WHERE devices > 1;
CREATE INDEX streams_by_scope ON streams (scope);

${outboxTables}
CREATE TABLE leases (
  name TEXT PRIMARY KEY,
  token INTEGER NOT NULL,
  holder TEXT,
  acquired_at INTEGER NOT NULL,
  heartbeat_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  wanted_at INTEGER,
  metadata TEXT CHECK (metadata IS NULL OR json_valid(metadata))
) STRICT;

CREATE TABLE projections (
  build INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  registry TEXT NOT NULL,
  columns TEXT NOT NULL CHECK (json_valid(columns)),
  state TEXT NOT NULL CHECK (state IN ('building', 'current', 'stopped', 'behind')),
  incomplete INTEGER NOT NULL DEFAULT 0 CHECK (incomplete IN (0, 1)),
  stopped_at INTEGER,
  cursor TEXT NOT NULL DEFAULT '',
  streams INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX projections_by_name ON projections (name);

CREATE TABLE snapshots (
  build INTEGER NOT NULL,
  stream TEXT NOT NULL,
  folded INTEGER NOT NULL,
  position INTEGER NOT NULL,
  recorded INTEGER NOT NULL,
  state TEXT CHECK (state IS NULL OR json_valid(state)),
  PRIMARY KEY (build, stream, folded)
) STRICT, WITHOUT ROWID;
${syncTables}
${shredTables}
`;

/** Read models are made and dropped with their projections: outside the fixed schema. */
export const modelTablePrefix = "model_";
/** Full-text indices of read models. */
export const searchTablePrefix = "search_";

/** Creates the tables of an empty database, in the caller's transaction. */
export function createSchema(driver: SqliteDriver): void {
  driver.exec(schema);
  driver.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${storeFormat};`);
}

/** Format of the database, whatever it holds. */
export function formatOf(driver: SqliteDriver): number {
  return pragmaNumber(driver, "user_version");
}

/** Is the store of an earlier format? `schema-lifts.ts` says how it is lifted. */
export function isOlderFormat(driver: SqliteDriver): boolean {
  return formatOf(driver) < storeFormat;
}

interface NumberRow {
  readonly value: number;
}

function pragmaNumber(driver: SqliteDriver, name: string): number {
  const row = driver.prepare(`SELECT ${name} AS value FROM pragma_${name}()`).get<NumberRow>();
  return row?.value ?? 0;
}

/** Throws `store_foreign` or `store_newer` unless this is a store of a format that this release reads. */
export function checkFormat(driver: SqliteDriver): void {
  if (pragmaNumber(driver, "application_id") !== applicationId)
    throw new HoldfastError("store_foreign");
  const format = pragmaNumber(driver, "user_version");
  if (format > storeFormat)
    throw new HoldfastError("store_newer", { format, readable: storeFormat });
  if (format < 1) throw new HoldfastError("store_foreign", { format });
}

interface ObjectRow {
  readonly kind: string;
  readonly name: string;
  readonly sql: string | null;
}

function describeObjects(sqlTexts: readonly ObjectRow[]): ReadonlyMap<string, string> {
  return new Map(
    sqlTexts.map(({ kind, name, sql }) => [
      `${kind} ${name}`,
      (sql ?? "").replaceAll(/\s+/g, " ").trim(),
    ]),
  );
}

function listObjects(driver: SqliteDriver): ReadonlyMap<string, string> {
  return describeObjects(
    driver
      .prepare(
        `SELECT type AS kind, name, sql FROM sqlite_schema
         WHERE name NOT GLOB 'sqlite_*'
           AND NOT (type IN ('table', 'index')
             AND (tbl_name GLOB '${modelTablePrefix}*' OR tbl_name GLOB '${searchTablePrefix}*'))
         ORDER BY name`,
      )
      .all<ObjectRow>(),
  );
}

/** Tables, indices and triggers of the fixed schema, by kind and name. */
function expectedObjects(): ReadonlyMap<string, string> {
  const objects = new Map<string, string>();
  const statements = schema.matchAll(
    /CREATE (?:UNIQUE )?(TABLE|INDEX|TRIGGER) (\w+)[\s\S]*?;(?=\s*(?:CREATE|$))/g,
  );
  for (const [text, kind, name] of statements) {
    const sql = text.replace(/;\s*$/, "").replaceAll(/\s+/g, " ").trim();
    objects.set(`${(kind as string).toLowerCase()} ${name as string}`, sql);
  }
  return objects;
}

/** Read from the schema's text once. */
let fixedObjects: ReadonlyMap<string, string> | undefined;

/** Names what is missing, unexpected or different in tables, indices and triggers. */
export function schemaDrift(driver: SqliteDriver): readonly string[] {
  const actual = listObjects(driver);
  const expected = (fixedObjects ??= expectedObjects());
  const drift: string[] = [];
  for (const [name, sql] of expected) {
    if (!actual.has(name)) drift.push(`missing ${name}`);
    else if (actual.get(name) !== sql) drift.push(`different ${name}`);
  }
  for (const name of actual.keys()) if (!expected.has(name)) drift.push(`unexpected ${name}`);
  return drift.toSorted();
}
