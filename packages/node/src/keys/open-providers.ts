/**
 * Which key providers this process may use, from its settings: opening those that a keyring names, and making
 * those of a new store.
 *
 * A process is configured for a provider when it knows what opens it: a passphrase for `software`, module and PIN
 * for `pkcs11` and `tpm`. Keychains open with the session. What a keyring names and the settings do not is absent.
 */
import {
  assurances,
  createSoftwareProvider,
  type Crypto,
  HoldfastError,
  type KeyAuditSink,
  type KeyDeadlines,
  type KeyPolicy,
  keyPolicyDefault,
  type KeyProvider,
  type KeyUse,
  type Observer,
  type OpenProvider,
  openSoftwareProvider,
  type ProviderBreakerPolicy,
  type Random,
  utf8,
} from "@holdfast/core";
import { systemClock, systemTimers } from "../clock.ts";
import { createNodeCrypto } from "../crypto.ts";
import { systemRandom } from "../random.ts";
import { openOsKeychainProvider } from "./os-keychain.ts";
import { openTokenProvider, type TokenAccess } from "./pkcs11.ts";
import { prepareTokenProcess } from "./token-process.ts";

/** Key providers of a store besides its passphrase, and how they are used. */
export interface KeySettings {
  readonly policy?: Partial<KeyPolicy>;
  /** A PKCS#11 token: an HSM, a smart card, SoftHSM. */
  readonly pkcs11?: TokenAccess;
  /** A TPM 2.0 through its PKCS#11 module. */
  readonly tpm?: TokenAccess;
  /** The system's keychain. */
  readonly osKeychain?: boolean;
  /** What a provider may take, ms; default: `keyDeadlinesDefault`. */
  readonly deadlines?: Partial<KeyDeadlines>;
  /** For how long a provider that failed is left alone; default: `providerBreakerDefault`. */
  readonly breaker?: ProviderBreakerPolicy;
  /** Where the use of keys is told. */
  readonly audit?: KeyAuditSink;
}

interface Ports {
  readonly crypto: Crypto;
  readonly random: Random;
}

/** The policy of the settings; what they leave out is as by default. */
export function policyOf(settings: KeySettings | undefined): KeyPolicy {
  return { ...keyPolicyDefault, ...settings?.policy };
}

/** How a keyring uses its providers. */
export function useOf(settings: KeySettings | undefined, observer: Observer): KeyUse {
  return {
    policy: policyOf(settings),
    deadlines: settings?.deadlines ?? {},
    time: { clock: systemClock, timers: systemTimers },
    observer,
    ...(settings?.breaker === undefined ? {} : { breaker: settings.breaker }),
    ...(settings?.audit === undefined ? {} : { audit: settings.audit }),
  };
}

/** Opens the providers of a keyring that this process is configured for. */
export function providerOpener(
  ports: Ports,
  settings: KeySettings | undefined,
  passphrase: Uint8Array | undefined,
): OpenProvider {
  // It starts while the keyring is read and a passphrase is stretched.
  if (settings?.pkcs11 !== undefined || settings?.tpm !== undefined) prepareTokenProcess();
  const software =
    passphrase === undefined ? undefined : openSoftwareProvider({ ...ports, passphrase });
  return (record) => {
    const { name, parameters } = record;
    switch (name) {
      case "software":
        return software?.(record) ?? null;
      case "pkcs11":
      case "tpm": {
        const access = settings?.[name];
        return access === undefined || access.token !== parameters["token"]
          ? null
          : openTokenProvider({ ...ports, ...access, name, parameters });
      }
      case "os-keychain":
        return settings?.osKeychain === true
          ? openOsKeychainProvider({ ...ports, parameters })
          : null;
      case "simulator":
        return null;
      default:
        return name satisfies never;
    }
  };
}

/**
 * Makes a provider of each kind that the settings name, and of the passphrase: strongest first. Throws what they
 * throw; what was made until then is closed, and keys that were made on a device stay there, unused.
 */
export async function makeProviders(
  ports: Ports,
  settings: KeySettings | undefined,
  passphrase: string | undefined,
): Promise<readonly [KeyProvider, ...KeyProvider[]]> {
  const made: KeyProvider[] = [];
  const parameters = undefined;
  try {
    for (const name of ["pkcs11", "tpm"] as const) {
      const access = settings?.[name];
      if (access === undefined) continue;
      made.push(await openTokenProvider({ ...ports, ...access, name, parameters }));
    }
    if (settings?.osKeychain === true) {
      made.push(await openOsKeychainProvider({ ...ports, parameters }));
    }
    if (passphrase !== undefined) {
      made.push(createSoftwareProvider({ ...ports, passphrase: utf8(passphrase), parameters }));
    }
  } catch (error) {
    for (const provider of made) provider.close();
    throw error;
  }
  const strength = ({ assurance }: KeyProvider): number => assurances.indexOf(assurance);
  const [first, ...others] = made.toSorted((a, b) => strength(b) - strength(a));
  if (first === undefined) {
    throw new HoldfastError("draft_invalid", { path: "/passphrase", reason: "no key provider" });
  }
  return [first, ...others];
}

/**
 * A new software provider, for a new passphrase or a new key of the same one. Throws `draft_invalid` for an empty
 * one.
 */
export function createPassphraseProvider(passphrase: string): KeyProvider {
  if (passphrase === "") {
    throw new HoldfastError("draft_invalid", { path: "/passphrase", reason: "empty" });
  }
  return createSoftwareProvider({
    crypto: createNodeCrypto(),
    random: systemRandom,
    passphrase: utf8(passphrase),
    parameters: undefined,
  });
}
