export * from "./engine/server-store.ts";
export * from "./engine/sync-server.ts";
export type * from "./engine/admin/move-tenant.ts";
export type * from "./engine/engine-deps.ts";
export { type CheckpointKey, serverLogOrigin } from "./engine/log/checkpoints.ts";
export {
  createSqliteServerStore,
  type SqliteServerStoreDeps,
} from "./engine/sqlite-server-store.ts";
export type * from "./engine/postgres-driver.ts";
export {
  migratePostgres,
  migrations,
  type Migration,
  type MigrationDeps,
} from "./engine/postgres-migrations.ts";
export { checkStandby, showStandbys } from "./engine/postgres-durability.ts";
export { claimDatabase } from "./engine/postgres-identity.ts";
export { type TableLayout, tablesSql } from "./engine/postgres-schema.ts";
export type { HintTimes } from "./engine/postgres-hints.ts";
export { prepareSession, type SessionTimes } from "./engine/postgres-session.ts";
export {
  createPostgresServerStore,
  type PostgresServerStoreDeps,
} from "./engine/postgres-server-store.ts";
export { createPostgresReplayMemory } from "./engine/postgres-replay-memory.ts";
export {
  createReplayMemory,
  type ReplayMemory,
  type UsedAssertion,
} from "./engine/replay-memory.ts";
export { nextLog, type RestoredLog } from "./engine/admin/restore-logs.ts";
export type { ExaminedShard } from "./engine/reading/examine.ts";
export type { LostLog } from "./engine/reading/lost.ts";
export { beginNextLog, type BegunLog } from "./engine/log/succession.ts";
export { createSyncServer } from "./engine/create-sync-server.ts";
export { type Asked, type Route, routes } from "./api/routes.ts";
export { type Refusal, refusalFor } from "./api/status.ts";
export { engineStatus } from "./api/engine-status.ts";
export { openEventTail } from "./api/event-tail.ts";
export type { Tokens } from "./api/tokens.ts";
