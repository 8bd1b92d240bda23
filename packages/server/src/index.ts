export * from "./engine/server-store.ts";
export * from "./engine/sync-server.ts";
export type * from "./engine/engine-deps.ts";
export { type CheckpointKey, serverLogOrigin } from "./engine/log/checkpoints.ts";
export {
  createSqliteServerStore,
  type SqliteServerStoreDeps,
} from "./engine/sqlite-server-store.ts";
export { createSyncServer } from "./engine/create-sync-server.ts";
export * from "./reads.ts";
export { type Api, type ApiBounds, type ApiDeps, createApi } from "./api/app.ts";
export { engineStatus } from "./api/engine-status.ts";
export { createListener, type ListenerBounds } from "./api/listener.ts";
export { openApiDocument } from "./api/openapi.ts";
export { type Parameter, type RequestBody, type Route, routes } from "./api/routes.ts";
export { statusByCode } from "./api/status.ts";
export { type Admitted, type TokenKey } from "./api/tokens.ts";
export { openTail, type Tail, type TailDeps } from "./api/tail.ts";
