import { generateRecoveryKey } from "@holdfast/core/recovery";
import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import {
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createRecordingObserver,
  createStoreFiles,
} from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";
import { rotationPhases } from "../keys/rotation.ts";
import { createSoftwareProvider } from "../keys/software.ts";
import { frameGeneration } from "../seal/frame.ts";
import { base64url, fromUtf8, utf8 } from "../std/bytes.ts";
import type { Holdfast } from "./holdfast.ts";
import { lifeOf } from "./grant-store.ts";
import { createKeyDesk } from "./key-desk.ts";

const crypto = createNodeCrypto();
const random = systemRandom;
const stores = createStoreFiles({ crypto, random, openFile: openSqlite });
afterAll(stores.remove);

async function made() {
  const clock = createManualClock(1_000_000);
  const timers = { ...clock, soon: (run: () => void) => setImmediate(run) };
  const { test } = await stores.make({ clock, timers });
  const observer = createRecordingObserver();
  const open: typeof test.open = (more = {}) =>
    test.open({ registry: createNoteRegistry(), observer, ...more });
  const keyringText = (): string =>
    fromUtf8(test.files.store.read() ?? utf8("")) +
    fromUtf8(test.files.registered.read() ?? utf8(""));
  return { test, clock, observer, open, keyringText };
}

const phasesOf = (store: Holdfast, key: string): readonly unknown[] =>
  store.audit
    .read({ kinds: ["KeyRotationAdvanced"] })
    .map(({ data }) => data as { key: string; phase: string })
    .filter((facts) => facts.key === key)
    .map(({ phase }) => phase);

const everyPhase = rotationPhases.filter((phase) => phase !== "rolled-back");

/** Leaves, roots and notes: what a rotation must not touch. */
function logOf(store: Holdfast): unknown {
  const { driver } = lifeOf(store).current();
  return {
    leaves: driver.prepare("SELECT position, leaf, header FROM events ORDER BY position").all(),
    notes: driver.prepare("SELECT size, root, note FROM commits ORDER BY number").all(),
  };
}

const provider = (passphrase: string) =>
  createSoftwareProvider({
    crypto,
    random,
    passphrase,
    parameters: undefined,
    cost: { memoryKib: 8, passes: 1, lanes: 1 },
  });

