/**
 * Back-pressure: whether the outbox takes more. Asked before a call is sealed, so that a refused call records
 * nothing and the calls that would have shared its commit are not touched. Appends that are under way at that
 * moment still come in: the bound is exceeded by what the writer's queue holds, never by more.
 *
 * Entries are counted seldom: between two counts the log's head says how many can have come at most.
 */
import type { Clock } from "../std/ports.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { OutboxPolicy } from "./policy.ts";

export type PressureLevel = "room" | "filling" | "full";

export interface Pressure {
  /** How full the outbox is; logs when it gets fuller. */
  level(): PressureLevel;
}

/** Near the bound the entries are counted at most this often. */
const recountMs = 1_000;

export function createPressure(deps: {
  readonly driver: SqliteDriver;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly policy: OutboxPolicy;
}): Pressure {
  const { driver, clock, observer, policy } = deps;
  const entries = driver.prepare("SELECT count(*) AS value FROM outbox");
  const head = driver.prepare("SELECT max(position) AS value FROM events");
  const warnAt = policy.entriesMax * policy.warnFraction;
  const read = (statement: typeof head): number =>
    statement.get<{ value: number | null }>()?.value ?? 0;
  const levelOf = (held: number): PressureLevel =>
    held >= policy.entriesMax ? "full" : held >= warnAt ? "filling" : "room";

  let counted: { readonly entries: number; readonly head: number; readonly at: number } | undefined;
  let told: PressureLevel = "room";

  function tell(level: PressureLevel): void {
    if (level === "filling" && told === "room") observer.log("warn", "outbox_filling");
    if (level === "full" && told !== "full") observer.log("error", "outbox_full");
    told = level;
  }

  return {
    level() {
      const at = read(head);
      const most = counted === undefined ? policy.entriesMax : counted.entries + at - counted.head;
      // A count that is still below the warning cannot be wrong in the dangerous direction.
      if (counted !== undefined && levelOf(most) === "room") return "room";
      const now = clock.monotonic();
      const fresh = counted !== undefined && now - counted.at < recountMs;
      if (!fresh || levelOf(most) !== levelOf(counted?.entries ?? 0)) {
        counted = { entries: read(entries), head: at, at: now };
      }
      const level = levelOf(counted === undefined ? most : counted.entries + at - counted.head);
      tell(level);
      return level;
    },
  };
}
