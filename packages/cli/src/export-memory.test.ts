/**
 * Memory of an export is bounded by a page or a row group, not by the store. Run with HOLDFAST_FULL=1: 50,000
 * events; every day: 3,000, against the same bound. Each format runs in a process of its own, because another
 * test's garbage is not the export's.
 */
import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { initStore, openStore } from "@holdfast/node";
import { projections, registry } from "./store.ts";

const events = process.env["HOLDFAST_FULL"] === undefined ? 3_000 : 50_000;
const aboveBaseMiBMax = 100;
const passphrase = "correct horse battery staple";
const child = fileURLToPath(new URL("export-memory.child.ts", import.meta.url));

describe(`an export of ${events} events`, () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "holdfast-memory-"));
    const place = {
      directory: join(folder, "store"),
      stateDirectory: join(folder, "state"),
      passphrase,
    };
    await initStore({ ...place, tenant: "test" });
    const store = await openStore({ ...place, registry, projections });
    for (let from = 0; from < events; from += 1_000) {
      const drafts = Array.from({ length: 1_000 }, (_, index) => ({
        type: "DiaryNoteWritten",
        stream: `note/${from + index}`,
        scope: `person/${index % 50}`,
        actor: "tester",
        // Some 1 KB, and different in each event, so that no dictionary makes it small.
        data: { text: `${from + index} `.repeat(150) },
      }));
      await store.append(drafts);
    }
    await store.close();
  }, 600_000);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test.each(["ndjson", "csv", "fhir", "parquet"])(
    `as %s stays below ${aboveBaseMiBMax} MiB above its base`,
    (format) => {
      const result = spawnSync(
        process.execPath,
        ["--expose-gc", "--conditions=@holdfast/source", child, folder, format],
        { encoding: "utf8", env: { ...process.env, HOLDFAST_PASSPHRASE: passphrase } },
      );
      expect(result.stderr).toBe("");
      const { baseMiB, peakMiB, bytes } = JSON.parse(result.stdout) as Readonly<
        Record<string, number>
      >;
      console.log(`export ${format}: base ${baseMiB} MiB, peak ${peakMiB} MiB, ${bytes} bytes`);
      expect(bytes).toBeGreaterThan(format === "parquet" ? events * 10 : events * 600);
      expect((peakMiB ?? Infinity) - (baseMiB ?? 0)).toBeLessThan(aboveBaseMiBMax);
    },
    600_000,
  );
});