describe("key desk", () => {
  it("rotates the epoch key while appends go on, and says so in the trail", async () => {
    const { test, observer, open, keyringText } = await made();
    const store = await open();
    for (let at = 0; at < 30; at++) await store.append(note(`s${at}`, "1", { scope: `p${at}` }));
    const wraps = [...keyringText().matchAll(/"wrapped":"([^"]+)"/g)].map(([, wrap]) => wrap ?? "");
    const order = { actor: "security/1", why: "scheduled" };
    let appended = 0;
    const rotating = createKeyDesk(store).rotateEpoch(order, () => {
      void store.append(note("meanwhile", String(appended++)));
    });
    expect(await rotating).toMatchObject({ phase: "old-key-destroyed" });
    expect(appended).toBeGreaterThan(5);
    expect(phasesOf(store, "epoch")).toEqual(everyPhase);
    expect(observer.total("rotation_phases", { key: "epoch" })).toBe(7);
    for (const wrap of wraps) expect(keyringText()).not.toContain(wrap);
    expect(store.verify()).toMatchObject({ ok: true, problems: [] });
    await store.close();
    const again = await open();
    expect(again.status()).toMatchObject({ findings: [] });
    expect(again.read({ stream: "s7" })[0]?.data).toEqual({ text: "1" });
    expect(again.read({ type: "IncarnationOpened" })).toHaveLength(1);
    expect(test.marks.size).toBe(1);
    await again.close();
  });

  it("changes the provider key under a store that goes on writing with the same log", async () => {
    const { open } = await made();
    const store = await open();
    await store.append(note("a", "1"));
    const desk = createKeyDesk(store);
    await desk.rotateProvider(provider("another"), { why: "scheduled" });
    await store.append(note("a", "2"));
    expect(phasesOf(store, "provider")).toEqual(everyPhase);
    expect(store.read({ type: "IncarnationOpened" })).toHaveLength(1);
    expect(store.verify()).toMatchObject({ ok: true, problems: [] });
    await store.close();
    await expect(open()).rejects.toThrow(/^key_wrong/);
  });

  it("gives data keys a new generation: frames change, leaves, roots and notes do not", async () => {
    const { open, keyringText } = await made();
    const store = await open();
    for (let at = 0; at < 120; at++)
      await store.append(note(`s${at % 3}`, String(at), { scope: `p${at % 3}` }));
    const driver = lifeOf(store).current().driver;
    const frames = () =>
      driver
        .prepare("SELECT position, key, bytes FROM frames WHERE position <= 121 ORDER BY position")
        .all<{ position: number; key: string; bytes: Uint8Array }>();
    const before = { log: logOf(store), frames: frames() };
    const [scope] = store.read({ stream: "s1" }).map((event) => event.scope);
    const desk = createKeyDesk(store);
    const state = await desk.rotateData({ scopes: [scope ?? ""] }, { why: "exposed" });
    expect(state).toMatchObject({ phase: "verified", keys: 1 });
    expect(phasesOf(store, "data")).toEqual(everyPhase.slice(0, -1));
    const after = frames();
    const changed = after.filter(
      (row, at) => !Buffer.from(row.bytes).equals(before.frames[at]?.bytes ?? utf8("")),
    );
    expect(changed).toHaveLength(40);
    expect(changed.every(({ bytes }) => frameGeneration(bytes) === 2)).toBe(true);
    expect(JSON.stringify(logOf(store))).toContain(
      JSON.stringify((before.log as { leaves: unknown[] }).leaves).slice(1, -1),
    );
    expect(store.verify()).toMatchObject({ ok: true, problems: [] });
    await store.append(note("s1", "next"));
    expect(store.read({ stream: "s1" }).at(-1)?.data).toEqual({ text: "next" });
    // The former generation opens on, until nothing else needs it.
    expect(keyringText()).toMatch(/"generation":1/);
    expect(await desk.rotateData({ former: "destroy" })).toMatchObject({
      phase: "old-key-destroyed",
    });
    expect(keyringText()).not.toMatch(/"generation":1[,}]/);
    expect(store.verify()).toMatchObject({ ok: true, problems: [] });
    await store.close();
    const again = await open();
    expect(again.read({ stream: "s2" })).toHaveLength(40);
    await again.close();
  });

  it("keeps the former generation where a server has events of the store", async () => {
    const { open } = await made();
    const store = await open();
    await store.append(note("a", "1"));
    lifeOf(store)
      .current()
      .driver.exec("INSERT INTO pushed (incarnation, size, owed) VALUES (1, 1, '[]')");
    await expect(createKeyDesk(store).rotateData({ former: "destroy" })).rejects.toThrow(
      /^key_generation_needed/,
    );
    expect(createKeyDesk(store).rotations()).toEqual({ keyring: undefined, data: undefined });
    await store.close();
  });

  it("goes on by itself after a store was closed in the midst of it", async () => {
    const { open } = await made();
    const store = await open();
    for (let at = 0; at < 120; at++) await store.append(note("s", String(at)));
    const data = createKeyDesk(store).rotateData({}, {}, ({ done }) => {
      if (done === 50) void store.close();
    });
    await expect(data).rejects.toThrow(/^(rotation_unfinished|store_closed)/);
    const second = await open();
    await lifeOf(second).rotate(() => Promise.resolve());
    expect(createKeyDesk(second).rotations().data).toMatchObject({ phase: "verified" });
    expect(second.verify()).toMatchObject({ ok: true, problems: [] });
    const epoch = createKeyDesk(second).rotateEpoch({}, ({ phase }) => {
      if (phase === "primary") void second.close();
    });
    await expect(epoch).rejects.toThrow(/^(rotation_unfinished|store_closed)/);
    const third = await open();
    await lifeOf(third).rotate(() => Promise.resolve());
    expect(createKeyDesk(third).rotations().keyring).toMatchObject({ phase: "old-key-destroyed" });
    expect(phasesOf(third, "epoch").at(-1)).toBe("old-key-destroyed");
    expect(third.status().findings).toEqual([]);
    await third.close();
  });

  it("does one rotation after the other, however many are asked for at once", async () => {
    const { open } = await made();
    const store = await open();
    for (let at = 0; at < 60; at++) await store.append(note("s", String(at)));
    const desk = createKeyDesk(store);
    const steps: string[] = [];
    const [epoch, again, data] = await Promise.all([
      desk.rotateEpoch({}, ({ phase }) => void steps.push(`epoch ${phase}`)),
      desk.rotateEpoch({}, ({ phase }) => void steps.push(`again ${phase}`)),
      desk.rotateData({ former: "destroy" }, {}, ({ phase }) => void steps.push(`data ${phase}`)),
    ]);
    for (const { phase } of [epoch, again, data]) expect(phase).toBe("old-key-destroyed");
    const whose = steps.map((step) => step.split(" ")[0]);
    expect(whose.filter((name, at) => name !== whose[at - 1])).toEqual(["epoch", "again", "data"]);
    expect(store.verify()).toMatchObject({ ok: true, problems: [] });
    await store.close();
  });

  it("gives the device a new signing key: the old log is handed over, the old private key goes", async () => {
    const { open } = await made();
    const store = await open();
    await store.append(note("a", "1"));
    const { incarnation } = store.status();
    const keyring = lifeOf(store).deps.keyring;
    const made2 = await createKeyDesk(store).rotateSigning({ why: "scheduled" });
    expect(made2.incarnation).not.toBe(incarnation);
    const opening = store.read({ type: "IncarnationOpened" }).at(-1);
    expect(opening?.header.pub).toMatchObject({ reason: "re-key", predecessor: incarnation });
    expect(() => keyring.signer(incarnation)).toThrow(/^keyring_record_missing/);
    expect(keyring.signingKeys()).toHaveLength(2);
    await store.append(note("a", "2"));
    expect(store.verify()).toMatchObject({ ok: true, problems: [] });
    await store.close();
    const again = await open();
    await again.append(note("a", "3"));
    expect(again.status()).toMatchObject({ findings: [], incarnation: made2.incarnation });
    expect(again.verify()).toMatchObject({ ok: true });
    await again.close();
  });

  it("gives the installation a new HPKE key, named by its next log", async () => {
    const { open } = await made();
    const store = await open();
    await store.append(note("a", "1"));
    const keyring = lifeOf(store).deps.keyring;
    const old = keyring.hpke().publicKey;
    const { public: fresh } = await createKeyDesk(store).rotateHpke();
    expect(base64url(keyring.hpke().publicKey)).toBe(fresh);
    expect(keyring.hpkePrivateKey(old)).toBe(undefined);
    expect(phasesOf(store, "hpke")).toEqual(["planned", "old-key-destroyed"]);
    expect(store.verify()).toMatchObject({ ok: true, problems: [] });
    await store.close();
  });

  it("drills a recovery key, and every later signing key is in its escrow", async () => {
    const { open } = await made();
    const store = await open();
    await store.append(note("a", "1"));
    const key = await generateRecoveryKey(random);
    const desk = createKeyDesk(store);
    await desk.recovery.add(key.recipient, { actor: "security/1" });
    await desk.rotateSigning();
    expect(await desk.recovery.drill(key.words)).toMatchObject({
      signingKeys: 1,
      withoutEscrow: 0,
    });
    await expect(desk.recovery.drill("no words")).rejects.toThrow(/^recovery_key_malformed/);
    expect(store.audit.read({ kinds: ["RecoveryKeyAdded", "RecoveryKeyDrilled"] })).toHaveLength(2);
    await store.close();
  });
});
