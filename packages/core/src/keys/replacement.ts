/** One key provider in the place of another, while the keyring is open. */
import { HoldfastError } from "../std/errors.ts";
import type { KeyProvider } from "./provider.ts";
import type { KeyProviders } from "./providers.ts";
import type { RotationState } from "./rotation.ts";

/** A provider that is open, and the id of its record. */
export interface OpenOne {
  readonly id: string;
  readonly provider: KeyProvider;
}

/**
 * Which provider a new one replaces: that of the same kind, so that a new passphrase takes no token's place; else the
 * one that is used now. Throws `rotation_provider_missing` when it does not work now.
 */
export function replacedBy(providers: KeyProviders, { name }: KeyProvider): string {
  const same = providers.standings().filter((one) => one.name === name);
  const ready = same.find(({ state }) => state === "ready");
  if (ready !== undefined) return ready.id;
  if (same.length > 0) throw new HoldfastError("rotation_provider_missing", { provider: name });
  return providers.choose().id;
}

/** The provider whose key is new, as it is open here. */
export function arriving(
  providers: KeyProviders,
  { to }: RotationState,
  incoming: OpenOne | undefined,
): OpenOne | undefined {
  const provider = providers.get(to);
  return provider === undefined ? incoming : { id: to, provider };
}

/** From now on the new one is used; the former is closed once its calls have ended. */
export function putInPlace(
  providers: KeyProviders,
  { from }: RotationState,
  incoming: OpenOne | undefined,
): void {
  if (incoming !== undefined) {
    const { id, provider } = incoming;
    const { name, parameters } = provider;
    providers.adopt({ id, name, parameters }, provider);
  }
  providers.drop(from);
}
