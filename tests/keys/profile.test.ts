/** Weak settings of stores, servers and settings files, each refused by its name. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createKeyring,
  createRegistry,
  createSoftwareProvider,
  HoldfastError,
  isHoldfastError,
  type KeyProvider,
} from "@holdfast/core";
import {
  createNodeCrypto,
  enforceProfile,
  initStore,
  openStore,
  readKeySettings,
  systemRandom,
  systemTimers,
  weaknessesOf,
} from "@holdfast/node";
import { loadConfig, startServer } from "@holdfast/server/serve";
import {
  createMemoryRecordFile,
  createRecordingObserver,
  createSimulatedDevice,
  createSimulatedProvider,
} from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";

const root = mkdtempSync(join(tmpdir(), "holdfast-profile-"));
afterAll(() => {
  rmSync(root, { recursive: true });
});
const passphrase = "correct horse battery staple";
const crypto = createNodeCrypto();
let stores = 0;

async function made() {
  const folder = join(root, `store-${stores++}`);
  const place = { directory: join(folder, "store"), stateDirectory: join(folder, "state") };
  await initStore({ ...place, passphrase, tenant: "Ward 3" });
  const observer = createRecordingObserver();
  const open = (more: object = {}) =>
    openStore({
      ...place,
      passphrase,
      registry: createRegistry([]),
      projections: [],
      observer,
      ...more,
    });
  return { place, observer, open };
}

/** The refusal of a promise: `profile_refused <setting> <found>`, or another code. */
async function refusal(promise: unknown): Promise<string> {
  try {
    await promise;
    return "nothing was refused";
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    const { setting, found } = error.details;
    return [error.code, setting, found].filter((part) => part !== undefined).join(" ");
  }
}

describe("the production profile of a store", () => {
  it("refuses a store without a recovery key", async () => {
    const { open, observer } = await made();
    expect(await refusal(open({ profile: "production" }))).toBe(
      "profile_refused weak.keys.without-recovery keyring",
    );
    const store = await open();
    await store.close();
    const warned = observer.seen.find((entry) => {
      return entry.kind === "log" && entry.event === "key_setting_weak";
    });
    expect(warned).toMatchObject({ level: "warn", labels: { found: "keyring" } });
  });

  for (const [role, path] of [
    ["keyring", ["store", "keyring"]],
    ["database", ["store", "store.db"]],
  ] as const) {
    it(`refuses a ${role} that others may read`, async () => {
      const { place, open } = await made();
      chmodSync(join(place.directory, "..", ...path), 0o640);
      const error = await open({ profile: "production" }).catch((caught: unknown) => caught);
      expect(isHoldfastError(error, "profile_refused")).toBe(true);
      const store = await open();
      await store.close();
    });
  }

  it("refuses each weak flag, also where nothing is weak", () => {
    for (const flag of ["weak", "weak.keys", "weak.files", "weak.listeners"] as const) {
      const observer = createRecordingObserver();
      expect(() => {
        enforceProfile({ profile: "production", weak: [flag] }, [], observer);
      }).toThrow(HoldfastError);
      enforceProfile({ profile: "development", weak: [flag] }, [], observer);
    }
  });

  /** Weaknesses of a keyring over those providers, as they are found. */
  async function foundIn(providers: readonly [KeyProvider, ...KeyProvider[]]): Promise<string[]> {
    const files = { store: createMemoryRecordFile(), registered: createMemoryRecordFile() };
    const [provider, ...others] = providers;
    const policy = { minimum: "none", allowed: [], fallback: "audited" } as const;
    using keyring = await createKeyring({
      crypto,
      random: systemRandom,
      files,
      provider,
      others,
      use: { policy },
      tenant: "t",
    });
    const place = { directory: "/nowhere", registered: "/nowhere/keyring" };
    return weaknessesOf(keyring, files, place).map(({ weakness, found }) => `${weakness} ${found}`);
  }

  const software = (): KeyProvider =>
    createSoftwareProvider({
      crypto,
      random: systemRandom,
      passphrase,
      parameters: undefined,
      cost: { memoryKib: 8, passes: 1, lanes: 1 },
    });

  it("finds the simulator, volatile keys and keys that may be copied", async () => {
    const simulator = createSimulatedProvider({
      over: software(),
      device: createSimulatedDevice(),
      timers: systemTimers,
      assurance: "hardware",
    });
    expect(await foundIn([simulator])).toEqual([
      "weak.keys.simulator simulator",
      "weak.keys.volatile simulator",
      "weak.keys.without-recovery keyring",
    ]);
    const loose = software();
    const capabilities = { ...loose.capabilities, extractable: true };
    const token: KeyProvider = { ...loose, name: "pkcs11", capabilities };
    expect(await foundIn([token])).toEqual([
      "weak.keys.extractable pkcs11",
      "weak.keys.without-recovery keyring",
    ]);
  });
});

