/** Shreds in a server's SQLite: which are in force, and what goes with them. */
import type { SqliteDriver } from "@holdfast/core";
import type { ServerReads, ServerWrites, ShredRow } from "./server-store.ts";

/** Reads of shreds and of all grants, answered at once. */
export function createSqliteShredReads(
  driver: SqliteDriver,
  tenantNumber: (tenant: string) => number | undefined,
) {
  return {
    shreds: (tenant, scopes) =>
      driver
        .prepare(
          `SELECT scope, section, shred FROM shreds
           WHERE tenant = ? AND scope IN (SELECT value FROM json_each(?)) ORDER BY scope, section`,
        )
        .all<ShredRow>(tenantNumber(tenant) ?? -1, JSON.stringify(scopes)),
    unfinishedShreds: (tenant) =>
      driver
        .prepare(
          `SELECT scope, section, shred FROM shreds WHERE tenant = ? AND done = 0
           ORDER BY scope, section`,
        )
        .all<ShredRow>(tenantNumber(tenant) ?? -1),
    grantsOf: (tenant, after, limit) =>
      driver
        .prepare(
          `SELECT number, text AS "grant" FROM grants WHERE tenant = ? AND number > ?
           ORDER BY number LIMIT ?`,
        )
        .all<{ number: number; grant: string }>(tenantNumber(tenant) ?? -1, after, limit),
  } satisfies Partial<ServerReads>;
}

/** `numberOf`: of a tenant that is there. */
export function createSqliteShredWrites(
  driver: SqliteDriver,
  numberOf: (tenant: string) => number,
): Pick<ServerWrites, "dropGrantsAt" | "addShreds" | "setFrames" | "endShred"> {
  return {
    dropGrantsAt(tenant, numbers) {
      const drop = driver.prepare("DELETE FROM grants WHERE tenant = ? AND number = ?");
      for (const number of numbers) drop.run(numberOf(tenant), number);
    },
    addShreds(tenant, rows) {
      const insert = driver.prepare(
        `INSERT INTO shreds (tenant, scope, section, shred) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING`,
      );
      for (const { scope, section, shred } of rows) {
        insert.run(numberOf(tenant), scope, section, shred);
      }
    },
    setFrames(tenant, events) {
      const set = driver.prepare("UPDATE events SET frames = ? WHERE tenant = ? AND position = ?");
      for (const { position, frames } of events) set.run(frames, numberOf(tenant), position);
    },
    endShred(tenant, { scope, section }) {
      driver
        .prepare("UPDATE shreds SET done = 1 WHERE tenant = ? AND scope = ? AND section = ?")
        .run(numberOf(tenant), scope, section);
    },
  };
}
