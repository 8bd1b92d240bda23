/**
 * The keys of an open store: rotation and recovery keys, for the command line, a console, a scheduler. Everything
 * here is audited; nothing here gives a key away.
 */
import type {
  KeyringRecovery,
  RecoveryDrill,
  RecoveryKeyRecord,
} from "../keys/keyring-recovery.ts";
import type { KeyProvider } from "../keys/provider.ts";
import type { RotationState } from "../keys/rotation.ts";
import {
  dataKeyRotation,
  type DataKeyRotationState,
  type DataKeyRotationWish,
  rotateDataKeys,
} from "../lifecycle/rotate-data-keys.ts";
import { rotateKeys, type RotationOrder, tellPhase } from "../lifecycle/rotate-keys.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import type { Holdfast } from "./holdfast.ts";
import { lifeOf } from "./grant-store.ts";

/** Where the last rotations stand. */
export interface RotationStanding {
  readonly keyring: RotationState | undefined;
  readonly data: DataKeyRotationState | undefined;
}

/** Told of every step of a rotation. */
export type OnRotation = (state: RotationState | DataKeyRotationState) => void;

/** The keys of an open store. */
export interface KeyDesk {
  rotations(): RotationStanding;
  /** A new epoch key; all records move under it, the old one is destroyed. Throws as `rotateKeys`. */
  rotateEpoch(order?: RotationOrder, onProgress?: OnRotation): Promise<RotationState>;
  /** Another provider key: of a new passphrase, or of another provider. Owns the provider from here on. */
  rotateProvider(
    provider: KeyProvider,
    order?: RotationOrder,
    onProgress?: OnRotation,
  ): Promise<RotationState>;
  /** A new generation of data keys, and frames under it. Throws as `rotateDataKeys`. */
  rotateData(
    wish?: DataKeyRotationWish,
    order?: RotationOrder,
    onProgress?: OnRotation,
  ): Promise<DataKeyRotationState>;
  /** A new signing key: the device's next incarnation, signed for by the key before, whose private half goes. */
  rotateSigning(order?: RotationOrder): Promise<{ readonly incarnation: string }>;
  /**
   * A new HPKE key, named by a new incarnation; an admin device then grants to it, and holders wrap anew. The
   * former one opens what is on its way until the log says that access is for the new one.
   */
  rotateHpke(order?: RotationOrder): Promise<{ readonly public: string }>;
  readonly recovery: {
    list(): readonly RecoveryKeyRecord[];
    /** Throws as {@link KeyringRecovery.add}. */
    add(recipient: string, order?: RotationOrder): Promise<RecoveryKeyRecord>;
    /** Changes nothing but the audit trail. Throws as {@link KeyringRecovery.drill}. */
    drill(identity: string, order?: RotationOrder): Promise<RecoveryDrill>;
  };
}

/** The key desk of an open store. What changes something throws `store_read_only` where it is open for reading. */
export function createKeyDesk(store: Holdfast): KeyDesk {
  const life = lifeOf(store);
  const { keyring, observer } = life.deps;
  const writer = () => {
    if (life.writer === undefined) throw new HoldfastError("store_read_only");
    return life.writer;
  };
  const tell = (
    key: "signing" | "hpke",
    phase: "planned" | "old-key-destroyed",
    order: RotationOrder,
  ): Promise<void> => tellPhase({ audit: life.audit, observer }, { key, phase }, order);
  const recovery: KeyringRecovery = keyring.recovery;

  return {
    rotations: () => ({
      keyring: keyring.rotation.state(),
      data: dataKeyRotation(life.current().driver),
    }),
    rotateEpoch: (order = {}, onProgress) =>
      life.rotate(() => rotateKeys(life.rotateDeps(onProgress), "epoch", order)),
    rotateProvider: (provider, order = {}, onProgress) =>
      life.rotate(() => rotateKeys(life.rotateDeps(onProgress), provider, order)),
    rotateData: (wish = {}, order = {}, onProgress) =>
      life.rotate(() => rotateDataKeys(life.rotateDataKeysDeps(onProgress), wish, order)),
    async rotateSigning(order = {}) {
      await life.rotate(async () => {
        await tell("signing", "planned", order);
        await life.rekey();
        await writer().exclusively((_, __, { identity }) =>
          keyring.retireSigningKeys(identity.origin.incarnation),
        );
        await tell("signing", "old-key-destroyed", order);
      });
      return { incarnation: store.status().incarnation };
    },
    async rotateHpke(order = {}) {
      const made = await life.rotate(async () => {
        await tell("hpke", "planned", order);
        const fresh = await writer().exclusively(() => keyring.addHpkeKey());
        await life.rekey();
        return fresh;
      });
      await life.retireHpkeKeys();
      return { public: made };
    },
    recovery: {
      list: () => recovery.list(),
      async add(recipient, order = {}) {
        const added = await life.rotate(() => writer().exclusively(() => recovery.add(recipient)));
        const facts = { recovery: added.id };
        await life.audit.record({ kind: "RecoveryKeyAdded", facts, ...order });
        return added;
      },
      async drill(identity, order = {}) {
        try {
          const drilled = await recovery.drill(identity);
          observer.count("recovery_drills", 1, { result: "opened" });
          if (life.writer !== undefined) {
            const { id, signingKeys } = drilled;
            const facts = { recovery: id, signing_keys: signingKeys };
            await life.audit.record({ kind: "RecoveryKeyDrilled", facts, ...order });
          }
          return drilled;
        } catch (error) {
          const result = isHoldfastError(error) ? error.code : "bug";
          observer.count("recovery_drills", 1, { result });
          throw error;
        }
      },
    },
  };
}
