/**
 * The outbox: own events that the server has not acknowledged, written in the append's transaction. Entries
 * are leased in order, urgent lane first; nothing is ever dropped.
 */
import type { Clock } from "../std/ports.ts";
import type { AppendParticipant } from "../store/sqlite-event-log.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";

/** How much waits to be delivered. */
export interface OutboxStatus {
  readonly waiting: number;
  /** Age of the oldest waiting entry; `undefined` when there is none. */
  readonly oldestMs: number | undefined;
}

/** What {@link Outbox.check} found: an entry too many, or too few. */
export interface OutboxProblem {
  readonly position: number;
  readonly kind: "missing" | "unexpected";
}

/** The outbox of one open store. */
export interface Outbox extends AppendParticipant {
  status(): OutboxStatus;
  /** Entries that are missing for own events, or that stand for none; at most `limit`. */
  check(limit: number): readonly OutboxProblem[];
  /** Makes the outbox from the events; in the caller's transaction. The number of entries it then has. */
  rebuild(): number;
}

const ownEvents = `FROM events JOIN incarnations ON incarnations.number = events.incarnation
  WHERE incarnations.own = 1`;

/** The outbox over a store's database; takes part in appends. */
export function createOutbox(deps: {
  readonly driver: SqliteDriver;
  readonly clock: Clock;
}): Outbox {
  const { driver, clock } = deps;
  const insert = driver.prepare(
    "INSERT INTO outbox (position, lane, state, enqueued_at) VALUES (?, ?, 'waiting', ?)",
  );
  const count = driver.prepare("SELECT count(*) AS value FROM outbox WHERE state = 'waiting'");
  const oldest = driver.prepare(
    "SELECT enqueued_at AS value FROM outbox WHERE state = 'waiting' ORDER BY position LIMIT 1",
  );
  return {
    name: "outbox",
    apply(appended) {
      for (const { position, sealed, urgent, foreign } of appended) {
        if (foreign) continue;
        insert.run(position, urgent ? "urgent" : "normal", sealed.header.at);
      }
    },
    status() {
      const waiting = count.get<{ value: number }>()?.value ?? 0;
      const since = oldest.get<{ value: number }>()?.value;
      return {
        waiting,
        oldestMs: since === undefined ? undefined : Math.max(0, clock.now() - since),
      };
    },
    check(limit) {
      return driver
        .prepare(
          `SELECT events.position AS position, 'missing' AS kind ${ownEvents}
             AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.position = events.position)
           UNION ALL
           SELECT position, 'unexpected' AS kind FROM outbox
             WHERE position NOT IN (SELECT events.position ${ownEvents})
           LIMIT ?`,
        )
        .all<OutboxProblem>(limit);
    },
    rebuild() {
      driver.exec(
        `DELETE FROM outbox WHERE position NOT IN (SELECT events.position ${ownEvents});
         INSERT INTO outbox (position, lane, state, enqueued_at)
           SELECT events.position, 'normal', 'waiting', events.recorded_at ${ownEvents}
             AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.position = events.position);`,
      );
      return count.get<{ value: number }>()?.value ?? 0;
    },
  };
}
