import { type Holdfast, isHoldfastError } from "@holdfast/core";
import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import {
  createNoteDraft as note,
  createNoteRegistry,
  createRecordingObserver,
  createTestProcess,
  createWeightDraft as weight,
  settle,
  type TestOpenOptions,
  createStoreFiles,
} from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";
import { limits } from "../std/limits.ts";
import { createLease } from "./lease.ts";
import { openForWriting } from "./session.ts";
import { createWriter } from "./writer.ts";

const crypto = createNodeCrypto();
const stores = createStoreFiles({ crypto, random: systemRandom, openFile: openSqlite });
afterAll(stores.remove);

async function made() {
  const { test, clock, faults } = await stores.make();
  const registry = createNoteRegistry();
  const observer = createRecordingObserver();
  const open = (more: TestOpenOptions = {}): Promise<Holdfast> =>
    test.open({ registry, observer, ...more });
  return { test, clock, faults, observer, open };
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return isHoldfastError(error) ? error.code : String(error);
}

/** Everything recorded is there once, in order, without gaps, and verifies. */
function checkWhole(store: Holdfast, texts: readonly string[]): void {
  const read = store.read({ type: "NoteTaken" });
  expect(read.map(({ data }) => (data as { text: string }).text)).toEqual(texts);
  expect(store.read().map(({ position }) => position)).toEqual(store.read().map((_, at) => at + 1));
  expect(store.verify({ allNotes: true })).toMatchObject({ ok: true, problems: [] });
}

describe("a queue that is full", () => {
  it("refuses calls with store_overloaded, and answers those that wait", async () => {
    const { test, clock, observer } = await made();
    const deps = { crypto, clock, keyring: await test.openKeyring(), medium: test.medium };
    const session = openForWriting({ ...deps, process: createTestProcess() });
    const other = createLease({ driver: session.driver, clock, process: createTestProcess() });
    other.tryAcquire();
    const never = (): never => {
      throw new Error("nobody becomes the writer here");
    };
    const writer = createWriter({
      ...deps,
      random: systemRandom,
      timers: clock,
      observer,
      newId: never,
      session: () => ({ ...session, participants: [] }),
      reopen: () => undefined,
      becomeWriter: never,
      isCurrent: never,
      committed: never,
    });
    const call = { drafts: [], expect: undefined };
    const waiting = Array.from({ length: limits.writerQueueCallsMax }, () =>
      codeOf(writer.append(call)),
    );
    expect(await codeOf(writer.append(call))).toBe("store_overloaded");
    const answers = await settle(clock, Promise.all(waiting));
    expect(new Set(answers)).toEqual(new Set(["store_busy"]));
    await writer.close();
    session.driver.close();
  });
});

describe("openers that share a store", () => {
  it("alternate, and lose nothing", async () => {
    const { clock, open } = await made();
    const [one, two] = [await open(), await open()];
    const texts: string[] = [];
    for (let turn = 0; turn < 10; turn++) {
      const store = turn % 2 === 0 ? one : two;
      await settle(clock, store.append(note("s", `turn ${turn}`)));
      texts.push(`turn ${turn}`);
    }
    checkWhole(one, texts);
    checkWhole(two, texts);
    await one.close();
    await two.close();
  });

  it("give way to each other while both have much to write", async () => {
    const { clock, open } = await made();
    const stores = [await open(), await open()];
    const written = stores.map(async (store, at) => {
      for (let count = 0; count < 15; count++) await store.append(weight(`w${at}`, count));
    });
    await settle(clock, Promise.all(written));
    for (const store of stores) {
      expect(store.read({ type: "WeightMeasured" })).toHaveLength(30);
      expect(store.verify().ok).toBe(true);
      await store.close();
    }
  });

  it("name the holder who never gives way", async () => {
    const { test, clock, observer, open } = await made();
    const store = await open();
    const rival = openForWriting({
      crypto,
      clock,
      keyring: await test.openKeyring(),
      medium: test.medium,
      process: { holder: "the rival", isGone: () => false },
    });
    await settle(clock, store.append(note("s", "1")));
    clock.advance(limits.leaseIdleMs);
    expect(rival.lease.tryAcquire().status).toBe("held");
    await expect(settle(clock, store.append(note("s", "never")))).rejects.toThrow(
      /^store_busy.*holder=the rival/,
    );
    expect(observer.total("lease_waits", { result: "busy" })).toBe(1);
    clock.advance(limits.leaseExpiryMs);
    await settle(clock, store.append(note("s", "2")));
    expect(observer.logged("lease_taken_over")).toBe(1);
    checkWhole(store, ["1", "2"]);
    await store.close();
    rival.driver.close();
  });

  it("go on after the lease was taken from them mid-way", async () => {
    const { clock, open } = await made();
    const slow = await open();
    await slow.append(note("s", "1"));
    // Believes that the other process is gone: takes the lease over while the slow one still trusts it.
    const rash = await open({ process: { holder: "rash", isGone: () => true } });
    await settle(clock, rash.append(note("s", "2")));
    await settle(clock, slow.append(note("s", "3"), { expect: rash.frontier("s") ?? "none" }));
    checkWhole(slow, ["1", "2", "3"]);
    await slow.close();
    await rash.close();
  });

  it("give an idle lease back", async () => {
    const { clock, open } = await made();
    const [one, two] = [await open(), await open()];
    const idle = async (): Promise<void> => {
      await new Promise((resolve) => setImmediate(resolve));
      clock.advance(limits.leaseIdleMs);
    };
    await settle(clock, one.append(note("s", "1")));
    await idle();
    // No time passes from here on: whoever would have to wait would never end.
    expect((await two.append(note("s", "2"))).status).toBe("appended");
    await idle();
    expect((await one.append(note("s", "3"))).status).toBe("appended");
    await one.close();
    await two.close();
  });
});
