/** What a transaction changes in a server's SQLite. */
import {
  createTreeBuilder,
  type Crypto,
  invariant,
  leafHash,
  type SqliteDriver,
  utf8,
} from "@holdfast/core";
import { completedFrom, completedTiles } from "./log/completed-tiles.ts";
import type { EventToPlace, ServerReads, ServerWrites } from "./server-store.ts";
import { leafHashes, serverLeafHashes, type SqliteReads } from "./sqlite-reads.ts";
import { rangeBytes } from "./store-rows.ts";

export interface SqliteWriteDeps {
  readonly crypto: Pick<Crypto, "sha256">;
  readonly driver: SqliteDriver;
}

/** Everything that a transaction may change. */
export type SqliteWrites = Omit<ServerWrites, keyof ServerReads>;

export function createSqliteWrites(deps: SqliteWriteDeps, reads: SqliteReads): SqliteWrites {
  return {
    ...tenantWrites(deps.driver, reads),
    ...deviceLogWrites(deps, reads),
    ...accessWrites(deps, reads),
    ...serverLogWrites(deps, reads),
    placeEvents: (tenant, events) => placeEvents(deps.driver, reads, tenant, events),
  };
}

/** Numbers of rows that the transaction is sure to have. */
function known(number: number | undefined): number {
  invariant(number !== undefined, "the row that others refer to is there");
  return number;
}

function tenantWrites(
  driver: SqliteDriver,
  { tenantNumber }: SqliteReads,
): Pick<SqliteWrites, "addTenant" | "addDevice" | "revokeDevice" | "addCode" | "useCode"> {
  return {
    addTenant({ tenant, shard, founder, node }) {
      driver
        .prepare("INSERT INTO tenants (tenant, shard, founder, node) VALUES (?, ?, ?, ?)")
        .run(tenant, shard, founder, node);
      driver
        .prepare("INSERT INTO shards (shard, log, events, leaves, range) VALUES (?, 1, 0, 0, ?)")
        .run(shard, new Uint8Array(0));
    },
    addDevice(tenant, row) {
      driver
        .prepare(
          `INSERT INTO devices (tenant, device, role, status, enrolled_at, code, binding)
           VALUES (?, ?, ?, ?, ?, ?, ?)`,
        )
        .run(
          known(tenantNumber(tenant)),
          row.device,
          row.role,
          row.status,
          row.enrolledAt,
          row.code ?? null,
          row.binding ?? null,
        );
    },
    revokeDevice(tenant, device) {
      driver
        .prepare("UPDATE devices SET status = 'revoked' WHERE tenant = ? AND device = ?")
        .run(known(tenantNumber(tenant)), device);
    },
    addCode({ digest, tenant, role, expires, usedAt }) {
      driver
        .prepare(
          "INSERT INTO codes (digest, tenant, role, expires, used_at) VALUES (?, ?, ?, ?, ?)",
        )
        .run(digest, tenant ?? null, role, expires, usedAt ?? null);
    },
    useCode(digest, at) {
      const changed = driver
        .prepare("UPDATE codes SET used_at = ? WHERE digest = ? AND used_at IS NULL")
        .run(at, digest);
      invariant(changed === 1, "a code is used once");
    },
  };
}

