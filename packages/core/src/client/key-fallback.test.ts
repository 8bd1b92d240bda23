import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import {
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createRecordingObserver,
  createSimulatedDevice,
  createSimulatedProvider,
  settle,
  type TestOpenOptions,
  type TestStoreKeys,
  createStoreFiles,
} from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";
import type { KeyAuditEvent } from "../keys/key-audit.ts";
import { keyPolicyDefault, type KeyPolicy } from "../keys/policy.ts";
import type { OpenProvider } from "../keys/provider.ts";
import { createSoftwareProvider } from "../keys/software.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import type { Holdfast } from "./holdfast.ts";

const crypto = createNodeCrypto();
const cost = { memoryKib: 8, passes: 1, lanes: 1 };
const stores = createStoreFiles({ crypto, random: systemRandom, openFile: openSqlite });
afterAll(stores.remove);

/** A store on a simulated device that passes for hardware, with a passphrase as its second wrap. */
async function made(policy: Partial<KeyPolicy> = {}) {
  const clock = createManualClock(1_000_000);
  const observer = createRecordingObserver();
  const device = createSimulatedDevice();
  const audit: KeyAuditEvent[] = [];
  const software = (passphrase: string, parameters?: Parameters<OpenProvider>[0]["parameters"]) =>
    createSoftwareProvider({ crypto, random: systemRandom, passphrase, parameters, cost });
  const onDevice = (parameters?: Parameters<OpenProvider>[0]["parameters"]) =>
    createSimulatedProvider({
      over: software("pin", parameters),
      device,
      timers: clock,
      assurance: "hardware",
    });
  const open: OpenProvider = (record) => {
    if (record.name !== "simulator") return software("words", record.parameters);
    return device.state === "gone"
      ? Promise.reject(codeError("key_provider_failed"))
      : Promise.resolve(onDevice(record.parameters));
  };
  const allowed: KeyPolicy["allowed"] = ["simulator", "software"];
  const use = {
    policy: { ...keyPolicyDefault, allowed, ...policy },
    time: { clock, timers: clock },
    observer,
    audit: { note: (event: KeyAuditEvent) => void audit.push(event) },
  };
  const keys: TestStoreKeys = { make: () => [onDevice(), software("words")], open, use };
  const { test } = await stores.make({ clock, keys });
  const start = (more: TestOpenOptions = {}): Promise<Holdfast> =>
    settle(clock, test.open({ registry: createNoteRegistry(), observer, ...more }));
  const kinds = (): readonly string[] =>
    audit.map(({ kind }) => kind).filter((kind) => kind !== "key_operation");
  return { test, clock, observer, device, audit, kinds, start, openProvider: open };
}

function codeError(code: "key_provider_failed"): HoldfastError {
  return new HoldfastError(code);
}

function tiers(store: Holdfast): readonly string[] {
  return store.read({ type: "NoteTaken" }).map(({ header }) => header.tier);
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "nothing was thrown";
  } catch (error) {
    return isHoldfastError(error) ? error.code : String(error);
  }
}

