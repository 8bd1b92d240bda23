/** Under which names a store's own events stand. */
import { invariant } from "../std/errors.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";

/** Device, stream and actor of its own events: those of its first one. */
export interface OwnNames {
  readonly device: string;
  readonly stream: string;
  readonly actor: string;
}

/** Of an open store, over its connection. */
export function ownNames(driver: SqliteDriver): OwnNames {
  const row = driver
    .prepare(
      `SELECT device, stream, actor FROM events
       JOIN incarnations ON incarnations.number = events.incarnation
       WHERE own = 1 AND sequence = 1 ORDER BY position LIMIT 1`,
    )
    .get<OwnNames>();
  invariant(row !== undefined, "a store that is open has its first event");
  return row;
}
