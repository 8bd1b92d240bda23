export * from "./engine/server-store.ts";
export * from "./engine/sync-server.ts";
export * from "./reads.ts";
