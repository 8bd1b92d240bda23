import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createOutbox, inTransaction, type Outbox } from "@holdfast/core";
import { systemClock } from "@holdfast/node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeStore, passphrase, type Place, placeIn, withPageKey } from "../tamper/world.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const launcher = join(root, "packages/cli/bin/holdfast.mjs");

interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

let folder = "";
let place: Place;
let ids: readonly string[] = [];

function run(args: readonly string[], input = ""): Promise<Result> {
  const env = {
    ...process.env,
    HOLDFAST_STORE: place.directory,
    HOLDFAST_STATE: place.stateDirectory,
    HOLDFAST_PASSPHRASE: passphrase,
  };
  const child = spawn(process.execPath, [launcher, ...args], { env });
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, out, err })));
}

async function rowsOf(...args: readonly string[]): Promise<readonly Record<string, unknown>[]> {
  const { code, out, err } = await run(["outbox", ...args, "--json"]);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  return out
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** What sync does, in the store's own database. */
function act<T>(work: (outbox: Outbox) => T): Promise<T> {
  return withPageKey(place, (driver) => {
    const outbox = createOutbox({ driver, clock: systemClock });
    return inTransaction(driver, () => work(outbox));
  });
}

describe("holdfast outbox", () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "holdfast-cli-outbox-"));
    place = placeIn(folder);
    await makeStore(place);
    const draft = (text: string): string =>
      JSON.stringify({
        type: "DiaryNoteWritten",
        stream: `note/${text}`,
        scope: "ada",
        actor: "ada",
        data: { text },
      });
    const made = await run(
      ["append", "--ndjson", "-", "--json"],
      ["one", "two", "three"].map((text) => `${draft(text)}\n`).join(""),
    );
    expect(made).toMatchObject({ code: 0, err: "" });
    ids = made.out
      .split("\n")
      .filter(Boolean)
      .map((line) => (JSON.parse(line) as { id: string }).id);
    const reason = {
      code: "event_leaf_wrong",
      message: "=HYPERLINK(1)",
      status: 422,
      severity: "high",
    } as const;
    await act((outbox) => {
      const lease = outbox.lease({ worker: "sync/1", entries: 9 });
      outbox.begin(lease?.token ?? 0, "https://server.example");
      for (const position of [2, 3, 4]) outbox.reject(position, reason);
    });
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test("ls lists entries, or dead letters by condition", async () => {
    const entries = await rowsOf("ls");
    expect(entries.map(({ state }) => state)).toEqual(["leased", "dead", "dead", "dead"]);
    expect(await rowsOf("ls", "--state", "leased")).toHaveLength(1);
    const letters = await rowsOf("ls", "--dead-letters", "--severity", "high", "--limit", "2");
    expect(letters.map(({ id }) => id)).toEqual(ids.slice(0, 2));
    expect(letters[0]).toMatchObject({ code: "event_leaf_wrong", status: 422, attempts: 1 });
    expect(await rowsOf("ls", "--dead-letters", "--archived")).toEqual([]);
    const words = await run(["outbox", "ls", "--dead-letters"]);
    expect(words.out).toMatch(/^position +id +type +attempts +code/);
    expect(words.out).toContain("3 dead letters");
    for (const wrong of [
      ["--code", "x"],
      ["--state", "gone"],
      ["--limit", "0"],
    ])
      expect(await run(["outbox", "ls", ...wrong])).toMatchObject({ code: 2, out: "" });
  });

  test("show tells what was tried", async () => {
    const [shown] = await rowsOf("show", ids[0] ?? "");
    expect(shown).toMatchObject({
      id: ids[0],
      state: "dead",
      tried: [{ endpoint: "https://server.example", entries: 4 }],
      dead_letter: { code: "event_leaf_wrong", severity: "high" },
    });
    const words = await run(["outbox", "show", ids[0] ?? ""]);
    expect(words.out).toContain("event_leaf_wrong (422)");
    const nothing = await run(["outbox", "show", "nothing", "--json"]);
    expect(nothing).toMatchObject({ code: 3, out: "" });
    expect(JSON.parse(nothing.err)).toMatchObject({ error: { code: "outbox_entry_missing" } });
  });

  test("export wraps the columns, and keeps payloads and formulas in", async () => {
    const whole = JSON.parse((await run(["outbox", "export"])).out) as {
      readonly entries: readonly Record<string, unknown>[];
    };
    expect(whole).toMatchObject({ exported_at: expect.any(String) as string, total_count: 1 });
    expect(Object.keys(whole.entries[0] ?? {})).toEqual([
      "id",
      "operation_type",
      "entity_type",
      "entity_id",
      "enqueued_at",
      "attempt_count",
      "next_retry_at",
      "backoff_ms",
      "status",
    ]);
    const dead = await run(["outbox", "export", "--dead-letters", "--format", "csv"]);
    expect(dead.out.split("\r\n")).toHaveLength(5);
    expect(dead.out).toContain(`"'=HYPERLINK(1)"`);
    expect(dead.out).not.toContain("two");
    const file = join(folder, "dead.ndjson");
    const args = ["--dead-letters", "--include-payload", "--format", "ndjson", "--out", file];
    expect(await rowsOf("export", ...args)).toEqual([{ entries: 3 }]);
    expect(readFileSync(file, "utf8")).toContain('"text":"two"');
    expect((await run(["outbox", "export", ...args])).code).toBe(3);
    const none = await run(["outbox", "export", "--since", "2100-01-01"]);
    expect(JSON.parse(none.out)).toMatchObject({ entries: [], total_count: 0 });
  });

  test("redrive, archive, purge do what they say, and nothing leaves the log", async () => {
    expect(await rowsOf("redrive", ids[0] ?? "")).toEqual([{ redriven: 1 }]);
    expect(await rowsOf("archive", ids[1] ?? "")).toEqual([{ archived: 1 }]);
    expect(await rowsOf("ls", "--dead-letters")).toHaveLength(1);
    expect(await rowsOf("archive", "--older-than", "1d")).toEqual([{ archived: 0 }]);
    expect(await rowsOf("redrive", "--all", "--code", "event_leaf_wrong")).toEqual([
      { redriven: 1 },
    ]);
    expect(await rowsOf("purge")).toEqual([{ purged: 0 }]);
    expect(await rowsOf("purge", "--older-than", "0s")).toEqual([{ purged: 1 }]);
    expect(await rowsOf("ls", "--state", "waiting")).toHaveLength(2);
    const verified = await run(["verify", "--json"]);
    expect(JSON.parse(verified.out)).toMatchObject({ ok: true, events: 4 });
    for (const wrong of [["redrive"], ["redrive", "x", "--all"], ["archive"], ["purge", "x"]])
      expect(await run(["outbox", ...wrong])).toMatchObject({ code: 2, out: "" });
    expect(await run(["outbox", "purge", "--older-than", "1w"])).toMatchObject({ code: 2 });
  });

  test("leases and release name who works, and who ended it", async () => {
    expect(await rowsOf("leases")).toMatchObject([{ holder: "sync/1", entries: 1 }]);
    expect((await run(["outbox", "release", "sync/1"])).code).toBe(2);
    const forced = ["release", "sync/1", "--actor", "op", "--reason", "stuck"];
    expect(await rowsOf(...forced)).toEqual([{ released: "sync/1" }]);
    expect(await rowsOf("leases")).toMatchObject([
      { holder: null, entries: 0, released: { reason: "stuck" } },
    ]);
    const again = await run(["outbox", ...forced, "--json"]);
    expect(JSON.parse(again.err)).toMatchObject({ error: { code: "outbox_lease_lost" } });
  });
});
