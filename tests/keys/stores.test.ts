/** Stores on real devices that are taken away, hang, and come back. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRegistry, type Holdfast, type KeyAuditEvent, type KeyPolicy } from "@holdfast/core";
import { initStore, type KeySettings, openStore } from "@holdfast/node";
import { createNoteDraft as note, createNoteRegistry } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { codeOf } from "./code-of.ts";
import {
  createSoftHsm,
  createSoftTpm,
  type SoftHsm,
  type SoftTpm,
  softHsmMissing,
  tpmMissing,
} from "./devices.ts";

const root = mkdtempSync(join(tmpdir(), "holdfast-key-stores-"));
afterAll(() => {
  rmSync(root, { recursive: true });
});
const passphrase = "correct horse battery staple";
/** Longer than by default: the machine may be busy, and what is tried is not how fast it is. */
const deadlines = { sign: 15_000, signer: 15_000, unwrap: 15_000, wrap: 15_000, open: 30_000 };
const breaker = { cooldownFirstMs: 50, cooldownMostMs: 400 };
let stores = 0;

async function made(keys: KeySettings, policy: Partial<KeyPolicy> = {}) {
  const folder = join(root, `store-${stores++}`);
  const place = { directory: join(folder, "store"), stateDirectory: join(folder, "state") };
  const audit: KeyAuditEvent[] = [];
  const settings: KeySettings = {
    deadlines,
    breaker,
    ...keys,
    policy,
    audit: { note: (event) => void audit.push(event) },
  };
  await initStore({ ...place, passphrase, tenant: "Ward 3", keys: settings });
  const open = (more: object = {}): Promise<Holdfast> =>
    openStore({
      ...place,
      passphrase,
      registry: createNoteRegistry(),
      projections: [],
      keys: settings,
      ...more,
    });
  return { place, audit, open };
}

const tiers = (store: Holdfast): readonly string[] =>
  store.read({ type: "NoteTaken" }).map(({ header }) => header.tier);

/** Appends until the strong provider signs again; it comes back by itself, a probe later. */
async function untilTier(store: Holdfast, tier: string): Promise<void> {
  for (let looks = 0; looks < 600; looks++) {
    await store.append(note("s", `look ${looks}`));
    if (tiers(store).at(-1) === tier) return;
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
  }
  throw new Error(`it never signed with ${tier} again`);
}

