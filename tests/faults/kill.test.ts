/** Kills of a plain SQLite appender: every promised row is there. */
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runKilled } from "./kill.ts";
import { withScratch } from "./native.ts";
import { createChance } from "./random.ts";
import { checkRows } from "./workloads/check-rows.ts";

const appender = fileURLToPath(new URL("workloads/sqlite-append.ts", import.meta.url));
const kills = process.env["HOLDFAST_FULL"] === "1" ? 200 : 10;

test("no row that was promised before a kill is missing", { timeout: 600_000 }, async () => {
  const chance = createChance(1);
  await withScratch("kill", async (folder) => {
    const promised: string[] = [];
    for (let i = 0; i < kills; i += 1) {
      const run = await runKilled({
        argv: [appender, folder, "FULL", "0", "stdout"],
        killAfterMs: { from: 0, to: 120, chance },
        armOn: () => true,
      });
      expect(run.stderr).toBe("");
      expect(run.killed).toBe(true);
      expect(run.lines.filter((line) => !/^\d+$/.test(line))).toEqual([]);
      promised.push(...run.lines);
      expect(checkRows(folder, promised)).toEqual([]);
    }
    expect(promised.length).toBeGreaterThan(kills);
    expect(checkRows(folder, [...promised, "999999999"])).toEqual([
      "lost 1 acknowledged rows, first 999999999",
    ]);
  });
});

test("a child that ends by itself was not killed; a line without its end does not count", async () => {
  const options = { killAfterMs: { from: 60_000, to: 60_001, chance: createChance(1) } };
  const seen: string[] = [];
  const argv = ["-e", "process.stdout.write('one\\ntwo\\nthr'); process.exitCode = 3"];
  const run = await runKilled({ ...options, argv, onLine: (line) => seen.push(line) });
  expect(run).toMatchObject({ lines: ["one", "two"], killed: false, code: 3 });
  expect(seen).toEqual(["one", "two"]);
});
