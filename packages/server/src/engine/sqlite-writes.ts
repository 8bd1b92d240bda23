/** What a transaction changes in a server's SQLite. */
import {
  createTreeBuilder,
  type Crypto,
  HoldfastError,
  invariant,
  leafHash,
  type SqliteDriver,
  utf8,
} from "@holdfast/core";
import { completedFrom, completedTiles } from "./log/completed-tiles.ts";
import type { EventToPlace, ServerReads, ServerWrites } from "./server-store.ts";
import { leafHashes, serverLeafHashes, type SqliteReads } from "./sqlite-reads.ts";
import { createSqliteShredWrites } from "./sqlite-shreds.ts";
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
    ...createSqliteShredWrites(deps.driver, (tenant) => known(reads.tenantNumber(tenant))),
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
  reads: SqliteReads,
): Pick<
  SqliteWrites,
  "addTenant" | "succeedLog" | "addDevice" | "revokeDevice" | "addCode" | "useCode"
> {
  const { tenantNumber } = reads;
  return {
    addTenant({ tenant, shard, founder, node }) {
      checkFree(driver, shard);
      driver
        .prepare("INSERT INTO tenants (tenant, shard, founder, node) VALUES (?, ?, ?, ?)")
        .run(tenant, shard, founder, node);
      beginShard(driver, known(tenantNumber(tenant)), shard, 0);
    },
    succeedLog(tenant, to) {
      const number = known(tenantNumber(tenant));
      const { shard, log, events, leaves } = reads.head(reads.shardOf(tenant));
      driver
        .prepare(
          `INSERT INTO successions (tenant, number, shard, log, size, next_shard, next_log)
           VALUES (?, ?, ?, ?, ?, ?, ?)`,
        )
        .run(number, reads.successionsOf(tenant) + 1, shard, log, leaves, to.shard, to.log);
      if (to.shard === shard) {
        invariant(to.log > log, "a log of the same shard has a later number");
        driver
          .prepare("UPDATE shards SET log = ?, leaves = 0, range = ? WHERE shard = ?")
          .run(to.log, new Uint8Array(0), shard);
        return;
      }
      invariant(to.log === 1, "a shard begins with its first log");
      if (reads.shownLog(shard) >= log) throw new HoldfastError("server_put_back");
      checkFree(driver, to.shard);
      driver.prepare("UPDATE shards SET sealed = 1 WHERE shard = ?").run(shard);
      beginShard(driver, number, to.shard, events);
      driver.prepare("UPDATE tenants SET shard = ? WHERE number = ?").run(to.shard, number);
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

/** Throws `shard_taken`. There is one writer: what is free now stays so until it is begun. */
function checkFree(driver: SqliteDriver, shard: string): void {
  const taken = driver.prepare("SELECT 1 FROM shards WHERE shard = ?").get(shard);
  if (taken !== undefined) throw new HoldfastError("shard_taken");
}

function beginShard(driver: SqliteDriver, tenant: number, shard: string, events: number): void {
  driver
    .prepare(
      `INSERT INTO shards (shard, tenant, log, events, leaves, range, sealed)
       VALUES (?, ?, 1, ?, 0, ?, 0)`,
    )
    .run(shard, tenant, events, new Uint8Array(0));
}

/** Number of the shard's newest log. Throws `server_log_sealed`, `server_put_back`. */
function writableLog(driver: SqliteDriver, reads: SqliteReads, shard: string): number {
  const row = driver
    .prepare("SELECT log, sealed FROM shards WHERE shard = ?")
    .get<{ log: number; sealed: number }>(shard);
  invariant(row !== undefined, "the shard is there");
  if (row.sealed === 1) throw new HoldfastError("server_log_sealed", { shard });
  if (reads.shownLog(shard) >= row.log) throw new HoldfastError("server_put_back");
  return row.log;
}

function deviceLogWrites(
  { crypto, driver }: SqliteWriteDeps,
  { tenantNumber, logNumber, successionsOf }: SqliteReads,
): Pick<SqliteWrites, "addDeviceLog" | "extendDeviceLog" | "addReceipt"> {
  return {
    addDeviceLog(tenant, row) {
      driver
        .prepare(
          `INSERT INTO logs (tenant, device, incarnation, algorithm, spki, hpke, opening, size, head,
             range, note, receipt, received_at, enrolment, revocation, owed, cutoff)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
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
          row.revocation ?? null,
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
             enrolment = ?, revocation = ?, owed = ?, cutoff = ? WHERE number = ? AND size = ?`,
        )
        .run(
          row.size,
          row.head,
          rangeBytes(row.range),
          row.note ?? null,
          row.receipt ?? null,
          row.receivedAt,
          row.enrolment,
          row.revocation ?? null,
          JSON.stringify(row.owed),
          row.cutoff ?? null,
          log,
          from,
        );
    },
    addReceipt(tenant, device, incarnation, noteDigest, index) {
      driver
        .prepare("INSERT INTO receipts (log, note, successions, leaf_index) VALUES (?, ?, ?, ?)")
        .run(
          known(logNumber(tenant, device, incarnation)),
          noteDigest,
          successionsOf(tenant),
          index,
        );
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
      const log = writableLog(driver, reads, shard);
      const builder = createTreeBuilder(crypto, reads.serverRange(shard));
      const first = builder.size;
      const hashes = texts.map((text) => leafHash(crypto, utf8(text)));
      const insert = driver.prepare(
        "INSERT INTO server_leaves (shard, log, leaf_index, text, hash) VALUES (?, ?, ?, ?, ?)",
      );
      for (const [at, hash] of hashes.entries()) {
        builder.append(hash);
        insert.run(shard, log, first + at, texts[at] as string, hash);
      }
      const tiles = driver.prepare(
        "INSERT INTO server_tiles (shard, log, tile, root) VALUES (?, ?, ?, ?)",
      );
      const start = completedFrom(first, hashes.length);
      const tail =
        start === undefined ? [] : serverLeafHashes(driver, { shard, log }, start, first);
      for (const { tile, root } of completedTiles(crypto, start, [...tail, ...hashes])) {
        tiles.run(shard, log, tile, root);
      }
      driver
        .prepare("UPDATE shards SET leaves = ?, range = ? WHERE shard = ?")
        .run(builder.size, rangeBytes(builder.range()), shard);
      return first;
    },
    addCheckpoint(shard, { size, root, note, at }) {
      driver
        .prepare(
          "INSERT INTO checkpoints (shard, log, size, root, note, at) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .run(shard, writableLog(driver, reads, shard), size, root, note, at);
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
