/** Recovering a damaged store on the command line, and taking over the outbox of an earlier application. */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { filledStore } from "../backup/lab.ts";
import { databaseOf, flipPage, pagesOf } from "../salvage/lab.ts";
import { passphrase } from "../store/lab.ts";

const launcher = fileURLToPath(new URL("../../packages/cli/bin/holdfast.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "holdfast-cli-recover-"));
const file = (name: string): string => join(folder, name);
const env = {
  ...process.env,
  HOLDFAST_STORE: file("store"),
  HOLDFAST_STATE: file("state"),
  HOLDFAST_PASSPHRASE: passphrase,
};
const timeout = 240_000;

beforeAll(async () => {
  await filledStore(folder, 60);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Runs the command: its exit code, its rows with `--json` and whatever it said. */
function run(...args: readonly string[]) {
  return new Promise<{
    readonly code: number;
    readonly rows: readonly Record<string, unknown>[];
    readonly said: string;
  }>((resolve) => {
    execFile(process.execPath, [launcher, ...args], { env }, (error, out, err) => {
      const said = `${out}${err}`;
      const lines = said.split("\n").filter((line) => line.startsWith("{"));
      const rows = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
      resolve({ code: error === null ? 0 : Number(error.code), rows, said });
    });
  });
}

test(
  "recover leaves a sound store alone, asks before anything is missing, and says what is",
  { timeout },
  async () => {
    expect(await run("recover", "--json")).toMatchObject({
      code: 0,
      rows: [{ status: "healthy" }],
    });
    const pages = (await pagesOf(folder)).get("events")?.filter(({ leaf }) => leaf) ?? [];
    flipPage(databaseOf(folder), pages[1]?.page ?? 0);
    const damaged = readFileSync(databaseOf(folder));
    // No terminal to ask at.
    const asked = await run("recover");
    expect(asked.code).toBe(2);
    expect(asked.said).toMatch(/damage: store_corrupt/);
    expect(asked.said).toMatch(/missing: sequence.* nobody has them/);
    expect(readFileSync(databaseOf(folder)).equals(damaged)).toBe(true);
    expect(existsSync(file("store.quarantine-1"))).toBe(false);
    const done = await run("recover", "--yes", "--json");
    expect(done).toMatchObject({
      code: 1,
      rows: [{ status: "salvaged", lossless: false, quarantine: file("store.quarantine-1") }],
    });
    expect(readFileSync(file("store.quarantine-1/store.db")).equals(damaged)).toBe(true);
    expect(await run("recover", "--json")).toMatchObject({
      code: 0,
      rows: [{ status: "healthy" }],
    });
    const { code, rows } = await run("log", "--json", "--type", "StoreSalvaged");
    expect([code, rows.length]).toEqual([0, 1]);
  },
);

test(
  "migrate apply --outbox takes over what an earlier application had queued, once",
  { timeout },
  async () => {
    const createdAt = "2025-11-03T09:30:00.000Z";
    const entries = [
      { id: "op-1", opType: "create", entityType: "note", payload: { text: "a" }, createdAt },
      { id: "op-2", opType: "delete", entityType: "note", payload: null, createdAt },
    ];
    writeFileSync(file("outbox.json"), JSON.stringify({ entries }));
    writeFileSync(file("wrong.json"), JSON.stringify([...entries, { opType: "paint", createdAt }]));
    const apply = ["migrate", "apply", "--json", "--actor", "admin/1", "--outbox"];
    expect(await run(...apply, file("nowhere.json"))).toMatchObject({
      code: 3,
      rows: [{ error: { code: "input_unreadable" } }],
    });
    expect(await run(...apply, file("wrong.json"))).toMatchObject({
      code: 3,
      rows: [
        {
          error: {
            code: "migration_failed",
            details: { code: "payload_invalid", object: "entry 2" },
          },
        },
      ],
    });
    expect(await run(...apply, file("outbox.json"))).toMatchObject({
      code: 0,
      rows: [{ phase: "committed", records: 2, errors: 0 }],
    });
    expect(await run(...apply, file("outbox.json"))).toMatchObject({
      code: 0,
      rows: [{ due: null }],
    });
    const log = await run("log", "--json", "--type", "LegacyOperationImported");
    expect(log.rows).toHaveLength(2);
  },
);
