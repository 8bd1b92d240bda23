/** Every suite of the load test with what it measures, in the order in which they run. */
export const suiteSummaries = {
  enqueue: "append: throughput and latency, one at a time and all at once",
  latency: "delivery at a fixed rate of arrivals over a path that delays and fails",
  memory: "memory of a process while a long outbox gathers, and of one that opens it",
  breaker: "failures in a row: the breaker opens, probes, closes, and nothing is lost",
  workers: "several processes deliver one outbox at once: no duplicates, no loss",
} as const;

/** Name of a suite. */
export type SuiteName = keyof typeof suiteSummaries;
