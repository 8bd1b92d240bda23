/** The newest checkpoint of the server log that the store holds, as headers quote it. */
import type { SeenCheckpoint } from "../event/event.ts";
import { parseServerLogOrigin } from "../proof/server-key.ts";
import { base64url, fromBase64 } from "../std/bytes.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";

/** `undefined` before the first checkpoint. */
export function seenCheckpoint(driver: SqliteDriver): SeenCheckpoint | undefined {
  const row = driver
    .prepare("SELECT log, size, root FROM checkpoints ORDER BY rowid DESC LIMIT 1")
    .get<{ log: string; size: number; root: string }>();
  const root = row === undefined ? undefined : fromBase64(row.root);
  const log = row === undefined ? undefined : parseServerLogOrigin(row.log)?.log;
  if (row === undefined || root === undefined || log === undefined) return undefined;
  return { log, n: row.size, h: base64url(root) };
}
