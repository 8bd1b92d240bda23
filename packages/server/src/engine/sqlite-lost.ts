/** What devices have shown that this SQLite does not hold. */
import type { SqliteDriver } from "@holdfast/core";
import type { QuarantineRow } from "./server-store.ts";
import { owned, shownLogIn } from "./store-rows.ts";

type QuarantineSqlRow = Omit<QuarantineRow, "from" | "tenant"> & { readonly first: number };

export function lostReads(
  driver: SqliteDriver,
  tenantNumber: (tenant: string) => number | undefined,
) {
  return {
    quarantineOf: (tenant: string, code: string): readonly QuarantineRow[] =>
      driver
        .prepare(
          `SELECT device, incarnation, code, note, first, bytes, at FROM quarantine
           WHERE tenant = ? AND code = ? ORDER BY number`,
        )
        .all<QuarantineSqlRow>(tenantNumber(tenant) ?? -1, code)
        .map(({ first, bytes, ...row }) => ({ ...row, bytes: owned(bytes), tenant, from: first })),
    shownLog: (shard: string): number =>
      shownLogIn(
        driver
          .prepare(
            `SELECT bytes FROM quarantine
             WHERE tenant = (SELECT tenant FROM shards WHERE shard = ?) AND code = 'server_put_back'`,
          )
          .all<{ readonly bytes: Uint8Array }>(shard),
        shard,
      ),
  };
}
