/** Tests for implementations of Holdfast's ports and for applications: suites, generators, clocks, observers. */
export * from "./chance.ts";
export * from "./event-log.suite.ts";
export * from "./fake-sync-engine.ts";
export * from "./fake-transport.ts";
export * from "./faulty-driver.ts";
export * from "./generate-history.ts";
export * from "./given-when-then.ts";
export * from "./key-provider.suite.ts";
export * from "./manual-clock.ts";
export * from "./memory-store.ts";
export * from "./memory-sync.ts";
export * from "./note-events.ts";
export { createOutboxBench, type OutboxBench, type QueuedEvent } from "./outbox-bench.ts";
export * from "./outbox.suite.ts";
export * from "./recording-observer.ts";
export * from "./reference-server.ts";
export * from "./schemas.ts";
export * from "./sealed-batches.ts";
