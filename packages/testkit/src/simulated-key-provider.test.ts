import { createSoftwareProvider } from "@holdfast/core";
import { createNodeCrypto, systemRandom, systemTimers } from "@holdfast/node";
import { describe, expect, it } from "vitest";
import { keyProviderSuite } from "./key-provider.suite.ts";
import { createSimulatedDevice, createSimulatedProvider } from "./simulated-key-provider.ts";

const crypto = createNodeCrypto();
const cost = { memoryKib: 8, passes: 1, lanes: 1 };
const make = (passphrase: string, parameters?: Readonly<Record<string, string | number>>) =>
  createSimulatedProvider({
    over: createSoftwareProvider({ crypto, random: systemRandom, passphrase, parameters, cost }),
    device: createSimulatedDevice(),
    timers: systemTimers,
    assurance: "none",
  });
let made = 0;

keyProviderSuite(
  {
    describe,
    it,
    check(fact, text) {
      if (!fact) throw new Error(text);
    },
  },
  {
    name: "simulator",
    crypto,
    make: () => make(`pin ${made++}`),
    reopen: ({ parameters }) => make(`pin ${made - 1}`, parameters),
  },
);

describe("a simulated device", () => {
  it("takes its time, is gone, and lies, as it is told", async () => {
    const device = createSimulatedDevice();
    const over = createSoftwareProvider({
      crypto,
      random: systemRandom,
      passphrase: "pin",
      parameters: undefined,
      cost,
    });
    const provider = createSimulatedProvider({
      over,
      device,
      timers: systemTimers,
      assurance: "hardware",
    });
    const { ref, spki } = await provider.generateSigningKey("ed25519");
    const sign = await provider.signer(ref, "ed25519");
    device.state = "lies";
    const wrong = (await sign?.(spki)) ?? new Uint8Array(64);
    expect(crypto.verify("ed25519", spki, spki, wrong)).toBe(false);
    device.state = "gone";
    await expect(Promise.resolve(sign?.(spki))).rejects.toMatchObject({
      code: "key_provider_failed",
    });
    device.state = "well";
    device.latencyMs = 1;
    const right = (await sign?.(spki)) ?? new Uint8Array(64);
    expect(crypto.verify("ed25519", spki, spki, right)).toBe(true);
    expect(device.calls()).toBe(5);
    provider.close();
  });
});
