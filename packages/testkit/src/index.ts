/** Tests for implementations of Holdfast's ports and for applications: suites, generators, clocks, observers. */
export * from "./chance.ts";
export * from "./event-log.suite.ts";
export * from "./faulty-driver.ts";
export * from "./generate-history.ts";
export * from "./given-when-then.ts";
export * from "./key-provider.suite.ts";
export * from "./manual-clock.ts";
export * from "./memory-store.ts";
export * from "./note-events.ts";
export * from "./recording-observer.ts";
export * from "./schemas.ts";
export * from "./sealed-batches.ts";
export * from "./pushing-device.ts";
export * from "./test-server.ts";
export * from "./server-store.suite.ts";