/** Key material that must be in no file: everything outside the devices is wrapped. */
function filesOf(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

const noSoftHsm = softHsmMissing();
describe.skipIf(noSoftHsm !== undefined)(`a store on SoftHSM ${noSoftHsm ?? ""}`, () => {
  let hsm: SoftHsm;
  beforeAll(() => {
    hsm = createSoftHsm(join(root, "hsm"));
  });

  it("falls back when the token is taken out, says why, and returns by itself", async () => {
    const { audit, open, place } = await made({ pkcs11: hsm.access });
    const store = await open();
    await store.append(note("s", "one"));
    expect(
      store.providers.list().map(({ name, assurance, state, chosen }) => {
        return [name, assurance, state, chosen];
      }),
    ).toEqual([
      ["pkcs11", "os", "ready", true],
      ["software", "software", "ready", false],
    ]);
    hsm.takeOut();
    await store.append(note("s", "two"));
    expect(tiers(store)).toEqual(["os", "software"]);
    const fallback = audit.find(({ kind }) => kind === "key_fallback");
    expect(fallback).toMatchObject({
      from: { name: "pkcs11", assurance: "os" },
      to: { name: "software" },
      code: "key_provider_failed",
    });
    hsm.putBack();
    await untilTier(store, "os");
    expect(audit.some(({ kind }) => kind === "key_fallback_ended")).toBe(true);
    expect(store.verify({ allNotes: true })).toMatchObject({ ok: true, problems: [] });
    await store.close();
    // Opened while the token is out: the second wrap of the epoch key opens it.
    hsm.takeOut();
    const again = await open();
    await again.append(note("s", "last"));
    expect(tiers(again).at(-1)).toBe("software");
    await again.close();
    hsm.putBack();
    expect(existsSync(join(place.directory, "keyring"))).toBe(true);
    for (const file of filesOf(place.directory)) {
      expect(readFileSync(file).includes(Buffer.from("1234"))).toBe(false);
    }
  });

  it("fails closed where the policy says never, and goes on when the token is back", async () => {
    const { open } = await made({ pkcs11: hsm.access }, { fallback: "never" });
    const store = await open();
    await store.append(note("s", "one"));
    hsm.takeOut();
    expect(await codeOf(store.append(note("s", "two")))).toBe("key_fallback_refused");
    expect(await codeOf(open())).toBe("key_fallback_refused");
    hsm.putBack();
    for (let looks = 0; looks < 600; looks++) {
      if ((await codeOf(store.append(note("s", "three")))) === "nothing was thrown") break;
      await new Promise((resolve) => {
        setTimeout(resolve, 50);
      });
    }
    expect(tiers(store)).toEqual(["os", "os"]);
    await store.close();
  });

  it("opens with the token alone where there is no passphrase", async () => {
    const folder = join(root, `store-${stores++}`);
    const place = { directory: join(folder, "store"), stateDirectory: join(folder, "state") };
    const keys = { pkcs11: hsm.access, deadlines };
    await initStore({ ...place, tenant: "Ward 3", keys });
    const registry = createRegistry([]);
    const store = await openStore({ ...place, keys, registry, projections: [] });
    expect(store.providers.list().map(({ name }) => name)).toEqual(["pkcs11"]);
    await store.close();
    const withoutPin = openStore({ ...place, passphrase, registry, projections: [] });
    expect(await codeOf(withoutPin)).toBe("key_provider_unavailable");
  });

  it("swaps the provider without losing a call", async () => {
    const { open } = await made({ pkcs11: hsm.access });
    const store = await open();
    const { keyPolicyDefault } = await import("@holdfast/core");
    const appends: Promise<unknown>[] = [];
    for (let turn = 0; turn < 20; turn++) {
      appends.push(store.append(note("s", `turn ${turn}`)));
      if (turn % 5 !== 2) continue;
      const allowed = turn === 7 ? (["software"] as const) : keyPolicyDefault.allowed;
      await store.providers.reconfigure({ ...keyPolicyDefault, allowed });
    }
    const answers = await Promise.all(appends);
    expect(answers).toHaveLength(20);
    await store.providers.reconfigure({ ...keyPolicyDefault, allowed: ["software"] });
    await store.append(note("s", "soft"));
    await store.providers.reconfigure(keyPolicyDefault);
    await store.append(note("s", "hard"));
    expect(tiers(store).slice(-2)).toEqual(["software", "os"]);
    expect(store.read({ type: "NoteTaken" })).toHaveLength(22);
    expect(store.verify({ allNotes: true })).toMatchObject({ ok: true, problems: [] });
    await store.close();
  });
});

const noTpm = tpmMissing();
describe.skipIf(noTpm !== undefined)(`a store on a TPM ${noTpm ?? ""}`, () => {
  let tpm: SoftTpm | undefined;
  beforeAll(async () => {
    tpm = await createSoftTpm(join(root, "tpm"));
  });
  afterAll(async () => {
    await tpm?.end();
  });

  it("falls back when the TPM hangs, and returns by itself", async () => {
    if (tpm === undefined) throw new Error("no TPM");
    const { audit, open } = await made({
      tpm: tpm.access,
      deadlines: { ...deadlines, sign: 1_500, signer: 1_500 },
    });
    const store = await open();
    // On a busy machine it may have fallen back by itself: what counts begins on the TPM.
    await untilTier(store, "os");
    audit.length = 0;
    tpm.hang();
    await store.append(note("s", "two"));
    expect(tiers(store).at(-1)).toBe("software");
    expect(audit.find(({ kind }) => kind === "key_fallback")).toMatchObject({
      from: { name: "tpm" },
      to: { name: "software" },
      code: "key_provider_timeout",
    });
    await store.append(note("s", "three"));
    tpm.wake();
    await untilTier(store, "os");
    expect(store.verify({ allNotes: true })).toMatchObject({ ok: true, problems: [] });
    await store.close();
  });
});
