/**
 * Tables of a server on PostgreSQL. Every key begins with the tenant, so that a tenant's rows may lie together on one
 * node of a distributed engine; `spec/postgres-sql.md` lists what of SQL is used. There are no triggers, sequences or
 * foreign keys: what was received or signed is immutable because the server's role may not change it, numbers come
 * from the head row of the tenant (`shards`), and row-level security hides other tenants' rows.
 *
 * A move changes the head row in place, so that whoever waits for its lock goes on with the shard that is the newest
 * by then; `successions` says which logs there were before. A shard's name is one tenant's for good, whoever names it at
 * the same moment: `shard_names` holds each once, and says to nobody whose it is, or that it is there.
 */

/** Role in which the server works: owner of nothing, and not exempt from row-level security. */
export const applicationRole = "holdfast_app";
/** Schema that holds all of it. */
export const schemaName = "holdfast";

/** How large tables lie: in partitions on PostgreSQL itself; plain where the engine distributes them. */
export type TableLayout = "partitioned" | "plain";

/** Compared byte by byte: as on SQLite, and whatever the database's own collation is. */
const text = 'text COLLATE "C"';

const tenantTables = `
CREATE TABLE holdfast.server_identity (
  part ${text} NOT NULL,
  digest ${text} NOT NULL,
  PRIMARY KEY (part)
);
CREATE TABLE holdfast.tenants (
  tenant ${text} NOT NULL CHECK (tenant <> ''),
  home ${text} NOT NULL,
  founder ${text} NOT NULL,
  node ${text} NOT NULL,
  PRIMARY KEY (tenant)
);
CREATE TABLE holdfast.shards (
  tenant ${text} NOT NULL,
  shard ${text} NOT NULL,
  log bigint NOT NULL CHECK (log > 0),
  events bigint NOT NULL CHECK (events >= 0),
  leaves bigint NOT NULL CHECK (leaves >= 0),
  grants bigint NOT NULL CHECK (grants >= 0),
  range bytea NOT NULL,
  successions bigint NOT NULL CHECK (successions >= 0),
  PRIMARY KEY (tenant)
);
CREATE TABLE holdfast.shard_names (
  shard ${text} NOT NULL,
  PRIMARY KEY (shard)
);
CREATE TABLE holdfast.successions (
  tenant ${text} NOT NULL,
  number bigint NOT NULL CHECK (number > 0),
  shard ${text} NOT NULL,
  log bigint NOT NULL,
  events bigint NOT NULL,
  leaves bigint NOT NULL,
  range bytea NOT NULL,
  next_shard ${text} NOT NULL,
  next_log bigint NOT NULL,
  PRIMARY KEY (tenant, number)
);
CREATE TABLE holdfast.devices (
  tenant ${text} NOT NULL,
  device ${text} NOT NULL,
  role ${text} NOT NULL CHECK (role IN ('device', 'reader', 'auditor', 'admin')),
  status ${text} NOT NULL CHECK (status IN ('active', 'revoked')),
  enrolled_at bigint NOT NULL,
  code ${text},
  binding ${text},
  PRIMARY KEY (tenant, device)
);
CREATE TABLE holdfast.logs (
  tenant ${text} NOT NULL,
  number bigint NOT NULL,
  device ${text} NOT NULL,
  incarnation ${text} NOT NULL,
  algorithm ${text} NOT NULL CHECK (algorithm IN ('ed25519', 'ecdsa-p256')),
  spki bytea NOT NULL,
  hpke ${text} NOT NULL,
  opening ${text} NOT NULL,
  size bigint NOT NULL CHECK (size >= 0),
  head ${text} NOT NULL,
  range bytea NOT NULL,
  note ${text},
  receipt bigint,
  received_at bigint NOT NULL,
  enrolment bigint NOT NULL,
  revocation bigint,
  owed ${text} NOT NULL,
  cutoff bigint,
  PRIMARY KEY (tenant, device, incarnation),
  UNIQUE (tenant, number)
);
CREATE TABLE holdfast.codes (
  digest ${text} NOT NULL,
  tenant ${text} CHECK (tenant <> ''),
  role ${text} NOT NULL,
  expires bigint NOT NULL,
  used_at bigint,
  PRIMARY KEY (digest)
);
CREATE TABLE holdfast.used_assertions (
  tenant ${text} NOT NULL,
  name ${text} NOT NULL,
  until bigint NOT NULL,
  PRIMARY KEY (tenant, name)
);
CREATE TABLE holdfast.access (
  tenant ${text} NOT NULL,
  device ${text} NOT NULL,
  scope ${text} NOT NULL,
  PRIMARY KEY (tenant, device, scope)
);
CREATE TABLE holdfast.access_changes (
  tenant ${text} NOT NULL,
  device ${text} NOT NULL,
  position bigint NOT NULL,
  kind ${text} NOT NULL CHECK (kind IN ('granted', 'revoked')),
  scopes ${text} NOT NULL,
  origin ${text} NOT NULL,
  leaf_index bigint NOT NULL,
  PRIMARY KEY (tenant, device, position)
);
CREATE TABLE holdfast.grants (
  tenant ${text} NOT NULL,
  number bigint NOT NULL,
  recipient ${text} NOT NULL,
  key ${text} NOT NULL,
  generation bigint NOT NULL,
  wrapped ${text} NOT NULL,
  PRIMARY KEY (tenant, number),
  UNIQUE (tenant, recipient, key, generation)
);
CREATE TABLE holdfast.quarantine (
  tenant ${text} NOT NULL,
  number bigint NOT NULL,
  device ${text} NOT NULL,
  incarnation ${text} NOT NULL,
  code ${text} NOT NULL,
  note ${text} NOT NULL,
  first bigint NOT NULL,
  digest bytea NOT NULL,
  bytes bytea NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (tenant, number),
  UNIQUE (tenant, code, digest)
);
CREATE INDEX quarantine_by_device ON holdfast.quarantine (tenant, device);
`;

