/**
 * Holdfast core: what is true on every platform. Start with {@link defineEvent}, {@link defineProjection}
 * and the {@link Holdfast} interface; stores are opened by `@holdfast/node`.
 *
 * Apart, because they load libraries that a process seldom needs: cryptography in JavaScript
 * (`@holdfast/core/noble`) and grants by HPKE (`@holdfast/core/grant`).
 */
export * from "./std/errors.ts";
export * from "./std/release.ts";
export * from "./std/limits.ts";
export * from "./std/ports.ts";
export * from "./std/bytes.ts";
export * from "./std/jcs.ts";
export * from "./std/json.ts";
export { detailPointer, type JsonPath, jsonPointer } from "./std/plain.ts";
export * from "./std/keyforms.ts";
export * from "./telemetry/observer.ts";
export * from "./event/causal-history.ts";
export * from "./event/conflicts.ts";
export * from "./event/decider.ts";
export * from "./event/event.ts";
export * from "./event/header.ts";
export * from "./event/registry.ts";
export * from "./event/system.ts";
export * from "./event/uuid.ts";
export * from "./event/version-vector.ts";
export * from "./event/wire.ts";
export * from "./keys/provider.ts";
export * from "./keys/software.ts";
export * from "./keys/guard.ts";
export * from "./keys/key-audit.ts";
export * from "./keys/policy.ts";
export * from "./keys/profile.ts";
export * from "./keys/provider-breaker.ts";
export * from "./keys/providers.ts";
export type { SigningKeyRecord } from "./keys/signing.ts";
export { decodeLines, type KeyringLine } from "./keys/record.ts";
export type * from "./keys/copies.ts";
export type { DataKey, DataKeyMaterial, HeldDataKey } from "./keys/data-key.ts";
export * from "./keys/keyring.ts";
export type { Generations, KeyGenerations } from "./keys/generations.ts";
export {
  type KeyringRecovery,
  type RecoverKeyringOptions,
  recoverKeyring,
  type RecoveryDrill,
  type RecoveryKeyRecord,
} from "./keys/keyring-recovery.ts";
export type { KeyringRotation } from "./keys/keyring-rotation.ts";
export type { RecoveryCipher } from "./keys/recovery-cipher.ts";
export * from "./keys/rotation.ts";
export * from "./proof/check-epoch.ts";
export * from "./proof/checkpoint.ts";
export * from "./proof/dsse.ts";
export * from "./proof/ecdsa-der.ts";
export * from "./proof/note.ts";
export { checkPublicKey, type PublicKeyProblem } from "./proof/public-key.ts";
export * from "./proof/multiproof.ts";
export * from "./proof/server-epoch.ts";
export * from "./proof/server-key.ts";
export * from "./proof/server-leaf.ts";
export * from "./proof/signature.ts";
export * from "./proof/stored-tree.ts";
export * from "./proof/tiles.ts";
export * from "./proof/tree.ts";
export * from "./proof/log-source.ts";
export * from "./proof/verify.ts";
export * from "./seal/content.ts";
export * from "./seal/frame.ts";
export * from "./seal/incarnation.ts";
export * from "./seal/seal.ts";
export * from "./seal/sealed-event.ts";
export * from "./store/append.ts";
export * from "./store/event-log.ts";
export * from "./store/judge.ts";
export * from "./store/lease.ts";
export * from "./store/mark.ts";
export * from "./store/pragmas.ts";
export * from "./store/schema.ts";
export * from "./store/schema-lifts.ts";
export type { Room } from "./store/pages.ts";
export * from "./store/session.ts";
export * from "./store/sqlite-driver.ts";
export * from "./store/sqlite-event-log.ts";
export * from "./audit/audit-events.ts";
export { type AuditQuery, type AuditTrail, auditTrailTypes } from "./audit/audit-log.ts";
export type * from "./sync/messages/body.ts";
export type * from "./sync/messages/conflicts.ts";
export type * from "./sync/messages/enrol.ts";
export type * from "./sync/messages/epoch.ts";
export type * from "./sync/messages/present.ts";
export type * from "./sync/messages/grants.ts";
export type * from "./sync/messages/hello.ts";
export type * from "./sync/messages/log.ts";
export type * from "./sync/messages/pull.ts";
export type * from "./sync/messages/push.ts";
export type * from "./sync/messages/token.ts";
export * from "./sync/access-fold.ts";
export type { AccessRow } from "./sync/access-table.ts";
export { type Authorizer, type AuthorizerDeps, createAuthorizer } from "./sync/auth.ts";
export * from "./sync/enrol.ts";
export * from "./sync/enrolment-code.ts";
export * from "./sync/grant-exchange.ts";
export type * from "./sync/grant-store.ts";
export {
  createShredTable,
  presentScope,
  shreddedBy,
  type ShredRow,
  type ShredState,
} from "./store/shreds.ts";
export { invite, type InvitationTerms, tenantScope, withdrawAccess } from "./sync/invitations.ts";
export type * from "./sync/engine.ts";
export type * from "./sync/sync-store.ts";
export type * from "./sync/transport.ts";
export * from "./sync/step.ts";
export * from "./sync/batch-size.ts";
export { createSyncEngine, type SyncEngineDeps, type SyncOptions } from "./sync/create-engine.ts";
export type { EndpointBreaker } from "./sync/exchange.ts";
export * from "./projection/projection.ts";
export * from "./outbox/outbox.ts";
export type { Attempt, AttemptResult } from "./outbox/attempts.ts";
export { type BreakerOptions, type Breakers, createBreakers } from "./outbox/breakers.ts";
export {
  type DeadLetter,
  type DeadLetterFilter,
  type LetterReason,
  severities,
  type Severity,
} from "./outbox/dead-letters.ts";
export type { EntryDetail, EntryFilter, EntryState, ListedEntry } from "./outbox/entries.ts";
export type { ForcedRelease, LeaseMetadata, OutboxLeaseRow, TakenOver } from "./outbox/leases.ts";
export type { Lane } from "./outbox/turns.ts";
export type { OutboxProblem } from "./outbox/whole.ts";
export * from "./outbox/backoff.ts";
export * from "./outbox/breaker.ts";
export * from "./outbox/policy.ts";
export * from "./outbox/retry.ts";
export {
  type BuildStep,
  createReadModels,
  type ReadModels,
  type ReadModelsDeps,
  type ReadModelStatus,
  type TouchedRow,
} from "./projection/read-models.ts";
export type { DataKeyRotationState, DataKeyRotationWish } from "./lifecycle/rotate-data-keys.ts";
export { lookAtStore } from "./lifecycle/look-at-store.ts";
export type {
  CompactPhase,
  CompactPolicy,
  CompactReport,
  CompactState,
} from "./lifecycle/compact.ts";
export * from "./lifecycle/start-checks.ts";
export * from "./lifecycle/migration.ts";
export * from "./lifecycle/format-migration.ts";
export * from "./lifecycle/payload-migration.ts";
export type { RotationOrder } from "./lifecycle/rotate-keys.ts";
export {
  type Archive,
  type BackUpDeps,
  backUpStore,
  createArchive,
  logsOf,
} from "./lifecycle/back-up.ts";
export * from "./lifecycle/backup-plan.ts";
export {
  type ErasedContent,
  type ErasedFile,
  type ErasePhase,
  type ErasePlace,
  type ErasePlan,
  formatErasePlan,
  isDestroying,
  parseErasePlan,
} from "./lifecycle/erase-plan.ts";
export * from "./lifecycle/erase-report.ts";
export {
  assertOnlyTrailSince,
  assertRelease,
  keysHeldAlone,
  type DrainAnswer,
  type DrainProof,
  type InterlockDeps,
  proveDrained,
  type Release,
  type RescueProof,
} from "./lifecycle/interlock.ts";
export * from "./lifecycle/manifest.ts";
export * from "./lifecycle/read-backup.ts";
export * from "./lifecycle/rescue.ts";
export * from "./lifecycle/restore.ts";
export * from "./lifecycle/gather.ts";
export * from "./lifecycle/gather-backup.ts";
export * from "./lifecycle/judge-salvage.ts";
export * from "./lifecycle/look-for-damage.ts";
export * from "./lifecycle/reseal.ts";
export * from "./lifecycle/salvage.ts";
export * from "./lifecycle/tar.ts";
export * from "./client/handle-command.ts";
export * from "./client/holdfast.ts";
export type * from "./client/outbox-desk.ts";
export { lifeOf } from "./client/grant-store.ts";
export type * from "./client/sync-desk.ts";
export * from "./client/key-desk.ts";
export * from "./client/compact-store.ts";
export * from "./client/shred-desk.ts";
export { createSyncDesk } from "./client/create-sync-desk.ts";
export { grantStoreOf, syncStoreOf } from "./client/grant-store.ts";
export { createStore, type CreateStoreOptions, openHoldfast } from "./client/store.ts";
export type { StoreDeps } from "./client/client-session.ts";
export { canonicalOrder } from "./event/canonical-order.ts";
export { conflictsOf, type Corrected } from "./client/corrections.ts";
export { openEvent, type OpenEventDeps } from "./client/open-event.ts";
export { readAll } from "./projection/fold.ts";
export { makeAssertion } from "./sync/assertion.ts";
export * from "./sync/codec.ts";
export * from "./sync/codec/bodies.ts";
export * from "./sync/codec/error-codec.ts";
export * from "./sync/codec/json-codec.ts";
export * from "./sync/codec/message-shapes.ts";
export * from "./sync/codec/push-codec.ts";
export { type JsonSchema, type Members, type Shape } from "./sync/codec/shape.ts";
export {
  decodeTokenRequest,
  encodeTokenRequest,
  tokenAnswerShape,
} from "./sync/codec/token-codec.ts";
export * from "./sync/http-port.ts";
export * from "./sync/http-transport.ts";
export * from "./sync/server-url.ts";
export * from "./sync/rest/backend.ts";
export * from "./sync/rest/backend-verdict.ts";
export {
  createLoggedHttp,
  maskToken,
  redactedHeaders,
  sanitizedPath,
} from "./sync/rest/http-log.ts";
export * from "./sync/rest/pins.ts";
export * from "./sync/rest/kept-token.ts";
export type { AccessToken, TokenSource } from "./sync/rest/token-source.ts";
export type { DeliveryPorts } from "./sync/rest/create-delivery.ts";
export * from "./sync/socket-port.ts";
export * from "./sync/tail-wire.ts";
