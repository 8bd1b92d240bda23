/** Recovery keys, loaded when one is used: age is seldom needed. */
import type { RecoveryCipher } from "@holdfast/core";

const loaded = async (): Promise<RecoveryCipher> =>
  (await import("@holdfast/core/recovery")).ageRecovery;

/** The port to recovery keys, which loads age at its first call. */
export const lazyRecovery: RecoveryCipher = {
  wrap: async (...call) => (await loaded()).wrap(...call),
  unwrap: async (...call) => (await loaded()).unwrap(...call),
  recipientOf: async (identity) => (await loaded()).recipientOf(identity),
};