const logTables = `
CREATE TABLE holdfast.leaves (
  tenant ${text} NOT NULL,
  log bigint NOT NULL,
  first bigint NOT NULL,
  hashes bytea NOT NULL,
  PRIMARY KEY (tenant, log, first)
);
CREATE TABLE holdfast.tiles (
  tenant ${text} NOT NULL,
  log bigint NOT NULL,
  height bigint NOT NULL CHECK (height > 0),
  tile bigint NOT NULL,
  root bytea NOT NULL,
  PRIMARY KEY (tenant, log, height, tile)
);
CREATE TABLE holdfast.server_leaves (
  tenant ${text} NOT NULL,
  shard ${text} NOT NULL,
  log bigint NOT NULL,
  leaf_index bigint NOT NULL,
  text ${text} NOT NULL,
  hash bytea NOT NULL,
  PRIMARY KEY (tenant, shard, log, leaf_index)
);
CREATE TABLE holdfast.server_tiles (
  tenant ${text} NOT NULL,
  shard ${text} NOT NULL,
  log bigint NOT NULL,
  height bigint NOT NULL CHECK (height > 0),
  tile bigint NOT NULL,
  root bytea NOT NULL,
  PRIMARY KEY (tenant, shard, log, height, tile)
);
CREATE TABLE holdfast.receipts (
  tenant ${text} NOT NULL,
  log bigint NOT NULL,
  note ${text} NOT NULL,
  successions bigint NOT NULL,
  leaf_index bigint NOT NULL,
  PRIMARY KEY (tenant, log, note, successions, leaf_index)
);
CREATE TABLE holdfast.checkpoints (
  tenant ${text} NOT NULL,
  shard ${text} NOT NULL,
  log bigint NOT NULL,
  size bigint NOT NULL,
  root bytea NOT NULL,
  note ${text} NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (tenant, shard, log, size)
);
`;

