/**
 * Tables of a server on SQLite, format 3. Every key begins with the tenant (its row number) or with the shard,
 * which belongs to one tenant. What was signed or was received is immutable by trigger, but for frames, which a shred
 * replaces; the state of tenants, devices, device logs and shards moves on.
 */
import { HoldfastError, type SqliteDriver } from "@holdfast/core";

/** `PRAGMA application_id`: "HFSV". */
const serverApplicationId = 0x48465356;
/** `PRAGMA user_version`. */
const serverFormat = 3;

const immutable = (table: string): string => `
CREATE TRIGGER ${table}_no_update BEFORE UPDATE ON ${table}
BEGIN SELECT RAISE(ABORT, '${table} are never updated'); END;
CREATE TRIGGER ${table}_no_delete BEFORE DELETE ON ${table}
BEGIN SELECT RAISE(ABORT, '${table} are never deleted'); END;`;

const tenantTables = `
CREATE TABLE tenants (
  number INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL UNIQUE,
  shard TEXT NOT NULL UNIQUE,
  founder TEXT NOT NULL,
  node TEXT NOT NULL
) STRICT;

CREATE TABLE shards (
  number INTEGER PRIMARY KEY,
  shard TEXT NOT NULL UNIQUE,
  tenant INTEGER NOT NULL REFERENCES tenants (number),
  log INTEGER NOT NULL CHECK (log > 0),
  events INTEGER NOT NULL CHECK (events >= 0),
  leaves INTEGER NOT NULL CHECK (leaves >= 0),
  range BLOB NOT NULL,
  sealed INTEGER NOT NULL CHECK (sealed IN (0, 1))
) STRICT;
CREATE TRIGGER shards_sealed BEFORE UPDATE ON shards WHEN OLD.sealed = 1
BEGIN SELECT RAISE(ABORT, 'a sealed shard is never updated'); END;

CREATE TABLE successions (
  tenant INTEGER NOT NULL REFERENCES tenants (number),
  number INTEGER NOT NULL,
  shard TEXT NOT NULL,
  log INTEGER NOT NULL,
  size INTEGER NOT NULL,
  next_shard TEXT NOT NULL,
  next_log INTEGER NOT NULL,
  PRIMARY KEY (tenant, number)
) STRICT;
${immutable("successions")}

CREATE TABLE devices (
  tenant INTEGER NOT NULL REFERENCES tenants (number),
  device TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('device', 'reader', 'auditor', 'admin')),
  status TEXT NOT NULL CHECK (status IN ('active', 'revoked')),
  enrolled_at INTEGER NOT NULL,
  code TEXT,
  binding TEXT,
  PRIMARY KEY (tenant, device)
) STRICT;

CREATE TABLE logs (
  number INTEGER PRIMARY KEY,
  tenant INTEGER NOT NULL REFERENCES tenants (number),
  device TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  algorithm TEXT NOT NULL CHECK (algorithm IN ('ed25519', 'ecdsa-p256')),
  spki BLOB NOT NULL,
  hpke TEXT NOT NULL,
  opening TEXT NOT NULL,
  size INTEGER NOT NULL CHECK (size >= 0),
  head TEXT NOT NULL,
  range BLOB NOT NULL,
  note TEXT,
  receipt INTEGER,
  received_at INTEGER NOT NULL,
  enrolment INTEGER NOT NULL,
  revocation INTEGER,
  owed TEXT NOT NULL CHECK (json_valid(owed)),
  cutoff INTEGER,
  UNIQUE (tenant, device, incarnation)
) STRICT;

CREATE TABLE codes (
  digest TEXT PRIMARY KEY,
  tenant TEXT,
  role TEXT NOT NULL,
  expires INTEGER NOT NULL,
  used_at INTEGER
) STRICT;

CREATE TABLE access (
  tenant INTEGER NOT NULL,
  device TEXT NOT NULL,
  scope TEXT NOT NULL,
  PRIMARY KEY (tenant, device, scope)
) STRICT, WITHOUT ROWID;

CREATE TABLE access_changes (
  tenant INTEGER NOT NULL,
  device TEXT NOT NULL,
  position INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('granted', 'revoked')),
  scopes TEXT NOT NULL CHECK (json_valid(scopes)),
  by TEXT NOT NULL,
  leaf_index INTEGER NOT NULL,
  PRIMARY KEY (tenant, device, position)
) STRICT, WITHOUT ROWID;
${immutable("access_changes")}

CREATE TABLE grants (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant INTEGER NOT NULL,
  recipient TEXT NOT NULL,
  key TEXT NOT NULL,
  generation INTEGER NOT NULL,
  text TEXT NOT NULL,
  UNIQUE (tenant, recipient, key, generation)
) STRICT;
`;

const shredTables = `
CREATE TABLE shreds (
  tenant INTEGER NOT NULL REFERENCES tenants (number),
  scope TEXT NOT NULL,
  section TEXT NOT NULL,
  shred TEXT NOT NULL,
  done INTEGER NOT NULL DEFAULT 0 CHECK (done IN (0, 1)),
  PRIMARY KEY (tenant, scope, section)
) STRICT, WITHOUT ROWID;
CREATE INDEX shreds_unfinished ON shreds (tenant) WHERE done = 0;
CREATE TRIGGER shreds_no_delete BEFORE DELETE ON shreds
BEGIN SELECT RAISE(ABORT, 'shreds are never deleted'); END;
`;

