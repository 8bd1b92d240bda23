/**
 * Holdfast core: what is true on every platform. Start with {@link defineEvent}, {@link defineProjection}
 * and the {@link Holdfast} interface; stores are opened by `@holdfast/node`.
 */
export * from "./std/errors.ts";
export * from "./std/limits.ts";
export * from "./std/ports.ts";
export * from "./std/bytes.ts";
export * from "./std/jcs.ts";
export * from "./std/json.ts";
export { type JsonPath, jsonPointer } from "./std/plain.ts";
export * from "./std/keyforms.ts";
export * from "./std/noble.ts";
export * from "./telemetry/observer.ts";
export * from "./event/event.ts";
export * from "./event/registry.ts";
export * from "./event/uuid.ts";
export * from "./event/version-vector.ts";
export * from "./keys/provider.ts";
export * from "./keys/software.ts";
export { decodeLines, type KeyringLine } from "./keys/record.ts";
export type * from "./keys/copies.ts";
export * from "./keys/keyring.ts";
export * from "./keys/grant.ts";
export * from "./proof/signature.ts";
export * from "./projection/projection.ts";
export * from "./client/holdfast.ts";
export {};
