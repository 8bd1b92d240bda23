import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import {
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createSimulatedDevice,
  createSimulatedProvider,
  settle,
  type TestStoreKeys,
  createStoreFiles,
} from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";
import { keyPolicyDefault } from "../keys/policy.ts";
import { createSoftwareProvider } from "../keys/software.ts";
import type { Holdfast } from "./holdfast.ts";
import { createKeyDesk } from "./key-desk.ts";

const crypto = createNodeCrypto();
const random = systemRandom;
const cost = { memoryKib: 8, passes: 1, lanes: 1 };
const stores = createStoreFiles({ crypto, random, openFile: openSqlite });
afterAll(stores.remove);

type Parameters = ReturnType<typeof createSoftwareProvider>["parameters"];

const software = (passphrase: string, parameters?: Parameters) =>
  createSoftwareProvider({ crypto, random, passphrase, parameters, cost });

async function made(keys?: (clock: ReturnType<typeof createManualClock>) => TestStoreKeys) {
  const clock = createManualClock(1_000_000);
  const timers = { ...clock, soon: (run: () => void) => setImmediate(run) };
  const own = keys === undefined ? {} : { keys: keys(clock) };
  const { test } = await stores.make({ clock, timers, ...own });
  const open = (): Promise<Holdfast> => test.open({ registry: createNoteRegistry() });
  return { clock, open };
}

const reasonsOf = (store: Holdfast): readonly unknown[] =>
  store.read({ type: "IncarnationOpened" }).map(({ header }) => header.pub?.["reason"]);

describe("a key provider in the place of another", () => {
  it("is the one of its kind: a new passphrase leaves the device to sign, and serves as its fallback", async () => {
    const device = createSimulatedDevice();
    let words = "old";
    const { clock, open } = await made((timers) => {
      const onDevice = (parameters?: Parameters) =>
        createSimulatedProvider({
          over: software("pin", parameters),
          device,
          timers,
          assurance: "hardware",
        });
      return {
        make: () => [onDevice(), software("old")],
        open: ({ name, parameters }) =>
          Promise.resolve(
            name === "simulator" ? onDevice(parameters) : software(words, parameters),
          ),
        use: {
          policy: { ...keyPolicyDefault, allowed: ["simulator", "software"] },
          time: { clock: timers, timers },
        },
      };
    });
    const store = await settle(clock, open());
    await settle(clock, store.append(note("s", "one")));
    const order = { why: "scheduled" };
    await settle(clock, createKeyDesk(store).rotateProvider(software("new"), order));
    await settle(clock, store.append(note("s", "two")));
    const standings = store.providers.list();
    expect(standings.map(({ name, state, chosen }) => [name, state, chosen])).toEqual([
      ["simulator", "ready", true],
      ["software", "ready", false],
    ]);
    device.state = "hangs";
    await settle(clock, store.append(note("s", "three")));
    const tiers = store.read({ type: "NoteTaken" }).map(({ header }) => header.tier);
    expect(tiers).toEqual(["hardware", "hardware", "software"]);
    expect(reasonsOf(store)).toEqual(["first", "fallback"]);
    expect(store.verify({ allNotes: true })).toMatchObject({ ok: true, problems: [] });
    await settle(clock, store.close());
    await expect(settle(clock, open())).rejects.toThrow(/^key_/);
    words = "new";
    const again = await settle(clock, open());
    await settle(clock, again.append(note("s", "four")));
    expect(reasonsOf(again)).toEqual(["first", "fallback"]);
    await settle(clock, again.close());
  });

  it("is refused before anything is written when the policy would not let it be used", async () => {
    const device = createSimulatedDevice();
    const { open } = await made((timers) => ({
      make: () => [
        createSimulatedProvider({ over: software("pin"), device, timers, assurance: "hardware" }),
      ],
      open: ({ parameters }) =>
        Promise.resolve(
          createSimulatedProvider({
            over: software("pin", parameters),
            device,
            timers,
            assurance: "hardware",
          }),
        ),
      use: {
        policy: { ...keyPolicyDefault, allowed: ["simulator", "software"], minimum: "hardware" },
      },
    }));
    const store = await open();
    const rotated = createKeyDesk(store).rotateProvider(software("new"), { why: "scheduled" });
    await expect(rotated).rejects.toThrow("key_assurance_low");
    await store.append(note("s", "one"));
    expect(store.audit.read({ kinds: ["KeyRotationAdvanced"] })).toEqual([]);
    await store.close();
  });

  it("ends what another process does with the former one, which records nothing more", async () => {
    const { open } = await made();
    const [store, other] = [await open(), await open()];
    await store.append(note("s", "one"));
    await createKeyDesk(store).rotateProvider(software("new"), { why: "scheduled" });
    await store.close();
    await expect(other.append(note("s", "two"))).rejects.toThrow(/^key_provider_unavailable/);
    expect(other.providers.list()).toEqual([]);
    expect(reasonsOf(other)).toEqual(["first"]);
    expect(other.read({ type: "NoteTaken" })).toHaveLength(1);
    await other.close();
  });
});
