import { type Holdfast, isHoldfastError, type Keyring } from "@holdfast/core";
import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import {
  createNoteDraft as note,
  createNoteRegistry,
  createRecordingObserver,
  createWeightDraft as weight,
  settle,
  type TestOpenOptions,
  createStoreFiles,
} from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { AppendResult } from "./append.ts";

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

function eventsOf(result: AppendResult) {
  if (result.status !== "appended") throw new Error("a conflict");
  return result.events;
}

const id = (last: number): string => `01a1f9e4-37d1-76cd-959e-${String(last).padStart(12, "0")}`;

/** Everything recorded is there once, in order, without gaps, and verifies. */
function checkWhole(store: Holdfast, texts: readonly string[]): void {
  const read = store.read({ type: "NoteTaken" });
  expect(read.map(({ data }) => (data as { text: string }).text)).toEqual(texts);
  expect(store.read().map(({ position }) => position)).toEqual(store.read().map((_, at) => at + 1));
  expect(store.verify({ allNotes: true })).toMatchObject({ ok: true, problems: [] });
}

describe("group commit", () => {
  it("writes one note for 64 concurrent appends", async () => {
    const { observer, open } = await made();
    const store = await open();
    await store.append(note("first", "opens the incarnation"));
    observer.clear();
    const results = await Promise.all(
      Array.from({ length: 64 }, (_, at) => store.append(note(`s${at}`, "x"))),
    );
    const leaves = results.flatMap((result) => eventsOf(result).map(({ leaf }) => leaf));
    expect(observer.total("commits")).toBe(1);
    expect(observer.seen).toContainEqual({
      kind: "observe",
      metric: "commit_events",
      value: 64,
      labels: {},
    });
    expect(new Set(leaves.map((leaf) => store.prove(leaf).note)).size).toBe(1);
    expect(observer.total("append_events")).toBe(64);
    await store.close();
  });

  it("leaves no gap for a call of the group that is refused", async () => {
    const { open } = await made();
    const store = await open();
    const outcomes = await Promise.allSettled([
      store.append(note("a", "1", { scope: "ada" })),
      store.append([note("b", "never"), note("a", "never", { scope: "bob" })]),
      store.append([note("c", "never"), note("c", "never", { op: "sign", ref: ["B".repeat(43)] })]),
      store.append(note("b", "2")),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual([
      "fulfilled",
      "rejected",
      "rejected",
      "fulfilled",
    ]);
    const reasons = outcomes.flatMap((o) =>
      o.status === "rejected" ? [o.reason as HoldfastError] : [],
    );
    expect(reasons.map(({ code }) => code)).toEqual(["stream_scope_conflict", "draft_invalid"]);
    checkWhole(store, ["1", "2"]);
    await store.close();
  });

  it("keeps together what one commit takes, and never splits a call", async () => {
    const { observer, open } = await made();
    const store = await open();
    observer.clear();
    const text = "x".repeat(200_000);
    const half = Array.from(
      { length: Math.ceil(limits.commitBytesMax / text.length / 2) + 1 },
      (_, at) => note(`n${at}`, text),
    );
    await Promise.all([
      store.append(half),
      store.append(half.map((draft) => ({ ...draft, stream: `${draft.stream}b` }))),
    ]);
    expect(observer.total("commits")).toBe(2);
    expect(await codeOf(store.append([...half, ...half]))).toBe("batch_too_large");
    await store.close();
  });

  it("refuses more events than a batch may have, and answers none at once", async () => {
    const { open } = await made();
    const store = await open();
    const many = Array.from({ length: limits.batchEventsMax + 1 }, () => note("s", "x"));
    expect(await codeOf(store.append(many))).toBe("batch_too_large");
    expect(await store.append([])).toEqual({ status: "appended", events: [] });
    checkWhole(store, []);
    await store.close();
  });
});

describe("expectations", () => {
  it("are met by the frontier, by none, or answered as conflict", async () => {
    const { open } = await made();
    const store = await open();
    expect(store.frontier("s")).toBeUndefined();
    const first = await store.append(note("s", "1"), { expect: "none" });
    expect(first.status).toBe("appended");
    const frontier = store.frontier("s");
    expect(await store.append(note("s", "never"), { expect: "none" })).toEqual({
      status: "conflict",
      stream: store.streamId("s"),
      frontier,
    });
    expect((await store.append(note("s", "2"), { expect: frontier ?? "none" })).status).toBe(
      "appended",
    );
    expect((await store.append(note("s", "never"), { expect: frontier ?? "none" })).status).toBe(
      "conflict",
    );
    expect((await store.append(note("t", "never"), { expect: {} })).status).toBe("conflict");
    checkWhole(store, ["1", "2"]);
    await store.close();
  });

  it("see the heads of the calls before them in the same group", async () => {
    const { open } = await made();
    const store = await open();
    const results = await Promise.all([
      store.append(note("s", "1"), { expect: "none" }),
      store.append(note("s", "never"), { expect: "none" }),
      store.append(note("t", "2"), { expect: "none" }),
    ]);
    expect(results.map(({ status }) => status)).toEqual(["appended", "conflict", "appended"]);
    expect(results[1]).toMatchObject({ frontier: store.frontier("s") });
    checkWhole(store, ["1", "2"]);
    await store.close();
  });

  it("do not see the heads of a call that was refused", async () => {
    const { open } = await made();
    const store = await open();
    const bad = note("s", "never", { op: "sign", ref: ["B".repeat(43)] });
    const [refused, taken] = await Promise.allSettled([
      store.append([note("s", "never"), bad]),
      store.append(note("s", "1"), { expect: "none" }),
    ]);
    expect(refused.status).toBe("rejected");
    expect(taken).toMatchObject({ status: "fulfilled", value: { status: "appended" } });
    checkWhole(store, ["1"]);
    await store.close();
  });
});

describe("drafts that are handed over twice", () => {
  const draft = note("s", "once", { id: id(1) });
  const altered = [
    note("s", "other", { id: id(1) }),
    note("t", "once", { id: id(1) }),
    weight("s", 1, { id: id(1) }),
    { ...draft, op: "review" } as const,
  ];

  it("are recorded once: in one call, in one group, later, and after a restart", async () => {
    const { open } = await made();
    let store = await open();
    const [one, two] = await Promise.all([store.append([draft, draft]), store.append(draft)]);
    const [event] = eventsOf(one);
    expect(event?.duplicate).toBe(false);
    const repeated = [{ ...event, duplicate: true }];
    expect(eventsOf(one).slice(1)).toEqual(repeated);
    expect(eventsOf(two)).toEqual(repeated);
    expect(eventsOf(await store.append(draft))).toEqual(repeated);
    await store.close();
    store = await open();
    expect(eventsOf(await store.append(draft))).toEqual(repeated);
    const mixed = eventsOf(await store.append([draft, note("s", "twice")]));
    expect(mixed.map(({ duplicate }) => duplicate)).toEqual([true, false]);
    checkWhole(store, ["once", "twice"]);
    await store.close();
  });

  it("are refused when they say something else, wherever the first one stands", async () => {
    const { open } = await made();
    let store = await open();
    for (const other of altered) {
      expect(await codeOf(store.append([note("u", "never", { id: id(9) }), draft, other]))).toBe(
        "event_id_conflict",
      );
    }
    const [taken, ...refused] = await Promise.allSettled(
      [draft, ...altered].map((d) => store.append(d)),
    );
    expect(taken?.status).toBe("fulfilled");
    expect(refused.map(({ status }) => status)).toEqual(altered.map(() => "rejected"));
    await store.close();
    store = await open();
    for (const other of altered)
      expect(await codeOf(store.append(other))).toBe("event_id_conflict");
    checkWhole(store, ["once"]);
    await store.close();
  });

  it("meet no expectation again once they are recorded", async () => {
    const { open } = await made();
    const store = await open();
    await store.append(draft, { expect: "none" });
    const again = await store.append(draft, { expect: "none" });
    expect(eventsOf(again)[0]?.duplicate).toBe(true);
    await store.close();
  });
});

describe("a sealing that fails", () => {
  it.each<readonly [string, () => Error]>([
    ["with a code", () => new HoldfastError("key_provider_unavailable")],
    ["with anything else", () => new Error("the token was pulled")],
  ])("%s gives its sequence numbers back", async (_, failure) => {
    const { test, clock, open } = await made();
    let failing = false;
    const keyring = (inner: Keyring): Keyring =>
      new Proxy(inner, {
        get(target, name) {
          if (name === "signer") {
            return async (incarnation: string) => {
              const sign = await target.signer(incarnation);
              return (message: Uint8Array) => {
                if (failing) throw failure();
                return sign(message);
              };
            };
          }
          const value: unknown = Reflect.get(target, name);
          return typeof value === "function" ? (value.bind(target) as unknown) : value;
        },
      });
    const store = await open({ keyring });
    await store.append(note("s", "1"));
    failing = true;
    const lost = await Promise.allSettled([
      store.append(note("s", "never")),
      store.append(note("t", "never")),
    ]);
    expect(lost.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    failing = false;
    await settle(clock, store.append(note("s", "2")));
    checkWhole(store, ["1", "2"]);
    const { head } = store.status();
    expect(head.sequence).toBe(3);
    await store.close();
    // The lease was given back: the next opener does not wait for it to expire.
    const next = await open();
    expect((await settle(clock, next.append(note("s", "3")))).status).toBe("appended");
    await next.close();
    expect(test.marks.size).toBe(1);
  });
});

/** The COMMIT of events, not that of a lease. */
const commit = { sql: /^COMMIT/, afterSql: /^INSERT INTO events/ };

describe("a commit whose outcome is unknown", () => {
  it.each(["SQLITE_IOERR_FSYNC", "SQLITE_IOERR_WRITE"])(
    "that happened is answered as it is (%s)",
    async (result) => {
      const { clock, faults, observer, open } = await made();
      const store = await open();
      await store.append(note("s", "1"));
      faults.plan({ ...commit, when: "after", result });
      const answered = await settle(clock, store.append([note("s", "2"), note("t", "3")]));
      expect(eventsOf(answered).map(({ duplicate, sequence }) => [duplicate, sequence])).toEqual([
        [false, 3],
        [false, 4],
      ]);
      expect(observer.total("commit_unknown", { outcome: "present" })).toBe(1);
      await settle(clock, store.append(note("s", "4")));
      checkWhole(store, ["1", "2", "3", "4"]);
      await store.close();
    },
  );

  it("that did not happen is sealed anew", async () => {
    const { clock, faults, observer, open } = await made();
    const store = await open();
    await store.append(note("s", "1"));
    faults.plan({ ...commit, when: "before", result: "SQLITE_IOERR_FSYNC" });
    const answered = await settle(clock, store.append(note("s", "2", { id: id(2) })));
    expect(eventsOf(answered)[0]).toMatchObject({ id: id(2), duplicate: false, sequence: 3 });
    expect(observer.total("commit_unknown", { outcome: "absent" })).toBe(1);
    expect(observer.logged("store_reopened")).toBeGreaterThan(0);
    checkWhole(store, ["1", "2"]);
    await store.close();
  });

  it("is not recorded twice when the medium is away for a moment", async () => {
    const { clock, faults, open } = await made();
    const store = await open();
    await store.append(note("s", "1"));
    for (const away of [1, 2]) {
      faults.plan({ ...commit, when: "after", result: "SQLITE_IOERR_FSYNC" });
      faults.planOpening("SQLITE_IOERR_READ", away);
      await settle(clock, store.append(note("s", `away ${away}`)));
    }
    checkWhole(store, ["1", "away 1", "away 2"]);
    await store.close();
  });

  it("is refused when the medium stays away, and the id tells the caller later", async () => {
    const { clock, faults, open } = await made();
    const store = await open();
    await store.append(note("s", "1"));
    const draft = note("s", "2", { id: id(2) });
    faults.plan({ ...commit, when: "after", result: "SQLITE_IOERR_FSYNC" });
    faults.planOpening("SQLITE_IOERR_READ", 1_000);
    await expect(settle(clock, store.append(draft))).rejects.toThrow(
      /^store_io_error.*outcome=unknown/,
    );
    expect(await codeOf(settle(clock, store.append(note("s", "never"))))).toBe("store_io_error");
    faults.heal();
    expect(eventsOf(await settle(clock, store.append(draft)))[0]?.duplicate).toBe(true);
    checkWhole(store, ["1", "2"]);
    await store.close();
  });

  it("that never happens ends after some tries", async () => {
    const { clock, faults, open } = await made();
    const store = await open();
    await store.append(note("s", "1"));
    faults.plan({
      sql: /^INSERT INTO frames/,
      when: "before",
      result: "SQLITE_IOERR_WRITE",
      times: 1_000,
    });
    expect(await codeOf(settle(clock, store.append(note("s", "never"))))).toBe("store_io_error");
    faults.heal();
    await settle(clock, store.append(note("s", "2")));
    checkWhole(store, ["1", "2"]);
    await store.close();
  });
});

describe("a full disk", () => {
  it("refuses the call, and writing resumes by itself", async () => {
    const { clock, faults, open } = await made();
    const store = await open();
    await store.append(note("s", "1"));
    for (const fault of [{ sql: /^INSERT INTO events/ }, commit, { sql: /^INSERT INTO outbox/ }]) {
      faults.plan({ ...fault, when: "before", result: "SQLITE_FULL" });
      expect(await codeOf(settle(clock, store.append(note("s", "never"))))).toBe("store_full");
      expect(store.read({ type: "NoteTaken" })).toHaveLength(1);
    }
    await settle(clock, store.append(note("s", "2")));
    checkWhole(store, ["1", "2"]);
    await store.close();
  });
});

describe("closing", () => {
  it("waits for the calls under way and refuses those that come later", async () => {
    const { clock, open } = await made();
    const store = await open();
    const [one, two] = [store.append(note("s", "1")), store.append(note("t", "2"))];
    const closing = store.close();
    expect((await one).status).toBe("appended");
    expect((await two).status).toBe("appended");
    await closing;
    await store.close();
    expect(await codeOf(store.append(note("s", "never")))).toBe("store_closed");
    expect(() => store.read()).toThrow(/^store_closed/);
    expect(await codeOf(store.rebuild("any"))).toBe("store_closed");
    expect(clock.pending).toBe(0);
    const again = await open();
    checkWhole(again, ["1", "2"]);
    await again.close();
  });
});
