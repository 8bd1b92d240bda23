/** `holdfast load-test` as a process: a small run of everything; the full sizes with HOLDFAST_FULL=1. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadConfig, type RunningServer, startServer } from "@holdfast/server/serve";

const main = join(import.meta.dirname, "../../packages/cli/src/main.ts");
const full = process.env["HOLDFAST_FULL"] === "1";
const timeout = full ? 3_600_000 : 300_000;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-cli-load-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function holdfast(
  args: readonly string[],
  environment: Record<string, string> = {},
): Promise<Ended> {
  const child = spawn(
    process.execPath,
    ["--conditions=@holdfast/source", main, "load-test", ...args],
    { env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "pipe"] },
  );
  let [out, err] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  return new Promise((resolve) => {
    child.on("close", (code) => {
      resolve({ code, out, err });
    });
  });
}

interface Result {
  readonly server: string;
  readonly machine: Readonly<Record<string, unknown>>;
  readonly suites: readonly {
    readonly name: string;
    readonly figures: Readonly<Record<string, number>>;
    readonly checks: Readonly<Record<string, boolean>>;
  }[];
}

const names = ["enqueue", "latency", "memory", "breaker", "workers"];
const sizes = full ? [] : ["--quick"];

describe("holdfast load-test", () => {
  it(
    "runs its five suites; nothing is lost or twice; leaves result and plots",
    { timeout },
    async () => {
      const out = join(folder, "run");
      // Bounds that no machine misses: what is tested is that they are looked at.
      const kept = ["latency.delivered_percent>=100", "breaker.trips>0", "workers.duplicates<1"];
      const {
        code,
        out: said,
        err,
      } = await holdfast([...sizes, "--out", out, "--expect", ...kept]);
      expect({ code, err: code === 0 ? "" : err + said }).toEqual({ code: 0, err: "" });
      expect(err).toMatch(/memory: [\d,]+ of [\d,]+, [\d.,]+\/s/);
      expect(said).toMatch(/^latency +\d/m);
      expect(said).toContain("kept    workers.duplicates<1: 0");
      const result = JSON.parse(readFileSync(join(out, "result.json"), "utf8")) as Result;
      expect(result.suites.map(({ name }) => name)).toEqual(names);
      expect(result.machine).toMatchObject({ node: process.version, holdfast: "0.1.0" });
      for (const { name, checks, figures } of result.suites) {
        expect({ name, failed: Object.entries(checks).filter(([, holds]) => !holds) }).toEqual({
          name,
          failed: [],
        });
        for (const value of Object.values(figures)) expect(value).toBeTypeOf("number");
        const svg = readFileSync(join(out, `${name}.svg`), "utf8");
        expect(svg).toMatch(/<polyline [^>]*points="\d/);
      }
      const breaker = result.suites.find(({ name }) => name === "breaker");
      expect(breaker?.figures["failures"]).toBe(50);
    },
  );

  it("compares two results, figure by figure", async () => {
    const file = join(folder, "run", "result.json");
    const { code, out } = await holdfast(["--json", "--compare", file, file]);
    expect(code).toBe(0);
    const { figures, differences } = JSON.parse(out) as {
      figures: { ratio: number }[];
      differences: string[];
    };
    expect(differences).toEqual([]);
    expect(figures.length).toBeGreaterThan(30);
    expect(new Set(figures.map(({ ratio }) => ratio))).toEqual(new Set([1]));
  });

  it(
    "ends with 1 when a stated bound is missed, in a store that it was given",
    { timeout },
    async () => {
      const store = join(folder, "own");
      const args = ["--json", "--quick", "--suite", "enqueue", "--expect", "enqueue.10.max<0ms"];
      const { code, out } = await holdfast([...args, "--store", store]);
      expect(code).toBe(1);
      const { expectations } = JSON.parse(out) as { expectations: unknown };
      expect(expectations).toMatchObject([{ bound: "enqueue.10.max<0ms", kept: false }]);
      expect(readdirSync(join(store, "enqueue"))).toContain("store");
      const again = await holdfast(["--quick", "--suite", "enqueue", "--store", store]);
      expect(again.code).toBe(2);
      expect(again.err).toContain("new or empty");
    },
  );

  it("delivers to a server that is named, by a code", { timeout }, async () => {
    const flags = { data: join(folder, "server"), port: 0, name: "named" };
    const server: RunningServer = await startServer(loadConfig({ flags }));
    try {
      const code = join(folder, "code");
      writeFileSync(code, server.code ?? "");
      const to = ["--server", server.url, "--code-file", code];
      const args = ["--json", "--quick", "--suite", "latency", "--expect", "failed_requests<1"];
      const ended = await holdfast([...args, ...to]);
      expect({ code: ended.code, err: ended.err }).toEqual({ code: 0, err: "" });
      const result = JSON.parse(ended.out) as Result;
      expect(result.server).toBe(server.url);
      expect(result.suites[0]?.checks).toEqual({ every_event_is_delivered: true });
      // The code is used up.
      const again = await holdfast([...args, ...to]);
      expect(again.code).toBe(3);
      expect(JSON.parse(again.err)).toMatchObject({ error: { code: "enrol_code_refused" } });
    } finally {
      await server.close();
    }
  });

  it.each([
    [["--suite", "memory", "--expect", "p95<5ms"], "The run has no figure p95"],
    [["--compare", "a.json"], "name two results"],
    [["--server", "http://127.0.0.1:1"], "Give the code"],
  ])("refuses %j before it runs", async (args, words) => {
    const { code, err } = await holdfast(args, { HOLDFAST_STORE: join(folder, "unused") });
    expect({ code, says: err.includes(words), err }).toMatchObject({ code: 2, says: true });
    expect(existsSync(join(folder, "unused"))).toBe(false);
  });

  it.each([
    [["--compare", "none.json", "none.json"], "input_unreadable"],
    [["--out", "/dev/null/x"], "output_unwritable"],
  ])("refuses %j with a code", async (args, expected) => {
    const { code, err } = await holdfast(["--json", ...args], { HOLDFAST_CODE: "x" });
    expect(code).toBe(3);
    expect(JSON.parse(err)).toMatchObject({ error: { code: expected } });
  });
});
