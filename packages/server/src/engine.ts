export * from "./engine/server-store.ts";
export * from "./engine/sync-server.ts";
