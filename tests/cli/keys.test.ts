/** Keys, audit trail and start-up checks on the command line, over one store. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makeStore, passphrase } from "../store/lab.ts";

const launcher = fileURLToPath(new URL("../../packages/cli/bin/holdfast.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "holdfast-keys-"));
const file = (name: string): string => join(folder, name);

beforeAll(() => makeStore(folder));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Runs the command with `--json`: its exit code and its rows, or the code of its refusal. */
function run(words: string, ...args: readonly string[]) {
  const env = {
    ...process.env,
    HOLDFAST_STORE: join(folder, "store"),
    HOLDFAST_STATE: join(folder, "state"),
    HOLDFAST_PASSPHRASE: words,
  };
  return new Promise<{ code: number; rows: readonly Record<string, unknown>[] }>((resolve) => {
    execFile(process.execPath, [launcher, ...args, "--json"], { env }, (error, out, err) => {
      const lines = `${out}${err}`.split("\n").filter((line) => line.startsWith("{"));
      const rows = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
      resolve({ code: error === null ? 0 : Number(error.code), rows });
    });
  });
}

it(
  "rotates, adds and drills a recovery key, recovers, and says all of it",
  { timeout: 240_000 },
  async () => {
    expect(await run(passphrase, "keys", "rotate")).toMatchObject({ code: 2 });
    const epoch = await run(passphrase, "keys", "rotate", "--epoch", "--actor", "security/1");
    expect(epoch.rows).toMatchObject([{ rotated: "epoch", phase: "old-key-destroyed" }]);
    const provider = await run(passphrase, "keys", "rotate", "--provider");
    expect(provider).toMatchObject({ code: 0, rows: [{ rotated: "provider" }] });
    const words = file("words.txt");
    const added = await run(passphrase, "keys", "recovery", "add", "--out", words);
    expect(added.rows).toMatchObject([{ signingKeys: 1, out: words }]);
    expect(readFileSync(words, "utf8").trim().split(" ")).toHaveLength(24);
    writeFileSync(file("new.txt"), "another passphrase\n");
    const recover = ["--recovery-key-file", words, "--new-passphrase-file", file("new.txt")];
    const recovered = await run("forgotten", "keys", "recover", ...recover);
    expect(recovered.rows).toMatchObject([{ signingKeys: 1 }]);
    expect(await run(passphrase, "doctor")).toMatchObject({
      code: 1,
      rows: [{ status: "blocked", findings: [{ code: "key_wrong" }] }],
    });
    const healthy = await run("another passphrase", "doctor");
    expect(healthy.rows[0]).toMatchObject({ skipped: [] });
    const trail = await run("another passphrase", "audit", "tail", "--limit", "50");
    const kinds = trail.rows.map(({ kind }) => kind);
    // Each of the two rotations tells of seven phases.
    expect(kinds.filter((kind) => kind === "KeyRotationAdvanced")).toHaveLength(14);
    expect(kinds.slice(-3)).toEqual(["RecoveryKeyAdded", "RecoveryKeyDrilled", "KeyringRecovered"]);
    expect(trail.rows.find(({ kind }) => kind === "KeyRotationAdvanced")).toMatchObject({
      op: "key",
      why: "scheduled",
      facts: { key: "epoch", phase: "planned" },
    });
  },
);

it("records backups, rescue bundles and restores", { timeout: 240_000 }, async () => {
  const words = "another passphrase";
  const env = ["--backup-passphrase-file", file("backup.txt")];
  writeFileSync(file("backup.txt"), "a passphrase for backups only\n");
  const made = await run(words, "backup", "--out", file("monday.age"), ...env);
  const kept = await run(words, "backup", "--folder", file("kept"), ...env);
  const rescued = await run(words, "rescue", "--out", file("rescue.age"), ...env);
  expect([made, kept, rescued].map(({ code }) => code)).toEqual([0, 0, 0]);
  // The bundle holds all that is not delivered, its own record among it.
  const bundle = ["--replace", "--rescue", file("rescue.age")];
  const restored = await run(words, "restore", file("monday.age"), ...bundle, ...env);
  expect(restored).toMatchObject({ code: 0 });
  const trail = await run(words, "audit", "tail", "--limit", "2");
  expect(trail.rows.map(({ kind }) => kind)).toContain("BackupRestored");
  const { events } = restored.rows[0] ?? {};
  expect(trail.rows.find(({ kind }) => kind === "BackupRestored")?.["facts"]).toMatchObject({
    events,
  });
  const of = ["audit", "tail", "--kind", "BackupMade"] as const;
  // Restored from the first backup: what was recorded of it came after it.
  expect(await run(words, ...of)).toEqual({ code: 0, rows: [] });
});
