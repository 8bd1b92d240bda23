import { createPublicKey, verify } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type KeyProvider, utf8 } from "@holdfast/core";
import {
  createNodeCrypto,
  openOsKeychainProvider,
  openTokenProvider,
  systemRandom,
  type TokenAccess,
} from "@holdfast/node";
import { keyProviderSuite, type SuiteRunner } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { codeOf } from "./code-of.ts";
import {
  createSoftHsm,
  createSoftTpm,
  type Keychain,
  keychainMissing,
  type SoftTpm,
  softHsmMissing,
  startKeychain,
  tpmMissing,
} from "./devices.ts";

const crypto = createNodeCrypto();
const runner: SuiteRunner = {
  describe,
  it,
  check(fact, text) {
    if (!fact) throw new Error(text);
  },
};
const folder = mkdtempSync(join(tmpdir(), "holdfast-devices-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
const context = utf8("context");
const key = new Uint8Array(32).fill(9);
const title = (name: string, missing: string | undefined): string =>
  missing === undefined ? name : `${name}: ${missing}`;

function opener(name: "pkcs11" | "tpm", access: () => TokenAccess) {
  return (parameters?: KeyProvider["parameters"], more: object = {}): Promise<KeyProvider> =>
    openTokenProvider({
      ...access(),
      name,
      crypto,
      random: systemRandom,
      parameters,
      ...more,
    });
}

const noSoftHsm = softHsmMissing();
describe.skipIf(noSoftHsm !== undefined)(title("SoftHSM", noSoftHsm), () => {
  let hsm: ReturnType<typeof createSoftHsm>;
  beforeAll(() => {
    hsm = createSoftHsm(join(folder, "hsm"));
  });
  const open = opener("pkcs11", () => hsm.access);

  keyProviderSuite(runner, {
    name: "pkcs11 on SoftHSM",
    crypto,
    make: () => open(),
    reopen: ({ parameters }) => open(parameters),
    verify(_, spki, message, signature) {
      const form = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
      return verify("sha256", message, { key: form, dsaEncoding: "ieee-p1363" }, signature);
    },
  });

  it("goes on after the token was taken out and put back, in the same process", async () => {
    const provider = await open();
    const { ref, spki } = await provider.generateSigningKey("ed25519");
    const sign = await provider.signer(ref, "ed25519");
    const wrapped = await provider.wrap(key, context);
    hsm.takeOut();
    expect(await codeOf(sign?.(context))).toBe("key_provider_failed");
    expect(await codeOf(provider.unwrap(wrapped, context))).toBe("key_provider_failed");
    hsm.putBack();
    expect(await provider.unwrap(wrapped, context)).toEqual(key);
    const signature = await sign?.(context);
    expect(crypto.verify("ed25519", spki, context, signature ?? new Uint8Array())).toBe(true);
    provider.close();
  });

  it("makes keys that the token does not give away", async () => {
    const provider = await open();
    expect(provider.capabilities.extractable).toBe(false);
    expect(provider.assurance).toBe("os");
    provider.close();
  });

  it("names what is missing", async () => {
    expect(await codeOf(open(undefined, { token: "nobody" }))).toBe("key_provider_failed");
    expect(await codeOf(open(undefined, { module: "/nowhere.so" }))).toBe("key_module_missing");
    expect(await codeOf(open({ key: "zz", wrap: "aes-gcm" }))).toBe("key_parameters_refused");
    expect(await codeOf(open({ key: "00".repeat(8), wrap: "aes-gcm" }))).toBe("key_unwrap_failed");
  });

  it("tries a wrong PIN once", async () => {
    const { access } = createSoftHsm(join(folder, "other"), "other");
    expect(await codeOf(open(undefined, { ...access, pin: utf8("0000") }))).toBe("key_pin_refused");
    // The right one does not help any more: nobody asks the token.
    await expect(open(undefined, access)).rejects.toMatchObject({
      code: "key_pin_refused",
      details: { tried: false },
    });
  });
});

const noTpm = tpmMissing();
describe.skipIf(noTpm !== undefined)(title("TPM 2.0", noTpm), () => {
  let tpm: SoftTpm | undefined;
  beforeAll(async () => {
    tpm = await createSoftTpm(join(folder, "tpm"));
  });
  afterAll(async () => {
    await tpm?.end();
  });
  const open = opener("tpm", () => {
    if (tpm === undefined) throw new Error("no TPM");
    return tpm.access;
  });

  keyProviderSuite(runner, {
    name: "tpm on swtpm",
    crypto,
    make: () => open(),
    reopen: ({ parameters }) => open(parameters),
  });

  it("binds the context also where the checksum fits", async () => {
    const provider = await open();
    const wrapped = await provider.wrap(key, context);
    const forged = Uint8Array.from(wrapped);
    forged[forged.length - 1] = (forged.at(-1) as number) ^ 1;
    const [id, rest] = [forged.slice(0, 8), forged.slice(13)];
    forged.set(crypto.sha256(id, rest).subarray(0, 4), 9);
    expect(await codeOf(provider.unwrap(forged, context))).toBe("key_unwrap_failed");
    expect(await codeOf(provider.unwrap(wrapped, utf8("other")))).toBe("key_unwrap_failed");
    expect(await provider.unwrap(wrapped, context)).toEqual(key);
    expect(provider.assurance).toBe("os");
    provider.close();
  });
});

const noKeychain = keychainMissing();
describe.skipIf(noKeychain !== undefined)(title("Secret Service", noKeychain), () => {
  let keychain: Keychain | undefined;
  beforeAll(async () => {
    keychain = await startKeychain(join(folder, "keychain"));
  });
  afterAll(async () => {
    await keychain?.end();
  });
  const open = (parameters?: KeyProvider["parameters"], store?: string): Promise<KeyProvider> =>
    openOsKeychainProvider({
      crypto,
      random: systemRandom,
      parameters,
      ...(store === undefined ? {} : { store }),
    });

  keyProviderSuite(runner, {
    name: "os-keychain on gnome-keyring",
    crypto,
    make: () => open(),
    reopen: ({ parameters }) => open(parameters),
  });

  it("refuses the kernel's keyring, and what was not kept", async () => {
    expect(await codeOf(open(undefined, "keyutils"))).toBe("key_keychain_volatile");
    const provider = await open();
    const { parameters } = provider;
    provider.close();
    expect(await codeOf(open({ ...parameters, account: "00".repeat(8) }))).toBe(
      "key_provider_failed",
    );
    expect(await codeOf(open({ ...parameters, check: "AAAAAAAAAAAAAAAAAAAAAA" }))).toBe(
      "key_wrong",
    );
    expect(await codeOf(open({ ...parameters, account: "x" }))).toBe("key_parameters_refused");
  });
});

describe("a machine without a session bus", () => {
  it("says so, and keeps no key in memory instead", async () => {
    const before = process.env["DBUS_SESSION_BUS_ADDRESS"];
    process.env["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=/nowhere";
    const opened = openOsKeychainProvider({ crypto, random: systemRandom, parameters: undefined });
    expect(await codeOf(opened)).toBe("key_provider_failed");
    if (before === undefined) delete process.env["DBUS_SESSION_BUS_ADDRESS"];
    else process.env["DBUS_SESSION_BUS_ADDRESS"] = before;
  });
});