describe("the production profile of a server", () => {
  const config = (more: object) =>
    loadConfig({ flags: { data: join(root, `server-${stores++}`), port: 0, ...more } });

  it("refuses plaintext where others reach it, and a TLS key that others may read", async () => {
    const plain = config({ profile: "production", allow_plaintext: true });
    expect(await refusal(startServer(plain))).toBe(
      "profile_refused weak.listeners.plaintext allow_plaintext",
    );
    const [certificate, key] = [join(root, "certificate.pem"), join(root, "key.pem")];
    writeFileSync(certificate, "none");
    writeFileSync(key, "none", { mode: 0o644 });
    const tls = { tls_certificate: certificate, tls_key: key };
    expect(await refusal(startServer(config({ profile: "production", ...tls })))).toBe(
      "profile_refused weak.files.readable-by-others tls_key",
    );
    const sound = await startServer(config({ profile: "production" }));
    await sound.close();
    const meant = await startServer(config({ allow_plaintext: true }));
    await meant.close();
  });
});

describe("a settings file of key providers", () => {
  mkdirSync(join(root, "settings"));
  const pin = join(root, "settings", "pin");
  writeFileSync(pin, "1234\n", { mode: 0o600 });
  const token = { module: "/m.so", token: "holdfast", pin_file: pin };
  const write = (content: unknown): string => {
    const path = join(root, "settings", `keys-${readdirSync(join(root, "settings")).length}.json`);
    writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
    return path;
  };

  it("is read whole", () => {
    const settings = {
      profile: "production",
      weak: [],
      key_minimum: "os",
      key_allowed: ["pkcs11", "software"],
      key_fallback: "never",
      key_deadline_ms: 250,
      pkcs11: { ...token, environment: { SOFTHSM2_CONF: "/c" } },
      os_keychain: false,
    };
    const read = readKeySettings(write(settings));
    expect(read).toMatchObject({
      profile: "production",
      keys: {
        policy: { minimum: "os", allowed: ["pkcs11", "software"], fallback: "never" },
        deadlines: { sign: 250, unwrap: 250 },
        pkcs11: { module: "/m.so", token: "holdfast", environment: { SOFTHSM2_CONF: "/c" } },
      },
    });
    expect(Buffer.from(read.keys.pkcs11?.pin ?? []).toString()).toBe("1234");
    expect(readKeySettings(write({})).keys.policy?.fallback).toBe("audited");
  });

  for (const [setting, content] of [
    ["profile", { profile: "prod" }],
    ["weak", { weak: ["weak.all"] }],
    ["weak", { weak: "weak" }],
    ["key_minimum", { key_minimum: "hsm" }],
    ["key_allowed", { key_allowed: ["token"] }],
    ["key_fallback", { key_fallback: true }],
    ["key_deadline_ms", { key_deadline_ms: 0 }],
    ["key_deadline_ms", { key_deadline_ms: 1e9 }],
    ["os_keychain", { os_keychain: "yes" }],
    ["pkcs11", { pkcs11: [] }],
    ["pkcs11.module", { pkcs11: { ...token, module: "" } }],
    ["tpm.token", { tpm: { ...token, token: 7 } }],
    ["pkcs11.pin", { pkcs11: { ...token, pin: "1234" } }],
    ["pkcs11.environment", { pkcs11: { ...token, environment: { A: 1 } } }],
    ["keys", { keys: {} }],
    ["", []],
  ] as const) {
    it(`is refused by name: ${setting || "no object"} ${JSON.stringify(content)}`, async () => {
      const read = (): Promise<unknown> =>
        Promise.resolve().then(() => readKeySettings(write(content)));
      expect(await refusal(read())).toBe(["config_invalid", setting].join(" "));
    });
  }

  it("takes no PIN that others may read, and says what cannot be read", async () => {
    const open = join(root, "settings", "open-pin");
    writeFileSync(open, "1234", { mode: 0o644 });
    const read = (content: unknown): Promise<unknown> =>
      Promise.resolve().then(() => readKeySettings(write(content)));
    expect(await refusal(read({ pkcs11: { ...token, pin_file: open } }))).toBe(
      "profile_refused weak.files.readable-by-others pkcs11.pin_file",
    );
    expect(await refusal(read({ pkcs11: { ...token, pin_file: "/nowhere" } }))).toBe(
      "input_unreadable",
    );
    expect(await refusal(read("{"))).toBe("json_malformed");
  });
});
