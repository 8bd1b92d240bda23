/** The breakers of a store, a row for each endpoint; every method runs in the caller's transaction. */
import { HoldfastError } from "../std/errors.ts";
import type { Clock } from "../std/ports.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { type Observer, silentObserver } from "../telemetry/observer.ts";
import {
  admit,
  afterAttempt,
  type AttemptOutcome,
  type Breaker,
  type BreakerPolicy,
  breakerDefault,
  closedBreaker,
} from "./breaker.ts";
import { breakerThresholdsDefault, type ByFailureClass } from "./retry.ts";

/** What an application may set; thresholds that are left out stay as they are by default. */
export type BreakerOptions = Partial<Omit<BreakerPolicy, "thresholds">> & {
  readonly thresholds?: Partial<ByFailureClass>;
};

/** May an attempt be made? */
export type BreakerVerdict =
  | { readonly admitted: true; readonly probe: boolean }
  | { readonly admitted: false; readonly retryAt: number };

/** The breakers of a store, one row an endpoint. */
export interface Breakers {
  /** Decides on one attempt; an admitted one is reported by `ended`. */
  admit(endpoint: string): BreakerVerdict;
  ended(endpoint: string, outcome: AttemptOutcome): Breaker;
  get(endpoint: string): Breaker;
  list(): readonly (Breaker & { readonly endpoint: string })[];
}

interface BreakerRow {
  readonly endpoint: string;
  readonly state: Breaker["state"];
  readonly failures: number;
  readonly trips: number;
  readonly changed_at: number;
  readonly retry_at: number | null;
}

/** Throws `outbox_option_invalid`. */
export function createBreakers(deps: {
  readonly driver: SqliteDriver;
  readonly clock: Clock;
  readonly observer?: Observer;
  readonly options?: BreakerOptions;
}): Breakers {
  const { driver, clock, observer = silentObserver } = deps;
  const policy = breakerPolicy(deps.options);
  const columns = "endpoint, state, failures, trips, changed_at, retry_at";
  const select = driver.prepare(`SELECT ${columns} FROM breakers WHERE endpoint = ?`);
  const all = driver.prepare(`SELECT ${columns} FROM breakers ORDER BY endpoint`);
  const put = driver.prepare(
    `INSERT INTO breakers (${columns}) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (endpoint) DO UPDATE SET state = excluded.state, failures = excluded.failures,
       trips = excluded.trips, changed_at = excluded.changed_at, retry_at = excluded.retry_at`,
  );

  function get(endpoint: string): Breaker {
    const row = select.get<BreakerRow>(endpoint);
    return row === undefined ? closedBreaker(clock.now()) : breakerOf(row);
  }

  function keep(endpoint: string, before: Breaker, after: Breaker): void {
    if (after === before) return;
    const { state, failures, trips, changedAt, retryAt } = after;
    put.run(endpoint, state, failures, trips, changedAt, retryAt ?? null);
    if (trips > before.trips) observer.count("breaker_trips", 1);
    if (state === before.state) return;
    if (trips > before.trips) observer.log("warn", "breaker_opened", { failures });
    if (state === "closed") observer.log("info", "breaker_closed");
  }

  return {
    admit(endpoint) {
      const before = get(endpoint);
      const verdict = admit(before, clock.now(), policy);
      if (!verdict.admitted) return verdict;
      keep(endpoint, before, verdict.breaker);
      return { admitted: true, probe: verdict.probe };
    },
    ended(endpoint, outcome) {
      const before = get(endpoint);
      const after = afterAttempt(before, outcome, clock.now(), policy);
      keep(endpoint, before, after);
      return after;
    },
    get,
    list: () => all.all<BreakerRow>().map((row) => ({ endpoint: row.endpoint, ...breakerOf(row) })),
  };
}

function breakerOf(row: BreakerRow): Breaker {
  const { state, failures, trips } = row;
  return { state, failures, trips, changedAt: row.changed_at, retryAt: row.retry_at ?? undefined };
}

function breakerPolicy(options: BreakerOptions = {}): BreakerPolicy {
  const thresholds = { ...breakerThresholdsDefault, ...options.thresholds };
  const policy: BreakerPolicy = { ...breakerDefault, ...options, thresholds };
  const { cooldownFirstMs, cooldownMostMs, probeMs } = policy;
  const numbers = { cooldownFirstMs, cooldownMostMs, probeMs, ...thresholds };
  const fault = Object.entries(numbers).find(
    ([name, value]) =>
      !Number.isSafeInteger(value) || value < (Object.hasOwn(thresholds, name) ? 0 : 1),
  );
  if (fault !== undefined) throw new HoldfastError("outbox_option_invalid", { option: fault[0] });
  return policy;
}
