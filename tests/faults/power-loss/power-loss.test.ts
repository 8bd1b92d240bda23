/** The harness over plain SQLite: quiet where SQLite keeps its promise, loud where it does not. */
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { preloadAvailable, withScratch } from "../native.ts";
import { checkRows } from "../workloads/check-rows.ts";
import { createDisk, type Disk, type NameMode } from "./disk.ts";
import type { LogRecord } from "./log.ts";
import { crashStates, type WriteMode } from "./replay.ts";
import { powerLossStates, runPowerLoss, type PowerLossOptions } from "./run.ts";

const available = preloadAvailable();
const appender = fileURLToPath(new URL("../workloads/sqlite-append.ts", import.meta.url));
const names = fileURLToPath(new URL("../workloads/names.ts", import.meta.url));

const sqlite = (synchronous: string): PowerLossOptions => ({
  workload: (folder) => [appender, folder, synchronous, "300"],
  check: (folder, acknowledged) => checkRows(folder, acknowledged),
});

describe.skipIf(!available.ok)(`power loss${available.ok ? "" : `: ${available.reason}`}`, () => {
  test("synchronous=FULL loses no acknowledged row", { timeout: 300_000 }, async () => {
    const report = await runPowerLoss(sqlite("FULL"));
    expect(report.failures).toEqual([]);
    expect(report.states).toBe(powerLossStates);
    expect(report.acknowledged).toBe(300);
    expect(report.syncs).toBeGreaterThan(300);
  });

  test("synchronous=NORMAL is caught losing rows, and no worse", { timeout: 300_000 }, async () => {
    const report = await runPowerLoss(sqlite("NORMAL"));
    expect(report.failures.length).toBeGreaterThan(report.states / 4);
    const problems = report.failures.flatMap((failure) => failure.problems);
    expect(problems.filter((problem) => !problem.startsWith("lost "))).toEqual([]);
  });

  test("synchronous=OFF is caught damaging the database", { timeout: 300_000 }, async () => {
    const report = await runPowerLoss({ ...sqlite("OFF"), writeModes: ["subset"], states: 60 });
    const problems = report.failures.flatMap((failure) => failure.problems);
    expect(problems.some((problem) => !problem.startsWith("lost "))).toBe(true);
  });

  test.each(["EIO", "KILL"] as const)(
    "FULL keeps its promise when a sync met %s",
    async (error) => {
      const fault = { function: "fsync", nth: 150, error, sticky: false } as const;
      const report = await runPowerLoss({ ...sqlite("FULL"), fault });
      expect(report.failures).toEqual([]);
      expect(report.acknowledged).toBeGreaterThan(100);
      expect(report.acknowledged).toBeLessThan(300);
    },
  );

  test("a fault that the workload does not reach is refused", async () => {
    const fault = { function: "fsync", nth: 9_999, error: "EIO", sticky: false } as const;
    await expect(runPowerLoss({ ...sqlite("FULL"), fault })).rejects.toThrow("not reached");
  });

  test("files written by Node: a rename is safe only with the sync of its folder", async () => {
    const kept = (how: string, nameModes: readonly NameMode[]): PowerLossOptions => ({
      workload: (folder) => [names, folder, how],
      nameModes,
      states: 150,
      check(folder, acknowledged) {
        const promised = acknowledged.at(-1);
        if (promised === undefined) return [];
        const found = Number(readFileSync(join(folder, "sub/value"), "utf8"));
        return found >= Number(promised) ? [] : [`promised ${promised}, found ${found}`];
      },
    });
    const safe = await runPowerLoss(kept("file+folder", ["instant", "ext4", "strict"]));
    expect(safe.failures).toEqual([]);
    const noFolder = await runPowerLoss(kept("file", ["strict"]));
    expect(noFolder.failures.length).toBeGreaterThan(0);
    const noFile = await runPowerLoss(kept("folder", ["instant"]));
    expect(noFile.failures.length).toBeGreaterThan(0);
  });
});

