/**
 * What the outbox must hold: every own event that is neither delivered nor purged. Delivered is what a receipt
 * covers: below the receipted size of its device log and outside what is owed (table `pushed`). An owed list
 * that is no list of ranges is taken as if nothing was receipted: sending twice is recognised, not sending
 * would lose. A store that is enrolled nowhere may deliver to a backend that gives no receipts: what that one
 * acknowledged stands in named values of the table `sync` (`sync/rest/acknowledgements.ts`), read alike.
 */
import type { SqliteDriver } from "../store/sqlite-driver.ts";

/**
 * Names of the values that hold acknowledged indices of a device log:
 * `{"log": number of the incarnation, "ranges": half-open ranges}`.
 */
export const acknowledgedPrefix = "backend/acknowledged/";

/** What {@link OutboxWhole.check} found: an entry too many, or too few. */
export interface OutboxProblem {
  readonly position: number;
  readonly kind: "missing" | "unexpected";
}

export interface OutboxWhole {
  check(limit: number): readonly OutboxProblem[];
  rebuild(): number;
}

/** Sequences of own device logs that are not delivered, as closed ranges; then their events. */
const expected = `WITH due (incarnation, low, high) AS (
    SELECT incarnations.number, coalesce(pushed.size, 0) + 1, 9007199254740991
    FROM incarnations LEFT JOIN pushed
      ON pushed.incarnation = incarnations.number AND json_type(pushed.owed) = 'array'
    WHERE incarnations.own = 1
    UNION ALL
    SELECT pushed.incarnation, json_extract(range.value, '$[0]') + 1,
      min(pushed.size, json_extract(range.value, '$[1]'))
    FROM pushed JOIN incarnations ON incarnations.number = pushed.incarnation
      JOIN json_each(pushed.owed) AS range
    WHERE incarnations.own = 1 AND json_type(pushed.owed) = 'array'
  ), acknowledged (position) AS MATERIALIZED (
    SELECT events.position
    FROM sync
      JOIN json_each(CASE WHEN json_valid(sync.value) THEN sync.value ELSE '{}' END, '$.ranges')
        AS range
      CROSS JOIN events ON events.incarnation = json_extract(sync.value, '$.log')
        AND events.sequence > json_extract(range.value, '$[0]')
        AND events.sequence <= json_extract(range.value, '$[1]')
    WHERE sync.name GLOB '${acknowledgedPrefix}*' AND range.type = 'array'
  ), expected (position, recorded_at) AS MATERIALIZED (
    SELECT events.position, events.recorded_at
    FROM due CROSS JOIN events
      ON events.incarnation = due.incarnation AND events.sequence BETWEEN due.low AND due.high
    WHERE NOT EXISTS (SELECT 1 FROM dead_letters
      WHERE dead_letters.position = events.position AND dead_letters.purged_at IS NOT NULL)
      AND events.position NOT IN (SELECT position FROM acknowledged)
  )`;

export function createOutboxWhole(driver: SqliteDriver): OutboxWhole {
  return {
    check(limit) {
      return driver
        .prepare(
          `${expected}
           SELECT position, 'missing' AS kind FROM expected
             WHERE position NOT IN (SELECT position FROM outbox)
           UNION ALL
           SELECT position, 'unexpected' AS kind FROM outbox
             WHERE position NOT IN (SELECT position FROM expected)
           LIMIT ?`,
        )
        .all<OutboxProblem>(limit);
    },
    rebuild() {
      driver.exec(
        `${expected}
         DELETE FROM outbox WHERE position NOT IN (SELECT position FROM expected);
         DELETE FROM dead_letters WHERE purged_at IS NULL
           AND position NOT IN (SELECT position FROM outbox WHERE state = 'dead')
           AND position IN (SELECT position FROM outbox);
         ${expected}
         INSERT INTO outbox (position, lane, state, enqueued_at, attempts)
           SELECT expected.position, 'normal',
             CASE WHEN dead_letters.position IS NULL THEN 'waiting' ELSE 'dead' END,
             expected.recorded_at, coalesce(dead_letters.attempts, 0)
           FROM expected LEFT JOIN dead_letters ON dead_letters.position = expected.position
           WHERE expected.position NOT IN (SELECT position FROM outbox);
         DELETE FROM dead_letters WHERE purged_at IS NULL
           AND position NOT IN (SELECT position FROM outbox);
         UPDATE outbox SET state = 'waiting', token = NULL
           WHERE state = 'dead' AND position NOT IN (SELECT position FROM dead_letters);
         UPDATE outbox SET state = 'waiting', token = NULL
           WHERE state = 'leased' AND token NOT IN (SELECT token FROM leases
             WHERE name GLOB 'outbox/*' AND holder IS NOT NULL);`,
      );
      return (
        driver.prepare("SELECT count(*) AS value FROM outbox").get<{ value: number }>()?.value ?? 0
      );
    },
  };
}
