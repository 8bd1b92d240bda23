/** Shreds in a server's PostgreSQL: which are in force, and what goes with them. */
import { integerArray, textArray } from "./postgres-arrays.ts";
import { setOperator } from "./postgres-session.ts";
import { ownHead, type PostgresTransaction } from "./postgres-transaction.ts";
import type { ServerReads, ServerWrites, ShredRow } from "./server-store.ts";

const columns = "SELECT scope, section, shred FROM holdfast.shreds WHERE tenant = $1";

/** Reads of shreds and of all grants. */
export function shredReads(
  tx: PostgresTransaction,
): Pick<ServerReads, "shreds" | "unfinishedShreds" | "grantsOf"> {
  return {
    shreds(tenant, scopes) {
      if (scopes.length === 0) return [];
      return tx.rows<ShredRow>(
        `${columns} AND scope = ANY($2::text[]) ORDER BY scope, section`,
        tenant,
        textArray(scopes),
      );
    },
    unfinishedShreds: (tenant) =>
      tx.rows<ShredRow>(`${columns} AND done = 0 ORDER BY scope, section`, tenant),
    grantsOf: (tenant, after, limit) =>
      tx.rows<{ number: number; grant: string }>(
        `SELECT number, wrapped AS "grant" FROM holdfast.grants
         WHERE tenant = $1 AND number > $2 ORDER BY number LIMIT $3`,
        tenant,
        after,
        limit,
      ),
  };
}

export function shredWrites(
  tx: PostgresTransaction,
): Pick<ServerWrites, "dropGrantsAt" | "addShreds" | "setFrames" | "endShred"> {
  return {
    dropGrantsAt(tenant, numbers) {
      tx.send(
        undefined,
        "DELETE FROM holdfast.grants WHERE tenant = $1 AND number = ANY($2::bigint[])",
        tenant,
        integerArray(numbers),
      );
    },
    addShreds(tenant, rows) {
      for (const { scope, section, shred } of rows) {
        tx.send(
          undefined,
          `INSERT INTO holdfast.shreds (tenant, scope, section, shred, done)
           VALUES ($1, $2, $3, $4, 0) ON CONFLICT (tenant, scope, section) DO NOTHING`,
          tenant,
          scope,
          section,
          shred,
        );
      }
    },
    async setFrames(tenant, events) {
      const { home } = await ownHead(tx, tenant);
      // Row-level security lets nobody change an event who does not say so.
      await tx.exec(setOperator("shred"));
      for (const { position, frames } of events) {
        tx.send(
          1,
          `UPDATE holdfast.events SET frames = $4
           WHERE tenant = $1 AND home = $2 AND position = $3`,
          tenant,
          home,
          position,
          frames,
        );
      }
      await tx.exec(setOperator(undefined));
    },
    endShred(tenant, { scope, section }) {
      tx.send(
        1,
        "UPDATE holdfast.shreds SET done = 1 WHERE tenant = $1 AND scope = $2 AND section = $3",
        tenant,
        scope,
        section,
      );
    },
  };
}