describe("crash states from a log", () => {
  const root = (folder: string): string => join(folder, "disk");
  const open = (path: string, inode: number): LogRecord => {
    return { type: "open", path, inode, created: true, truncated: false, directory: false };
  };
  const write = (inode: number, offset: number, text: string): LogRecord => {
    return { type: "write", inode, offset, data: Buffer.from(text) };
  };
  const sync = (inode: number, failed = false): LogRecord => ({ type: "sync", inode, failed });

  function contents(
    folder: string,
    log: readonly LogRecord[],
    nameMode: NameMode,
    writeMode: WriteMode,
  ): ReadonlySet<string> {
    const seen = new Set<string>();
    for (let seed = 0; seed < 200; seed += 1) {
      mkdirSync(join(folder, "empty"), { recursive: true });
      const disk: Disk = createDisk(join(folder, "empty"), nameMode);
      const moved = log.map(
        (record) => JSON.parse(JSON.stringify(record), revive(folder)) as typeof record,
      );
      const options = { states: 6, seed, nameMode, writeModes: [writeMode], disk };
      for (const state of crashStates(moved, options)) {
        if (state.point !== log.length) continue;
        state.writeTo(root(folder));
        const files = readdirSync(root(folder)).sort();
        seen.add(files.map((n) => `${n}=${readFileSync(join(root(folder), n), "utf8")}`).join(" "));
      }
    }
    return seen;
  }
  /** Logs below are written with paths from "/": they start at the folder of the model. */
  const revive =
    (folder: string) =>
    (key: string, value: unknown): unknown => {
      if (typeof value === "string" && ["path", "from", "to"].includes(key)) {
        return join(folder, "empty", value);
      }
      const bytes = value as { readonly type?: string; readonly data?: readonly number[] } | null;
      return bytes?.type === "Buffer" ? Buffer.from(bytes.data ?? []) : value;
    };

  test("data: none, all, and every mixture of sectors between", async () => {
    const log = [
      open("/a", 1),
      write(1, 0, "old"),
      sync(1),
      write(1, 0, "new"),
      write(1, 510, "ABCD"),
    ];
    await withScratch("replay", (folder) => {
      expect([...contents(folder, log, "instant", "none")]).toEqual(["a=old"]);
      const whole = `new${"\0".repeat(507)}`;
      expect([...contents(folder, log, "instant", "all")]).toEqual([`a=${whole}ABCD`]);
      const mixed = contents(folder, log, "instant", "subset");
      expect(mixed).toContain("a=new");
      expect(mixed).toContain(`a=${whole}AB`);
      expect(mixed).toContain(`a=old${"\0".repeat(507)}\0\0CD`);
    });
  });

  test("a failed sync loses the writes before it, also after a later success", async () => {
    const log = [
      open("/a", 1),
      sync(1),
      write(1, 0, "one"),
      sync(1, true),
      write(1, 3, "two"),
      sync(1),
    ];
    await withScratch("replay", (folder) => {
      expect([...contents(folder, log, "instant", "all")]).toEqual(["a=\0\0\0two"]);
    });
  });

  test("names: strict needs the folder's sync, ext4 is content with the file's", async () => {
    const log: LogRecord[] = [open("/a", 1), write(1, 0, "x"), sync(1)];
    const renamed: LogRecord[] = [...log, { type: "rename", from: "/a", to: "/b" }];
    await withScratch("replay", (folder) => {
      expect(contents(folder, log, "strict", "none")).toEqual(new Set(["", "a=x"]));
      expect(contents(folder, log, "ext4", "none")).toEqual(new Set(["a=x"]));
      expect(contents(folder, renamed, "ext4", "none")).toEqual(new Set(["a=x", "b=x"]));
      expect(contents(folder, [...renamed, sync(1)], "ext4", "none")).toEqual(new Set(["b=x"]));
      expect(contents(folder, renamed, "instant", "none")).toEqual(new Set(["b=x"]));
    });
  });

  test("what lay there before the recording is durable", async () => {
    await withScratch("replay", (folder) => {
      mkdirSync(join(folder, "before/inner"), { recursive: true });
      writeFileSync(join(folder, "before/inner/kept"), "kept");
      const disk = createDisk(join(folder, "before"), "strict");
      const log: LogRecord[] = [{ type: "ack", text: "1\n2" }];
      const options = {
        states: 1,
        seed: 1,
        nameMode: "strict",
        writeModes: ["none"],
        disk,
      } as const;
      for (const state of crashStates(log, options)) {
        state.writeTo(join(folder, "after"));
        expect(state.acknowledged).toEqual(["1"]);
      }
      expect(readFileSync(join(folder, "after/inner/kept"), "utf8")).toBe("kept");
    });
  });
});
