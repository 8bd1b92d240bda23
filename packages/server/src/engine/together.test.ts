import { HoldfastError } from "@holdfast/core";
import { createNodeCrypto, openPlainSqlite } from "@holdfast/node";
import { callerOf, createTestEngine, rawOf } from "@holdfast/testkit";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ServerReads, ServerStore } from "./server-store.ts";
import { createSqliteServerStore } from "./sqlite-server-store.ts";
import { together } from "./together.ts";

const crypto = createNodeCrypto();
const failure = (result: string): HoldfastError => new HoldfastError("store_io_error", { result });

let left: unknown[];
const leave = (reason: unknown): void => void left.push(reason);

beforeEach(() => {
  left = [];
  process.on("unhandledRejection", leave);
});
afterEach(() => {
  process.off("unhandledRejection", leave);
});

/** What failed and was left to nobody: the process tells once all that waited has run. */
async function leftToNobody(): Promise<readonly unknown[]> {
  await new Promise((resolve) => setTimeout(resolve));
  return left;
}

describe("together", () => {
  it("begins all at once and answers in order", async () => {
    const begun: number[] = [];
    const answers = together(
      () => begun.push(1),
      () => Promise.resolve("two"),
      () => begun.push(3) > 1,
    );
    expect(begun).toEqual([1, 3]);
    expect(await answers).toEqual([1, "two", true]);
  });

  it("leaves no failure to nobody, whether it comes at once or later", async () => {
    const both = together(
      () => Promise.reject(failure("first")),
      () => {
        throw failure("second");
      },
    );
    await expect(both).rejects.toMatchObject({ details: { result: "first" } });
    expect(await leftToNobody()).toEqual([]);
  });

  it("fails when nothing goes on any more", async () => {
    let over = false;
    const late = new Promise<void>((resolve) => setTimeout(resolve, 5)).then(() => {
      over = true;
    });
    const both = together(
      () => {
        throw failure("first");
      },
      () => late,
    );
    await expect(both).rejects.toThrow("store_io_error");
    expect(over).toBe(true);
  });
});

type Failing = Set<keyof ServerReads>;

/** A store whose reads of these names fail at once. */
function failingStore(store: ServerStore, failing: Failing): ServerStore {
  const over = <Reads extends ServerReads>(reads: Reads): Reads =>
    new Proxy(reads, {
      get(target, name) {
        if (!failing.has(name as keyof ServerReads)) return target[name as keyof Reads];
        return () => {
          throw failure(String(name));
        };
      },
    });
  return {
    ...store,
    read: (tenant, work, seen) => store.read(tenant, (reads) => work(over(reads)), seen),
    write: (tenant, work) => store.write(tenant, (tx) => work(over(tx))),
  };
}

describe("a server of which several reads fail at once", () => {
  it.each([
    ["pull", ["device", "tenant"]],
    ["pull", ["checkpoint", "events"]],
    ["push", ["device", "quarantined"]],
    ["push", ["serverLeaves", "serverHashes"]],
  ] as const)("answers a %s with the first failure: %s", async (act, names) => {
    const failing: Failing = new Set();
    const driver = openPlainSqlite({ path: ":memory:", readOnly: false });
    const store = createSqliteServerStore({ crypto, driver });
    const here = await createTestEngine(failingStore(store, failing), { crypto });
    const { founder, server } = here;
    founder.record([{}, {}]);
    await here.receipted(founder, 0);
    founder.record([{}]);
    const request = founder.push(3);
    for (const name of names) failing.add(name);
    const answer =
      act === "push"
        ? server.push(callerOf(founder), request, rawOf(request))
        : server.pull(callerOf(founder), {
            scopes: "*",
            after: 0,
            events: 9,
            bytes: 9_999,
            checkpoint: 0,
            held: {},
          });
    await expect(answer).rejects.toMatchObject({ details: { result: names[0] } });
    expect(await leftToNobody()).toEqual([]);
    failing.clear();
    await here.close();
  });
});
