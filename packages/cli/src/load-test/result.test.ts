/** Bounds, comparison and the file of a result. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isHoldfastError } from "@holdfast/core";
import { compareRuns, differencesOf } from "./compare.ts";
import { isKept, parseExpectation } from "./expectations.ts";
import { createPace, paceText } from "./pace.ts";
import { readResult, type RunResult } from "./result.ts";
import { figureNames, suites } from "./run.ts";

const known = [
  "latency.p95_ms",
  "latency.delivered_percent",
  "enqueue.100.burst_per_s",
  "workers.lost",
];

describe("bounds", () => {
  it.each([
    ["p95<5000ms", "latency.p95_ms", 4_999, 5_000],
    ["p95<5s", "latency.p95_ms", 4_999, 5_000],
    ["latency.p95_ms <= 5000", "latency.p95_ms", 5_000, 5_000.1],
    ["workers.lost<1", "workers.lost", 0, 1],
    ["delivered_percent>=99.5%", "latency.delivered_percent", 99.5, 99.4],
    ["enqueue.100.burst>100/s", "enqueue.100.burst_per_s", 101, 100],
  ])("%s", (text, figure, kept, missed) => {
    const bound = parseExpectation(text, known);
    expect(bound.figure).toBe(figure);
    expect(isKept(bound, { [figure]: kept })).toBe(true);
    expect(isKept(bound, { [figure]: missed })).toBe(false);
    expect(isKept(bound, {})).toBe(false);
    expect(isKept(bound, { [figure]: Number.NaN })).toBe(false);
  });

  it.each([
    "p95",
    "p95<",
    "p95<fast",
    "p95<5parsecs",
    "p95<5%",
    "p12<5ms",
    "memory.p95<5ms",
    "<5",
    "",
  ])("refuses %j and says what there is", (text) => {
    expect(() => parseExpectation(text, known)).toThrow(/needed|units|no figure/);
  });

  it("can be stated of every figure of every suite", () => {
    for (const name of figureNames(suites, false)) {
      expect(parseExpectation(`${name}<1`, figureNames(suites, false)).figure).toBe(name);
    }
  });
});

function result(figures: Readonly<Record<string, number>>, node = "v24"): RunResult {
  return {
    kind: "holdfast-load-test",
    version: 1,
    began_at: "2026-03-01T08:00:00.000Z",
    quick: false,
    server: "simulated",
    machine: {
      cores: 2,
      cpu: "x",
      memory_mb: 1,
      platform: "linux x64",
      node,
      holdfast: "0.1.0",
      load_before: 0,
      load_after: 1,
    },
    suites: [{ name: "latency", seconds: 1, settings: { events: 1 }, figures, checks: {} }],
  };
}

describe("comparing two runs", () => {
  it("gives each figure of either with its ratio, where there is one", () => {
    const a = result({ p50_ms: 10, p95_ms: 0, max_ms: 7, lost: 0 });
    const b = result({ p50_ms: 15, p95_ms: 3, more: 1, lost: 0 });
    expect(compareRuns(a, b)).toEqual([
      { figure: "latency.p50_ms", a: 10, b: 15, ratio: 1.5 },
      { figure: "latency.p95_ms", a: 0, b: 3, ratio: undefined },
      { figure: "latency.max_ms", a: 7, b: undefined, ratio: undefined },
      { figure: "latency.lost", a: 0, b: 0, ratio: 1 },
      { figure: "latency.more", a: undefined, b: 1, ratio: undefined },
    ]);
  });

  it("says in what the runs differ, but not in load and time", () => {
    const a = result({});
    expect(differencesOf(a, { ...a, machine: { ...a.machine, load_before: 9 } })).toEqual([]);
    const [suite] = a.suites;
    const other = {
      ...result({}, "v26"),
      server: "https://x",
      suites: suite === undefined ? [] : [{ ...suite, settings: { events: 2 } }],
    };
    expect(differencesOf(a, other)).toEqual(["node", "server", "settings of latency"]);
  });
});

describe("the file of a result", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "holdfast-result-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  const reasonOf = (text: string | undefined): unknown => {
    const path = join(folder, "result.json");
    if (text !== undefined) writeFileSync(path, text);
    try {
      return readResult(path, "--compare A").suites.length;
    } catch (error) {
      return isHoldfastError(error, "input_unreadable") ? error.details["reason"] : error;
    }
  };

  it("is read back, and anything else is refused with the reason", () => {
    expect(reasonOf(undefined)).toBe("unreadable");
    expect(reasonOf(JSON.stringify(result({ p50_ms: 1 })))).toBe(1);
    expect(reasonOf("{")).toBe("not_json");
    expect(reasonOf("{}")).toBe("no_load_test_result");
    expect(reasonOf(JSON.stringify({ ...result({}), version: 2 }))).toBe("no_load_test_result");
    expect(reasonOf(JSON.stringify(result({ p50_ms: Number.NaN })))).toBe("no_load_test_result");
  });
});

describe("pace", () => {
  it.each([
    [0, 100, 0, "0 of 100"],
    [1_200, 5_000, 4_000, "1,200 of 5,000, 300/s, 13 s left"],
    [1, 3_600, 1_000, "1 of 3,600, 1.0/s, 60 min left"],
    [100, 100, 2_000, "100 of 100, 50/s"],
  ])("%i of %i after %i ms", (done, total, ms, text) => {
    expect(paceText(done, total, ms)).toBe(text);
  });

  it("writes a few lines elsewhere than on a terminal, and rewrites one there", () => {
    const texts: string[] = [];
    let now = 0;
    const sink = { write: (text: string) => texts.push(text) };
    const pace = createPace("enqueue", 1_000, sink, () => (now += 1));
    for (let done = 1; done <= 1_000; done++) pace.update(done);
    pace.end();
    expect(texts).toHaveLength(5);
    expect(texts.at(-1)).toMatch(/^enqueue: 1,000 of 1,000, [\d,]+\/s\n$/);
    texts.length = 0;
    const drawn = createPace("enqueue", 1_000, { ...sink, isTTY: true }, () => (now += 1));
    for (let done = 1; done <= 1_000; done++) drawn.update(done);
    drawn.end();
    expect(texts.slice(0, -1).every((text) => text.startsWith("\r") && !text.includes("\n"))).toBe(
      true,
    );
    expect(texts.at(-1)).toBe("\n");
  });
});
