/** The plaintext check sees what it claims to see, and is quiet where nothing leaks. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { withScratch } from "./native.ts";
import { findInFolder, runTraced, straceAvailable, type TracedRun } from "./strace.ts";

const available = straceAvailable();
const script = fileURLToPath(new URL("workloads/write-marker.ts", import.meta.url));
const marker = "Märker-5f1c9d2e";

async function traced(
  how: string,
  inspect: (run: TracedRun, folder: string) => void,
): Promise<void> {
  await withScratch("strace-test", async (folder) => {
    const argv = [script, how, folder, marker];
    const run = await runTraced({ argv, env: { SQLITE_TMPDIR: folder, TMPDIR: folder } });
    expect(run.stderr).toBe("");
    expect(run.code).toBe(0);
    inspect(run, folder);
  });
}

describe.skipIf(!available.ok)(`strace${available.ok ? "" : `: ${available.reason}`}`, () => {
  test.each(["deleted", "split", "large"])("a deleted temporary file is seen: %s", async (how) => {
    await traced(how, (run, folder) => {
      const path = join(folder, "temporary");
      expect(run.findPlaintext(["absent-marker", marker])).toEqual([{ marker, path }]);
      expect(
        run.writes.filter((write) => write.path === path).every((write) => write.deleted),
      ).toBe(true);
      expect(run.paths).toContain(path);
    });
  });

  test("a write of another thread is seen", async () => {
    await traced("async", (run, folder) => {
      expect(run.findPlaintext([marker])).toEqual([{ marker, path: join(folder, "async") }]);
    });
  });

  test("standard output is not a file", async () => {
    await traced("pipe", (run) => {
      expect(run.stdout).toBe(marker);
      expect(run.findPlaintext([marker])).toEqual([]);
    });
  });

  test("an encrypted database leaks through a sort in temporary files", async () => {
    await traced("sort:file", (run) => {
      expect(run.findPlaintext([marker]).length).toBeGreaterThan(0);
    });
  });

  test("an encrypted database that sorts in memory does not leak", async () => {
    await traced("sort:memory", (run, folder) => {
      expect(run.paths).toContain(join(folder, "rows.db-wal"));
      expect(run.writes.length).toBeGreaterThan(100);
      expect(run.findPlaintext([marker])).toEqual([]);
      expect(findInFolder(folder, [marker])).toEqual([]);
    });
  });
});

test("markers in the files of a folder", async () => {
  await withScratch("strace-test", (folder) => {
    writeFileSync(join(folder, "file"), `abc${marker}`);
    expect(findInFolder(folder, [marker, "other"])).toEqual([
      { marker, path: join(folder, "file") },
    ]);
  });
});