/** Whatever a header says stays; frames are outside of what was signed. */
const immutableEvents = `
CREATE TRIGGER events_no_update BEFORE UPDATE OF
  number, tenant, position, log, leaf_index, leaf, id, scope, stream, type, header ON events
BEGIN SELECT RAISE(ABORT, 'events are never updated'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;`;

const logTables = `
CREATE TABLE events (
  number INTEGER PRIMARY KEY,
  tenant INTEGER NOT NULL,
  position INTEGER NOT NULL CHECK (position > 0),
  log INTEGER NOT NULL REFERENCES logs (number),
  leaf_index INTEGER NOT NULL,
  leaf TEXT NOT NULL CHECK (length(leaf) = 43),
  id TEXT NOT NULL,
  scope TEXT NOT NULL,
  stream TEXT NOT NULL,
  type TEXT NOT NULL,
  header TEXT NOT NULL,
  frames BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_by_position ON events (tenant, position);
CREATE UNIQUE INDEX events_by_leaf ON events (tenant, leaf);
CREATE UNIQUE INDEX events_by_id ON events (tenant, id);
CREATE INDEX events_by_scope ON events (tenant, scope, position, log);
CREATE INDEX events_by_stream ON events (tenant, stream, log);
${immutableEvents}

CREATE TABLE leaves (
  log INTEGER NOT NULL REFERENCES logs (number),
  first INTEGER NOT NULL,
  hashes BLOB NOT NULL,
  PRIMARY KEY (log, first)
) STRICT;
${immutable("leaves")}

CREATE TABLE tiles (
  log INTEGER NOT NULL REFERENCES logs (number),
  tile INTEGER NOT NULL,
  root BLOB NOT NULL,
  PRIMARY KEY (log, tile)
) STRICT;
${immutable("tiles")}

CREATE TABLE server_leaves (
  shard TEXT NOT NULL REFERENCES shards (shard),
  log INTEGER NOT NULL,
  leaf_index INTEGER NOT NULL,
  text TEXT NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (shard, log, leaf_index)
) STRICT;
${immutable("server_leaves")}

CREATE TABLE server_tiles (
  shard TEXT NOT NULL REFERENCES shards (shard),
  log INTEGER NOT NULL,
  tile INTEGER NOT NULL,
  root BLOB NOT NULL,
  PRIMARY KEY (shard, log, tile)
) STRICT;
${immutable("server_tiles")}

CREATE TABLE receipts (
  log INTEGER NOT NULL REFERENCES logs (number),
  note TEXT NOT NULL,
  successions INTEGER NOT NULL,
  leaf_index INTEGER NOT NULL,
  PRIMARY KEY (log, note, successions, leaf_index)
) STRICT, WITHOUT ROWID;
${immutable("receipts")}

CREATE TABLE checkpoints (
  shard TEXT NOT NULL REFERENCES shards (shard),
  log INTEGER NOT NULL,
  size INTEGER NOT NULL,
  root BLOB NOT NULL,
  note TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (shard, log, size)
) STRICT;
${immutable("checkpoints")}

CREATE TABLE quarantine (
  number INTEGER PRIMARY KEY,
  tenant INTEGER NOT NULL,
  device TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  code TEXT NOT NULL,
  note TEXT NOT NULL,
  first INTEGER NOT NULL,
  digest BLOB NOT NULL,
  bytes BLOB NOT NULL,
  at INTEGER NOT NULL,
  UNIQUE (tenant, code, digest)
) STRICT;
CREATE INDEX quarantine_by_device ON quarantine (tenant, device);
${immutable("quarantine")}
`;

/** DDL of format 3. */
const serverSchema = `${tenantTables}${shredTables}${logTables}`;

interface NumberRow {
  readonly value: number;
}

function pragmaNumber(driver: SqliteDriver, name: string): number {
  return (
    driver.prepare(`SELECT ${name} AS value FROM pragma_${name}()`).get<NumberRow>()?.value ?? 0
  );
}

/** Makes the tables of an empty database, lifts those of format 2; throws `store_foreign` or `store_newer` for what is not a server's. */
export function ensureServerSchema(driver: SqliteDriver): void {
  const application = pragmaNumber(driver, "application_id");
  const objects = driver.prepare("SELECT count(*) AS value FROM sqlite_schema").get<NumberRow>();
  if (application === 0 && objects?.value === 0) {
    driver.exec(`BEGIN IMMEDIATE; ${serverSchema}
      PRAGMA application_id = ${serverApplicationId}; PRAGMA user_version = ${serverFormat}; COMMIT;`);
    return;
  }
  if (application !== serverApplicationId) throw new HoldfastError("store_foreign");
  const format = pragmaNumber(driver, "user_version");
  if (format === 2) {
    driver.exec(`BEGIN IMMEDIATE; DROP TRIGGER events_no_update; DROP TRIGGER events_no_delete;
      ${shredTables}${immutableEvents} PRAGMA user_version = ${serverFormat}; COMMIT;`);
  } else if (format !== serverFormat) {
    throw new HoldfastError("store_newer", { format, readable: serverFormat });
  }
}
