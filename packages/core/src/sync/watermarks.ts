/** Where sync stands, from what is stored: never from sockets. */
import type { Outbox } from "../outbox/outbox.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { createAcknowledgements } from "./rest/acknowledgements.ts";
import type { SyncWatermarks } from "./sync-store.ts";
import { createSyncTables, mainLog, nothingPushed } from "./sync-tables.ts";

/** Reads the watermarks. */
export function readWatermarks(
  driver: SqliteDriver,
  outbox: Pick<Outbox, "status">,
): SyncWatermarks {
  const tables = createSyncTables(driver);
  const newest = mainLog(tables.ownLogs());
  const { size, owed } = newest === undefined ? nothingPushed : tables.pushed(newest.number);
  const isEnrolled = tables.server() !== undefined;
  const through =
    newest === undefined || isEnrolled ? 0 : createAcknowledgements(driver).through(newest.number);
  const { waiting, dead } = outbox.status();
  const oldest = driver
    .prepare("SELECT enqueued_at AS value FROM outbox ORDER BY position LIMIT 1")
    .get<{ value: number }>();
  const receipt = driver
    .prepare("SELECT max(receipted_at) AS value FROM pushed")
    .get<{ value: number | null }>();
  return {
    oldestUnacknowledgedAt: oldest?.value,
    acknowledgedThrough: isEnrolled ? (owed[0]?.[0] ?? size) : through,
    receiptedSize: size,
    owed,
    lastReceiptAt: receipt?.value ?? undefined,
    waiting,
    dead,
    pulledThrough: tables.pulls()[0]?.position,
  };
}
