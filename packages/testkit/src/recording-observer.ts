/**
 * An observer that remembers: tests ask it what was reported.
 */
import type {
  Labels,
  LogEventName,
  LogLevel,
  MetricName,
  Observer,
  SpanName,
} from "@holdfast/core";

/** One thing that was reported. */
export type Observed =
  | {
      readonly kind: "count" | "gauge" | "observe";
      readonly metric: MetricName;
      readonly value: number;
      readonly labels: Labels;
    }
  | { readonly kind: "span"; readonly span: SpanName; readonly result: "ok" | "error" }
  | {
      readonly kind: "log";
      readonly level: LogLevel;
      readonly event: LogEventName;
      readonly labels: Labels;
    };

/** An observer that keeps what it was told. */
export interface RecordingObserver extends Observer {
  readonly seen: readonly Observed[];
  /** Sum of a counter, over all labels or over those given. */
  total(metric: MetricName, labels?: Labels): number;
  /** How often an event was logged. */
  logged(event: LogEventName): number;
  /** Forgets what was reported. */
  clear(): void;
}

/** Telemetry that tests can look at. */
export function createRecordingObserver(): RecordingObserver {
  const seen: Observed[] = [];
  const measure =
    (kind: "count" | "gauge" | "observe") =>
    (metric: MetricName, value: number, labels: Labels = {}): void => {
      seen.push({ kind, metric, value, labels });
    };
  const carries = (labels: Labels, asked: Labels): boolean =>
    Object.entries(asked).every(([name, value]) => labels[name] === value);
  return {
    seen,
    count: measure("count"),
    gauge: measure("gauge"),
    observe: measure("observe"),
    span: (span) => (result) => {
      seen.push({ kind: "span", span, result });
    },
    log(level, event, labels = {}) {
      seen.push({ kind: "log", level, event, labels });
    },
    total: (metric, labels = {}) =>
      seen.reduce(
        (sum, entry) =>
          entry.kind === "count" && entry.metric === metric && carries(entry.labels, labels)
            ? sum + entry.value
            : sum,
        0,
      ),
    logged: (event) => seen.filter((entry) => entry.kind === "log" && entry.event === event).length,
    clear() {
      seen.length = 0;
    },
  };
}
