/**
 * Which key provider is used: a pure decision from the policy and from what each provider can do now.
 *
 * The *preferred* provider is the best that the policy allows, working or not: the highest assurance, then
 * the order of `allowed`, then the order of the keyring. When it does not work, another one is used only
 * where the policy says `audited`, and never one below the minimum assurance.
 */
import type { Assurance } from "../event/event.ts";
import { type ProviderName, providerNames } from "./provider.ts";

/** From weak to strong. */
export const assurances = ["none", "software", "os", "hardware"] as const satisfies Assurance[];

/** Is this assurance at least that one? */
export function reaches(assurance: Assurance, least: Assurance): boolean {
  return assurances.indexOf(assurance) >= assurances.indexOf(least);
}

/** What an installation allows. */
export interface KeyPolicy {
  /** The least assurance that may sign and unwrap. */
  readonly minimum: Assurance;
  /** Kinds of providers; of equal assurance the earlier one is preferred. */
  readonly allowed: readonly ProviderName[];
  /** `never`: what the preferred provider cannot do is refused. `audited`: the next one does it, and it is told. */
  readonly fallback: "never" | "audited";
}

/** Every kind but the simulator, software at least, fallback audited. */
export const keyPolicyDefault: KeyPolicy = {
  minimum: "software",
  allowed: providerNames.filter((name) => name !== "simulator"),
  fallback: "audited",
};

/** One provider of the keyring as the policy sees it. */
export interface ProviderCandidate {
  /** Id of its record in the keyring. */
  readonly id: string;
  readonly name: ProviderName;
  readonly assurance: Assurance;
  /** `absent`: this process is not configured for it. `failing`: it is, and it does not answer as it should. */
  readonly state: "ready" | "failing" | "absent";
}

/** What was decided. */
export type ProviderSelection =
  | {
      readonly status: "selected";
      readonly id: string;
      /** The preferred provider that does not work: then this is a fallback. */
      readonly insteadOf: string | undefined;
    }
  | {
      readonly status: "refused";
      /**
       * `not-allowed`: no kind is allowed. `assurance`: none reaches the minimum. `failing`: none works.
       * `fallback`: another one works, and the policy says `never`.
       */
      readonly reason: "not-allowed" | "assurance" | "failing" | "fallback";
      readonly preferred: string | undefined;
    };

/** The providers that the policy lets be used, best first. */
export function inPreference(
  policy: KeyPolicy,
  candidates: readonly ProviderCandidate[],
): readonly ProviderCandidate[] {
  return candidates
    .filter(({ name, assurance }) => {
      return policy.allowed.includes(name) && reaches(assurance, policy.minimum);
    })
    .toSorted(
      (a, b) =>
        assurances.indexOf(b.assurance) - assurances.indexOf(a.assurance) ||
        policy.allowed.indexOf(a.name) - policy.allowed.indexOf(b.name),
    );
}

/** Decides which provider signs and unwraps. */
export function selectKeyProvider(
  policy: KeyPolicy,
  candidates: readonly ProviderCandidate[],
): ProviderSelection {
  const usable = inPreference(policy, candidates);
  const [preferred] = usable;
  if (preferred === undefined) {
    const named = candidates.some(({ name }) => policy.allowed.includes(name));
    const reason = named ? "assurance" : "not-allowed";
    return { status: "refused", reason, preferred: undefined };
  }
  const found = usable.find(({ state }) => state === "ready");
  if (found === undefined) {
    return { status: "refused", reason: "failing", preferred: preferred.id };
  }
  if (found === preferred) return { status: "selected", id: found.id, insteadOf: undefined };
  return policy.fallback === "audited"
    ? { status: "selected", id: found.id, insteadOf: preferred.id }
    : { status: "refused", reason: "fallback", preferred: preferred.id };
}
