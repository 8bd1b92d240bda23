import { createNodeCrypto, systemRandom } from "@holdfast/node";
import { createManualClock } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { HoldfastError } from "../std/errors.ts";
import type { KeyAuditEvent } from "./key-audit.ts";
import type { KeyProvider } from "./provider.ts";
import { createKeyProviders } from "./providers.ts";
import { createSoftwareProvider } from "./software.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("key providers", () => {
  it("close what opens after it was dropped, tell nothing of it and try it no more", async () => {
    const clock = createManualClock();
    const told: KeyAuditEvent[] = [];
    const made = createSoftwareProvider({
      crypto: createNodeCrypto(),
      random: systemRandom,
      passphrase: "words",
      parameters: undefined,
      cost: { memoryKib: 8, passes: 1, lanes: 1 },
    });
    let closed = 0;
    const provider: KeyProvider = { ...made, close: () => void (closed += 1) };
    const record = { id: "p1", name: provider.name, parameters: provider.parameters };
    const opening: ((provider: KeyProvider) => void)[] = [];
    const providers = createKeyProviders({
      use: { time: { clock, timers: clock }, audit: { note: (event) => void told.push(event) } },
      openProvider: () => new Promise((resolve) => opening.push(resolve)),
      opened: [{ record, provider: null, error: new HoldfastError("key_provider_failed") }],
      check: () => undefined,
    });
    clock.advance(1_000);
    await turn();
    expect(opening).toHaveLength(1);
    providers.drop(record.id);
    opening[0]?.(provider);
    await turn();
    expect(closed).toBe(1);
    expect(told.map(({ kind }) => kind)).toEqual(["provider_failed"]);
    clock.advance(60_000);
    await turn();
    expect(opening).toHaveLength(1);
    providers.close();
  });
});
