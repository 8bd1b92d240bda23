import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type CommandOptions,
  createRegistry,
  type Decider,
  defineEvent,
  handleCommand,
  type Holdfast,
  limits,
  refuseCommand,
} from "@holdfast/core";
import { createTestSchema } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { initStore, openStore } from "./store.ts";

type Taken = { readonly taken: number };
type Take = { readonly take: number };

const supply: Decider<number, Take, Taken> = {
  initial: () => 10,
  decide({ take }, left) {
    if (take > left) return refuseCommand("not enough left");
    return take === 0 ? [] : [{ taken: take }];
  },
  evolve: (left, { taken }) => left - taken,
};

const registry = createRegistry([
  defineEvent({
    type: "TabletsTaken",
    schema: createTestSchema((value) => ({ value: value as Taken })),
  }),
]);

const on = (stream: string, take: number): CommandOptions<Take, Taken> => ({
  stream,
  actor: "nurse/7",
  command: { take },
  toDraft: (data) => ({ type: "TabletsTaken", data }),
  fromEvent: ({ type, data }) => (type === "TabletsTaken" ? (data as Taken) : undefined),
});

describe("a command on a store", () => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-"));
  const place = { directory: join(folder, "store"), stateDirectory: join(folder, "state") };
  const passphrase = "correct horse battery staple";
  let store: Holdfast;

  beforeAll(async () => {
    await initStore({ ...place, passphrase, tenant: "Ward 3" });
    store = await openStore({ ...place, passphrase, registry, projections: [] });
  });

  afterAll(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });

  it("is decided on what the stream says, and its events are recorded", async () => {
    const first = await handleCommand(store, supply, on("a", 4));
    expect(first).toMatchObject({ status: "handled", events: [{ taken: 4 }], state: 6 });
    await expect(handleCommand(store, supply, on("a", 7))).rejects.toMatchObject({
      code: "command_refused",
      details: { reason: "not enough left" },
    });
    const nothing = await handleCommand(store, supply, on("a", 0));
    expect(nothing).toEqual({ status: "handled", events: [], state: 6, appended: undefined });
    expect(store.read({ stream: "a" }).map(({ data }) => data)).toEqual([{ taken: 4 }]);
  });

  it("is decided anew when another extends the stream first: rules hold under concurrency", async () => {
    const results = await Promise.allSettled(
      Array.from({ length: 4 }, () => handleCommand(store, supply, on("b", 4))),
    );
    expect(results.map(({ status }) => status).toSorted()).toEqual([
      "fulfilled",
      "fulfilled",
      "rejected",
      "rejected",
    ]);
    expect(store.read({ stream: "b" })).toHaveLength(2);
  });

  it("gives up with the conflict when others keep extending the stream", async () => {
    let decided = 0;
    const restless: Pick<Holdfast, "append" | "read" | "frontier"> = {
      read: (query) => store.read(query),
      frontier: (stream) => store.frontier(stream),
      async append(drafts, options) {
        decided += 1;
        await store.append({
          type: "TabletsTaken",
          stream: "c",
          actor: "nurse/8",
          data: { taken: 0 },
        });
        return store.append(drafts, options);
      },
    };
    const result = await handleCommand(restless, supply, on("c", 1));
    expect(result.status).toBe("conflict");
    expect(decided).toBe(limits.commandAttemptsMax);
    expect(store.read({ stream: "c" }).every(({ data }) => (data as Taken).taken === 0)).toBe(true);
  });
});
