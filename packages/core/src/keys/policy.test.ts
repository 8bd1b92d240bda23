import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  assurances,
  type KeyPolicy,
  keyPolicyDefault,
  type ProviderCandidate,
  reaches,
  selectKeyProvider,
} from "./policy.ts";
import { providerNames } from "./provider.ts";
import {
  closedProviderBreaker,
  type ProviderBreaker,
  providerBreakerDefault,
  stepProviderBreaker,
} from "./provider-breaker.ts";

const candidate = (
  name: ProviderCandidate["name"],
  assurance: ProviderCandidate["assurance"],
  state: ProviderCandidate["state"] = "ready",
): ProviderCandidate => ({ id: `${name}-${assurance}`, name, assurance, state });

const hsm = candidate("pkcs11", "hardware");
const chain = candidate("os-keychain", "os");
const soft = candidate("software", "software");

describe("selection of a key provider", () => {
  it("takes the best, and the next one by policy", () => {
    const gone = { ...hsm, state: "failing" as const };
    const choose = (policy: Partial<KeyPolicy>, ...of: ProviderCandidate[]) =>
      selectKeyProvider({ ...keyPolicyDefault, ...policy }, of);
    expect(choose({}, soft, chain, hsm)).toEqual({
      status: "selected",
      id: hsm.id,
      insteadOf: undefined,
    });
    expect(choose({}, soft, chain, gone)).toMatchObject({ id: chain.id, insteadOf: hsm.id });
    expect(choose({ fallback: "never" }, soft, gone)).toMatchObject({
      status: "refused",
      reason: "fallback",
    });
    expect(choose({ minimum: "os" }, soft, gone)).toMatchObject({ reason: "failing" });
    expect(choose({ minimum: "hardware" }, soft, chain)).toMatchObject({ reason: "assurance" });
    expect(choose({}, candidate("simulator", "hardware"))).toMatchObject({ reason: "not-allowed" });
    expect(choose({ allowed: ["software"] }, hsm, soft)).toMatchObject({
      id: soft.id,
      insteadOf: undefined,
    });
  });

  it("never chooses what does not work, is not allowed, or is below the minimum", () => {
    const states = fc.constantFrom("ready" as const, "failing" as const, "absent" as const);
    const some = fc.array(
      fc.record({
        name: fc.constantFrom(...providerNames),
        assurance: fc.constantFrom(...assurances),
        state: states,
      }),
      { maxLength: 6 },
    );
    const policies = fc.record({
      minimum: fc.constantFrom(...assurances),
      allowed: fc.subarray([...providerNames]),
      fallback: fc.constantFrom("never" as const, "audited" as const),
    });
    fc.assert(
      fc.property(some, policies, (found, policy) => {
        const list = found.map((one, at) => ({ ...one, id: String(at) }));
        const usable = list.filter(
          ({ name, assurance }) =>
            policy.allowed.includes(name) && reaches(assurance, policy.minimum),
        );
        const selection = selectKeyProvider(policy, list);
        if (selection.status === "refused") {
          // Refused only when nothing works, or when a fallback is not allowed.
          expect(
            policy.fallback === "never" || usable.every(({ state }) => state !== "ready"),
          ).toBe(true);
          return;
        }
        const chosen = usable.find(({ id }) => id === selection.id);
        expect(chosen?.state).toBe("ready");
        const better = usable.filter(
          (one) => one.state === "ready" && !reaches(chosen?.assurance ?? "none", one.assurance),
        );
        expect(better).toEqual([]);
        expect(selection.insteadOf === undefined || policy.fallback === "audited").toBe(true);
      }),
    );
  });
});

describe("breaker of a key provider", () => {
  const states: readonly ProviderBreaker[] = [
    closedProviderBreaker,
    { state: "open", failures: 2, retryAt: 5_000 },
    { state: "half-open", failures: 2, retryAt: undefined },
  ];
  const policy = providerBreakerDefault;
  const step = (breaker: ProviderBreaker, input: Parameters<typeof stepProviderBreaker>[1]) =>
    stepProviderBreaker(breaker, input, 10_000, policy);

  it("has an answer for every state and input", () => {
    const table = states.map((breaker) => {
      const inputs = ["failed", "answered", "probe", "probe-failed", "probe-answered"] as const;
      return inputs.map((input) => step(breaker, input).state);
    });
    expect(table).toEqual([
      ["open", "closed", "half-open", "open", "closed"],
      ["open", "open", "half-open", "open", "closed"],
      ["half-open", "half-open", "half-open", "open", "closed"],
    ]);
  });

  it("waits twice as long after each failed probe, up to a cap", () => {
    let breaker = step(closedProviderBreaker, "failed");
    const waits: number[] = [];
    for (let times = 0; times < 8; times++) {
      waits.push((breaker.retryAt ?? 0) - 10_000);
      breaker = step(step(breaker, "probe"), "probe-failed");
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  });
});