describe("a store with two key providers", () => {
  for (const [state, code] of [
    ["gone", "key_provider_failed"],
    ["hangs", "key_provider_timeout"],
    ["lies", "key_answer_wrong"],
  ] as const) {
    it(`goes on with the second one when the device ${state}, and returns by itself`, async () => {
      const { clock, device, kinds, start, observer, audit } = await made();
      const store = await start();
      await settle(clock, store.append(note("s", "one")));
      device.state = state;
      const before = clock.monotonic();
      await settle(clock, store.append(note("s", "two")));
      // The deadline is 40 ms; the manual clock moves by 5.
      expect(clock.monotonic() - before).toBeLessThan(40 + 50);
      expect(tiers(store)).toEqual(["hardware", "software"]);
      expect(observer.total("key_fallbacks", { from: "simulator", to: "software" })).toBe(1);
      const fallback = audit.find(({ kind }) => kind === "key_fallback");
      expect(fallback).toMatchObject({
        code,
        from: { name: "simulator" },
        to: { name: "software" },
      });
      await settle(clock, store.append(note("s", "three")));
      device.state = "well";
      clock.advance(1_000);
      await settle(clock, new Promise((resolve) => clock.after(5_000, () => resolve(undefined))));
      await settle(clock, store.append(note("s", "four")));
      expect(tiers(store)).toEqual(["hardware", "software", "software", "hardware"]);
      expect(kinds().slice(-5)).toEqual([
        "provider_failed",
        "key_fallback",
        "provider_opened",
        "provider_returned",
        "key_fallback_ended",
      ]);
      expect(store.verify({ allNotes: true })).toMatchObject({ ok: true, problems: [] });
      await settle(clock, store.audit.settled());
      const trail = ["KeyProviderFellBack", "KeyProviderReturned"] as const;
      expect(store.audit.read({ kinds: trail }).map(({ data }) => data)).toEqual([
        { from: "simulator", to: "software", operation: "sign", code },
        { provider: "simulator" },
      ]);
      await settle(clock, store.close());
    });
  }

  it("opens through the second wrap when the device is gone, on the incarnation opened for it", async () => {
    const { clock, device, start } = await made();
    const first = await start();
    await settle(clock, first.append(note("s", "one")));
    const incarnation = first.status().incarnation;
    await settle(clock, first.close());
    device.state = "hangs";
    const second = await start();
    await settle(clock, second.append(note("s", "two")));
    expect(tiers(second)).toEqual(["hardware", "software"]);
    expect(second.status().incarnation).not.toBe(incarnation);
    await settle(clock, second.audit.settled());
    expect(second.audit.read({ kinds: ["KeyProviderFellBack"] })).toMatchObject([
      { data: { from: "simulator", to: "software", code: "key_provider_timeout" } },
    ]);
    const opened = second.read({ type: "IncarnationOpened" }).map(({ header }) => header);
    expect(opened.map(({ pub, tier }) => [pub?.["reason"], pub?.["predecessor"], tier])).toEqual([
      ["first", undefined, "hardware"],
      ["fallback", incarnation, "software"],
    ]);
    await settle(clock, second.close());
    device.state = "well";
    const third = await start();
    await settle(clock, third.append(note("s", "three")));
    expect(tiers(third)).toEqual(["hardware", "software", "hardware"]);
    expect(third.status().incarnation).toBe(incarnation);
    expect(third.verify({ allNotes: true })).toMatchObject({ ok: true, problems: [] });
    await settle(clock, third.close());
  });

  it("fails closed where the policy says never, and loses nothing", async () => {
    const { clock, device, start, observer } = await made({ fallback: "never" });
    const store = await start();
    await settle(clock, store.append(note("s", "one")));
    device.state = "gone";
    expect(await codeOf(settle(clock, store.append(note("s", "two"))))).toBe(
      "key_fallback_refused",
    );
    expect(store.read({ type: "IncarnationOpened" })).toHaveLength(1);
    expect(observer.total("key_fallbacks")).toBe(0);
    device.state = "well";
    clock.advance(1_000);
    await settle(clock, new Promise((resolve) => clock.after(5_000, () => resolve(undefined))));
    await settle(clock, store.append(note("s", "three")));
    expect(tiers(store)).toEqual(["hardware", "hardware"]);
    await settle(clock, store.close());
  });

  it("returns by itself, too, when it was configured anew while it was away", async () => {
    const { clock, device, start, openProvider } = await made();
    const store = await start();
    await settle(clock, store.append(note("s", "one")));
    device.state = "gone";
    await settle(clock, store.append(note("s", "two")));
    const policy: KeyPolicy = { ...keyPolicyDefault, allowed: ["simulator", "software"] };
    await settle(clock, store.providers.reconfigure(policy, openProvider));
    expect(store.providers.list()).toMatchObject([
      { name: "simulator", state: "failing", code: "key_provider_failed", breaker: "open" },
      { name: "software", state: "ready", chosen: true },
    ]);
    device.state = "well";
    await settle(clock, new Promise((resolve) => clock.after(5_000, () => resolve(undefined))));
    expect(store.providers.list()[0]).toMatchObject({ state: "ready", chosen: true });
    device.state = "gone";
    await settle(clock, store.append(note("s", "three")));
    device.state = "well";
    await settle(clock, store.providers.reconfigure(policy, openProvider));
    expect(store.providers.list()[0]).toMatchObject({ state: "ready", breaker: "closed" });
    await settle(clock, store.append(note("s", "four")));
    expect(tiers(store)).toEqual(["hardware", "software", "software", "hardware"]);
    await settle(clock, store.close());
  });

  it("moves each line on when the store is moved", async () => {
    const { test, clock, device, start } = await made();
    await settle(clock, (await start()).close());
    test.place = { folder: "/elsewhere", identity: "2" };
    device.state = "gone";
    const store = await start();
    await settle(clock, store.append(note("s", "one")));
    device.state = "well";
    clock.advance(1_000);
    await settle(clock, new Promise((resolve) => clock.after(5_000, () => resolve(undefined))));
    await settle(clock, store.append(note("s", "two")));
    expect(tiers(store)).toEqual(["software", "hardware"]);
    const reasons = store
      .read({ type: "IncarnationOpened" })
      .map(({ header }) => header.pub?.["reason"]);
    expect(reasons).toEqual(["first", "fallback", "moved", "moved"]);
    expect(store.verify({ allNotes: true })).toMatchObject({ ok: true, problems: [] });
    await settle(clock, store.close());
  });
});
