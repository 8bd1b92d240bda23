/** The server: its engine (`./engine.ts`) and the HTTP API around it. `serve.ts` puts both on a folder. */
export * from "./engine.ts";
export { createPostgresDriver, type PostgresDriverOptions } from "./postgres-driver.ts";
export * from "./reads.ts";
export { type Api, type ApiBounds, type ApiDeps, createApi } from "./api/app.ts";
export { createListener, type ListenerBounds } from "./api/listener.ts";
export { openApiDocument } from "./api/openapi.ts";
export { type Parameter, type RequestBody } from "./api/routes.ts";
export { statusByCode } from "./api/status.ts";
export { type Admitted, type TokenKey } from "./api/tokens.ts";
export { type EventTail, openEventTail } from "./api/event-tail.ts";
export { openSocketTail, type TailSocket } from "./api/socket-tail.ts";
export { type Tail, type TailDeps, type TailEnd } from "./api/tail.ts";
export { type Upgrade } from "./api/upgrade.ts";