/**
 * `home` is the shard that the tenant was founded with: its events stay there, wherever its server log goes on. Ids
 * stand apart: a key of the partitioned table would have to contain the position. Beside its key `events` has no index:
 * scopes and streams are found by `postgres-places.ts`.
 */
function eventTables(layout: TableLayout): string {
  const partitioned = layout === "partitioned";
  const ofTenants = partitioned ? " PARTITION BY HASH (tenant)" : "";
  return `
CREATE TABLE holdfast.events (
  tenant ${text} NOT NULL,
  home ${text} NOT NULL,
  position bigint NOT NULL CHECK (position > 0),
  log bigint NOT NULL,
  leaf_index bigint NOT NULL,
  scope ${text} NOT NULL,
  header ${text} NOT NULL,
  frames bytea NOT NULL,
  PRIMARY KEY (tenant, home, position)
)${partitioned ? " PARTITION BY HASH (home)" : ""};
CREATE TABLE holdfast.event_ids (
  tenant ${text} NOT NULL,
  id ${text} NOT NULL,
  PRIMARY KEY (tenant, id)
)${ofTenants};
CREATE TABLE holdfast.event_scopes (
  tenant ${text} NOT NULL,
  scope ${text} NOT NULL,
  last bigint NOT NULL,
  log bigint NOT NULL,
  places bytea NOT NULL,
  PRIMARY KEY (tenant, scope, last)
)${ofTenants};
CREATE TABLE holdfast.streams (
  tenant ${text} NOT NULL,
  stream ${text} NOT NULL,
  log bigint NOT NULL,
  scope ${text} NOT NULL,
  PRIMARY KEY (tenant, stream, log, scope)
)${ofTenants};
${partitioned ? partitions() : ""}`;
}

/** Parts of the hash; tenants are independent of each other, so they spread over them. */
const hashParts = 8;
/** Positions are in order of time: full parts grow cold. Each part is four times the one before. */
const positionBounds = ["MINVALUE", 4_194_304, 16_777_216, 67_108_864, "MAXVALUE"] as const;

function partitions(): string {
  const statements: string[] = [];
  for (let part = 0; part < hashParts; part++) {
    const values = `FOR VALUES WITH (MODULUS ${hashParts}, REMAINDER ${part})`;
    const events = `holdfast.events_${part}`;
    for (const table of ["event_ids", "event_scopes", "streams"].map((one) => `holdfast.${one}`)) {
      statements.push(`CREATE TABLE ${table}_${part} PARTITION OF ${table} ${values};`);
    }
    statements.push(
      `CREATE TABLE ${events} PARTITION OF holdfast.events ${values} PARTITION BY RANGE (position);`,
    );
    for (let at = 0; at + 1 < positionBounds.length; at++) {
      const range = `FROM (${positionBounds[at]}) TO (${positionBounds[at + 1]})`;
      statements.push(`CREATE TABLE ${events}_${at} PARTITION OF ${events} FOR VALUES ${range};`);
    }
  }
  // Sealed frames do not compress; head rows are updated in place.
  statements.push(
    "ALTER TABLE holdfast.events ALTER COLUMN frames SET STORAGE EXTERNAL;",
    "ALTER TABLE holdfast.shards SET (fillfactor = 20);",
    "ALTER TABLE holdfast.logs SET (fillfactor = 50);",
  );
  return statements.join("\n");
}

/** What the server's role may do, beside reading and adding: nothing, change the state of a row, or take it away. */
const tables: Readonly<Record<string, "" | ", UPDATE" | ", DELETE">> = {
  tenants: "",
  shards: ", UPDATE",
  successions: "",
  devices: ", UPDATE",
  logs: ", UPDATE",
  codes: ", UPDATE",
  used_assertions: ", DELETE",
  access: ", DELETE",
  access_changes: "",
  grants: ", DELETE",
  quarantine: "",
  leaves: "",
  tiles: "",
  server_leaves: "",
  server_tiles: "",
  receipts: "",
  checkpoints: "",
  events: "",
  event_ids: "",
  event_scopes: "",
  streams: "",
};

