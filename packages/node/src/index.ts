/** Holdfast on Node: stores in folders, and the ports of `@holdfast/core` over the operating system. */
export * from "./clock.ts";
export * from "./crypto.ts";
export * from "./keyring-files.ts";
export * from "./mark-file.ts";
export * from "./memory.ts";
export * from "./node-sqlite-driver.ts";
export { createProcessIdentity } from "./process-identity.ts";
export * from "./random.ts";
export * from "./record-file.ts";
export {
  createPassphraseProvider,
  type KeySettings,
  makeProviders,
  policyOf,
  providerOpener,
  useOf,
} from "./keys/open-providers.ts";
export {
  enforceProfile,
  weaknessesOf,
  type ProfileSettings,
  readableByOthers,
} from "./keys/store-profile.ts";
export {
  followKeySettings,
  keySettings,
  type KeySettingsFile,
  readKeySettings,
} from "./keys/key-settings.ts";
export { openOsKeychainProvider, type OsKeychainOptions } from "./keys/os-keychain.ts";
export { prepareTokenProcess } from "./keys/token-process.ts";
export { openTokenProvider, type TokenAccess, type TokenProviderOptions } from "./keys/pkcs11.ts";
export * from "./sqlite-driver.ts";
export { checkStart, type CheckStartOptions } from "./doctor.ts";
export {
  createStoreMedium,
  initStore,
  type InitStoreOptions,
  openStore,
  type OpenStoreOptions,
  recoverStore,
  type RecoverStoreOptions,
  type StoreAccess,
} from "./store.ts";
export { type StoreLocation } from "./store-place.ts";
export { type SyncStoreOptions, syncDesk, syncStore, type TailKind } from "./sync-store.ts";
export * from "./deliver-store.ts";
export { createNodeHttp, type HttpOptions, type NodeHttp } from "./http.ts";
export * from "./socket.ts";
export type { AgeIdentities, AgeRecipients } from "./age.ts";
export { backUp, type BackUpOptions, releaseOf, type ReleaseOptions, rescue } from "./backup.ts";
export { readBackupFile, type WrittenBackup, writeBackupFile } from "./backup-file.ts";
export * from "./backup-schedule.ts";
export * from "./restore.ts";
export * from "./compact.ts";
export * from "./erase.ts";
export * from "./migrate.ts";
export * from "./salvage.ts";
export * from "./keyring-copies.ts";
