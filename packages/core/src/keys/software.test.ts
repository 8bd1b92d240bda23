import { createNodeCrypto, systemRandom } from "@holdfast/node";
import { type SuiteRunner, keyProviderSuite } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { utf8 } from "../std/bytes.ts";
import { nobleCrypto } from "../std/noble.ts";
import { createSoftwareProvider } from "./software.ts";

const cost = { memoryKib: 32, passes: 1, lanes: 1 };
const runner: SuiteRunner = {
  describe,
  it,
  check(fact, text) {
    if (!fact) throw new Error(text);
  },
};

for (const [name, crypto] of [
  ["node", createNodeCrypto()],
  ["noble", nobleCrypto(systemRandom)],
] as const) {
  const options = { crypto, random: systemRandom, passphrase: "correct horse" };
  keyProviderSuite(runner, {
    name: `software over ${name}`,
    crypto,
    make: () => createSoftwareProvider({ ...options, parameters: undefined, cost }),
    reopen: ({ parameters }) => createSoftwareProvider({ ...options, parameters }),
  });
}

describe("software provider", () => {
  const crypto = createNodeCrypto();
  const make = (
    passphrase: string | Uint8Array = "p\u00e9",
  ): ReturnType<typeof createSoftwareProvider> =>
    createSoftwareProvider({
      crypto,
      random: systemRandom,
      passphrase,
      parameters: undefined,
      cost,
    });
  const reopen = (
    parameters: Readonly<Record<string, string | number>>,
    passphrase = "p\u00e9",
  ): unknown => createSoftwareProvider({ crypto, random: systemRandom, passphrase, parameters });

  it("tells a wrong passphrase, a missing salt and hostile parameters apart", () => {
    const { parameters } = make();
    expect(() => reopen(parameters, "other")).toThrow(/^key_wrong/);
    const { salt: _, ...saltless } = parameters;
    expect(() => reopen(saltless)).toThrow(/^keyring_salt_missing/);
    for (const hostile of [
      { memory_kib: 64 * 1024 * 1024 },
      { passes: 1_000_000 },
      { lanes: 0 },
      { memory_kib: 7 },
      { salt: "AAAA" },
      { kdf: "md5" },
    ]) {
      expect(() => reopen({ ...parameters, ...hostile })).toThrow(/^key_parameters_refused/);
    }
  });

  it("takes text by its NFKC form, and wipes bytes", () => {
    expect(() => reopen(make().parameters, "pe\u0301")).not.toThrow();
    const bytes = utf8("secret");
    make(bytes);
    expect([...bytes]).toEqual([0, 0, 0, 0, 0, 0]);
  });
});