function privileges(): string {
  const statements = [
    `GRANT USAGE ON SCHEMA holdfast TO ${applicationRole};`,
    // Of the whole server, and no tenant's.
    `GRANT SELECT, INSERT ON holdfast.server_identity TO ${applicationRole};`,
    `GRANT INSERT ON holdfast.shard_names TO ${applicationRole};`,
  ];
  for (const [table, more] of Object.entries(tables)) {
    statements.push(
      `GRANT SELECT, INSERT${more} ON holdfast.${table} TO ${applicationRole};`,
      `ALTER TABLE holdfast.${table} ENABLE ROW LEVEL SECURITY;`,
      `ALTER TABLE holdfast.${table} FORCE ROW LEVEL SECURITY;`,
    );
    if (table === "codes") continue;
    statements.push(
      `CREATE POLICY of_tenant ON holdfast.${table} USING (${ofTenant}) WITH CHECK (${ofTenant});`,
    );
  }
  return [...statements, codePolicies, operatorPolicies].join("\n");
}

const ofTenant = "tenant = current_setting('holdfast.tenant', true)";
/** Whoever names the digest of a code holds the code; codes that found a tenant are made outside of any. */
const codePolicies = `
CREATE POLICY by_holder ON holdfast.codes FOR SELECT
  USING (digest = current_setting('holdfast.code', true) OR ${ofTenant});
CREATE POLICY used_by_holder ON holdfast.codes FOR UPDATE
  USING (digest = current_setting('holdfast.code', true))
  WITH CHECK (digest = current_setting('holdfast.code', true));
CREATE POLICY of_tenant ON holdfast.codes FOR INSERT
  WITH CHECK (${ofTenant} OR (tenant IS NULL AND current_setting('holdfast.tenant', true) = ''));
`;

/** Names and counters of shards, for who sees to the server: whoever asks says so (`postgres-session.ts`). */
const operatorPolicies = ["shards", "successions"]
  .map(
    (table) => `CREATE POLICY by_operator ON holdfast.${table} FOR SELECT
  USING (current_setting('holdfast.operator', true) = 'shards');`,
  )
  .join("\n");

/** Statements that make the tables of an empty schema. */
export function tablesSql(layout: TableLayout): string {
  return [tenantTables, logTables, eventTables(layout), privileges()].join("\n");
}

/** Statements that add shreds to the tables of the first step: events may be changed by who says that it shreds. */
export function shredsSql(): string {
  return `
CREATE TABLE holdfast.shreds (
  tenant ${text} NOT NULL,
  scope ${text} NOT NULL,
  section ${text} NOT NULL,
  shred ${text} NOT NULL,
  done bigint NOT NULL CHECK (done IN (0, 1)),
  PRIMARY KEY (tenant, scope, section)
);
GRANT SELECT, INSERT, UPDATE ON holdfast.shreds TO ${applicationRole};
ALTER TABLE holdfast.shreds ENABLE ROW LEVEL SECURITY;
ALTER TABLE holdfast.shreds FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON holdfast.shreds USING (${ofTenant}) WITH CHECK (${ofTenant});
GRANT UPDATE ON holdfast.events TO ${applicationRole};
DROP POLICY of_tenant ON holdfast.events;
CREATE POLICY read_by_tenant ON holdfast.events FOR SELECT USING (${ofTenant});
CREATE POLICY added_by_tenant ON holdfast.events FOR INSERT WITH CHECK (${ofTenant});
CREATE POLICY shredded_by_tenant ON holdfast.events FOR UPDATE
  USING (${ofTenant} AND current_setting('holdfast.operator', true) = 'shred')
  WITH CHECK (${ofTenant});`;
}
