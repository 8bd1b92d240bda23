/** No secret is found in clear: in any write to any file, any file that is left, any error, any telemetry. */
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { withScratch } from "../faults/native.ts";
import { findInFolder, runTraced, straceAvailable, type TracedRun } from "../faults/strace.ts";
import { markersOf } from "./markers.ts";

const full = process.env["HOLDFAST_FULL"] === "1";
const count = full ? 1_000 : 60;
const seed = 20_261_120;
const markers = markersOf(seed, count);
const available = straceAvailable();
const script = fileURLToPath(new URL("workloads/secrets.ts", import.meta.url));
const title = available.ok ? "" : ` (skipped: ${available.reason})`;

async function traced(
  sorts: "memory" | "file",
  inspect: (run: TracedRun, folder: string) => void,
): Promise<void> {
  await withScratch("tamper-plaintext", async (folder) => {
    const run = await runTraced({
      argv: [script, folder, String(seed), String(count), sorts],
      env: { TMPDIR: folder, SQLITE_TMPDIR: folder },
    });
    // The workload ends by killing itself, so that the write-ahead log stays to be looked at.
    expect(run.stderr).toBe("");
    expect(run.signal ?? run.code).toBe("SIGKILL");
    inspect(run, folder);
  });
}

test
  .skipIf(!available.ok)
  .concurrent(`${count} markers are nowhere in clear${title}`, { timeout: 300_000 }, async () => {
    await traced("memory", (run, folder) => {
      const names = run.paths.map((path) => path.slice(path.lastIndexOf("/") + 1));
      expect(names).toEqual(expect.arrayContaining(["store.db", "store.db-wal", "keyring"]));
      expect(names.some((name) => name.startsWith("mark-"))).toBe(true);
      expect(run.findPlaintext(markers)).toEqual([]);
      expect(findInFolder(folder, markers)).toEqual([]);
      expect(run.stdout).toContain("json_unsafe_number");
      expect(run.stdout).toContain("key_wrong");
      expect(run.stdout).toContain("append_calls");
      expect(run.stdout).toContain("store_moved");
      expect(markers.filter((marker) => run.stdout.includes(marker))).toEqual([]);
    });
  });

test
  .skipIf(!available.ok)
  .concurrent(
    `the same search finds markers where SQLite sorts in files${title}`,
    { timeout: 300_000 },
    async () => {
      await traced("file", (run) => {
        const hits = run.findPlaintext(markers);
        expect(hits.length).toBeGreaterThan(0);
        expect(hits.every(({ path }) => !path.includes("store.db"))).toBe(true);
      });
    },
  );