function deviceLogWrites(
  { crypto, driver }: SqliteWriteDeps,
  { tenantNumber, logNumber }: SqliteReads,
): Pick<SqliteWrites, "addDeviceLog" | "extendDeviceLog" | "addReceipt"> {
  return {
    addDeviceLog(tenant, row) {
      driver
        .prepare(
          `INSERT INTO logs (tenant, device, incarnation, algorithm, spki, hpke, opening, size, head,
             range, note, receipt, received_at, enrolment, owed, cutoff)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        )
        .run(
          known(tenantNumber(tenant)),
          row.device,
          row.incarnation,
          row.algorithm,
          row.spki,
          row.hpke,
          row.opening,
          row.size,
          row.head,
          rangeBytes(row.range),
          row.note ?? null,
          row.receipt ?? null,
          row.receivedAt,
          row.enrolment,
          JSON.stringify(row.owed),
          row.cutoff ?? null,
        );
    },
    extendDeviceLog(tenant, row, from, leaves) {
      const log = known(logNumber(tenant, row.device, row.incarnation));
      invariant(from + leaves.length === row.size, "a log grows by the leaves that it is given");
      if (leaves.length > 0) {
        driver
          .prepare("INSERT INTO leaves (log, first, hashes) VALUES (?, ?, ?)")
          .run(log, from, rangeBytes({ size: 0, hashes: leaves }));
        const tiles = driver.prepare("INSERT INTO tiles (log, tile, root) VALUES (?, ?, ?)");
        const start = completedFrom(from, leaves.length);
        const tail = start === undefined ? [] : leafHashes(driver, log, start, from);
        for (const { tile, root } of completedTiles(crypto, start, [...tail, ...leaves])) {
          tiles.run(log, tile, root);
        }
      }
      driver
        .prepare(
          `UPDATE logs SET size = ?, head = ?, range = ?, note = ?, receipt = ?, received_at = ?,
             owed = ?, cutoff = ? WHERE number = ? AND size = ?`,
        )
        .run(
          row.size,
          row.head,
          rangeBytes(row.range),
          row.note ?? null,
          row.receipt ?? null,
          row.receivedAt,
          JSON.stringify(row.owed),
          row.cutoff ?? null,
          log,
          from,
        );
    },
    addReceipt(tenant, device, incarnation, noteDigest, index) {
      driver
        .prepare("INSERT INTO receipts (log, note, leaf_index) VALUES (?, ?, ?)")
        .run(known(logNumber(tenant, device, incarnation)), noteDigest, index);
    },
  };
}

function placeEvents(
  driver: SqliteDriver,
  reads: SqliteReads,
  tenant: string,
  events: readonly EventToPlace[],
): number {
  const number = known(reads.tenantNumber(tenant));
  const shard = reads.shardOf(tenant);
  const first = reads.head(shard).events + 1;
  const logs = new Map<string, number>();
  const insert = driver.prepare(
    `INSERT INTO events
       (tenant, position, log, leaf_index, leaf, id, scope, stream, type, header, frames)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  for (const [at, event] of events.entries()) {
    const { device, incarnation, index, leaf, id, scope, stream, type, header, frames } = event;
    const name = `${device}/${incarnation}`;
    const log = logs.get(name) ?? known(reads.logNumber(tenant, device, incarnation));
    logs.set(name, log);
    insert.run(number, first + at, log, index, leaf, id, scope, stream, type, header, frames);
  }
  driver.prepare("UPDATE shards SET events = events + ? WHERE shard = ?").run(events.length, shard);
  return first;
}

function serverLogWrites(
  { crypto, driver }: SqliteWriteDeps,
  reads: SqliteReads,
): Pick<SqliteWrites, "addServerLeaves" | "addCheckpoint"> {
  return {
    addServerLeaves(shard, texts) {
      const builder = createTreeBuilder(crypto, reads.serverRange(shard));
      const first = builder.size;
      const hashes = texts.map((text) => leafHash(crypto, utf8(text)));
      const insert = driver.prepare(
        "INSERT INTO server_leaves (shard, leaf_index, text, hash) VALUES (?, ?, ?, ?)",
      );
      for (const [at, hash] of hashes.entries()) {
        builder.append(hash);
        insert.run(shard, first + at, texts[at] as string, hash);
      }
      const tiles = driver.prepare("INSERT INTO server_tiles (shard, tile, root) VALUES (?, ?, ?)");
      const start = completedFrom(first, hashes.length);
      const tail = start === undefined ? [] : serverLeafHashes(driver, shard, start, first);
      for (const { tile, root } of completedTiles(crypto, start, [...tail, ...hashes])) {
        tiles.run(shard, tile, root);
      }
      driver
        .prepare("UPDATE shards SET leaves = ?, range = ? WHERE shard = ?")
        .run(builder.size, rangeBytes(builder.range()), shard);
      return first;
    },
    addCheckpoint(shard, { size, root, note, at }) {
      driver
        .prepare("INSERT INTO checkpoints (shard, size, root, note, at) VALUES (?, ?, ?, ?, ?)")
        .run(shard, size, root, note, at);
    },
  };
}

function accessWrites(
  { crypto, driver }: SqliteWriteDeps,
  { tenantNumber }: SqliteReads,
): Pick<
  SqliteWrites,
  "addAccessChange" | "setAccess" | "addGrants" | "dropGrants" | "addQuarantine"
> {
  return {
    addAccessChange(tenant, { device, position, kind, scopes, by, index }) {
      driver
        .prepare(
          `INSERT INTO access_changes (tenant, device, position, kind, scopes, by, leaf_index)
           VALUES (?, ?, ?, ?, ?, ?, ?)`,
        )
        .run(
          known(tenantNumber(tenant)),
          device,
          position,
          kind,
          JSON.stringify(scopes),
          by,
          index,
        );
    },
    setAccess(tenant, device, scopes) {
      const number = known(tenantNumber(tenant));
      driver.prepare("DELETE FROM access WHERE tenant = ? AND device = ?").run(number, device);
      const insert = driver.prepare("INSERT INTO access (tenant, device, scope) VALUES (?, ?, ?)");
      for (const scope of new Set(scopes)) insert.run(number, device, scope);
    },
    addGrants(tenant, grants) {
      const number = known(tenantNumber(tenant));
      // The same text once; another wrap of the same key takes the place of the one before, with a new number.
      const drop = driver.prepare(
        `DELETE FROM grants WHERE tenant = ? AND recipient = ? AND key = ? AND generation = ?
           AND text <> ?`,
      );
      const insert = driver.prepare(
        `INSERT INTO grants (tenant, recipient, key, generation, text) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING`,
      );
      for (const { recipient, key, generation, grant } of grants) {
        drop.run(number, recipient, key, generation, grant);
        insert.run(number, recipient, key, generation, grant);
      }
    },
    dropGrants(tenant, recipient) {
      driver
        .prepare("DELETE FROM grants WHERE tenant = ? AND recipient = ?")
        .run(known(tenantNumber(tenant)), recipient);
    },
    addQuarantine(row) {
      driver
        .prepare(
          `INSERT INTO quarantine (tenant, device, incarnation, code, note, first, digest, bytes, at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
        )
        .run(
          known(tenantNumber(row.tenant)),
          row.device,
          row.incarnation,
          row.code,
          row.note,
          row.from,
          crypto.sha256(row.bytes),
          row.bytes,
          row.at,
        );
    },
  };
}
