/** Every bench runs with tiny sizes and prints what README.md of bench/ says; its speed is not judged here. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { summarise } from "../bench/profile.ts";
import { createEmpty } from "./postgres/cluster.ts";

const main = fileURLToPath(new URL("../bench/main.ts", import.meta.url));

function runBench(...words: readonly string[]) {
  return spawnSync(process.execPath, ["--conditions=@holdfast/source", main, ...words], {
    encoding: "utf8",
  });
}

interface Shape {
  readonly subject: string;
  readonly ratio: number;
  readonly gates: readonly Readonly<Record<string, unknown>>[];
  readonly [figure: string]: unknown;
}

const number = expect.any(Number) as unknown;
const timing = { count: number, rate: number, p50: number, p95: number, p99: number };
const compared = { ours: timing, raw: timing, ratio: number };

const shapes: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  append: {
    single: compared,
    bulk: { events: 50, ...compared },
    concurrent: { times_single: number },
  },
  query: { get_by_id: compared, row_by_stream: compared, stream_of_100: compared },
  read: {
    rebuild_s: number,
    rebuild_resumed: { kept: number },
    live: { subscribers: 5, total: timing, delivery: timing },
    cached_row_us: { p50: number, p95: number },
    as_of: { position: timing, recorded: timing, occurred: timing },
    late_arrival_ms: { by_store: number, by_stream: number },
    outbox: { rebuild_s: number, query_ms: number },
  },
  open: { open: timing, raw: timing, key_derivation: timing },
  verify: { headers: timing, commitments: timing, raw: timing },
  memory: { empty_node_mb: { steady: number, peak: number }, appended_mb: { live: number } },
  ingest: { ours: timing, raw: timing },
  delivery: { events: 60, push_s: number, pull_s: number, in_turn_s: number, following_s: number },
  urgent: {
    queued: 300,
    exchanges: 1,
    lease_64: timing,
    lease_1000: timing,
    memory_mb: { opened: { now: number }, waiting: { now: number }, delivered: { most: number } },
  },
  "first-sync": {
    events: 1_500,
    usual: {
      killed_at: [{ events: number }, { events: number }],
      above: number,
      twice: 0,
      ok: true,
    },
    small: { open: { now: number }, pulling: { most: number }, twice: 0, ok: true },
  },
  tail: { subscribers: 5, hints: { count: 15 }, last_subscriber: timing },
};

const full = process.env["HOLDFAST_FULL"] === "1";
const postgresShapes: typeof shapes = {
  "postgres-ingest": {
    ours: timing,
    placing: timing,
    raw: timing,
    unhindered: { push: number, placing: number },
    writers: { one: number, many: number, ratio: number },
  },
  "postgres-pull": { events: 200, events_per_s: { all: number }, by_scopes: { per_s: number } },
  "postgres-growth": { costs: [{ events: 1_000 }, { events: 2_000, relative: number }] },
  "postgres-tail": { subscribers: 6, nodes: 2, hints: { count: 24 }, other_node: { count: 12 } },
  ...(full && {
    "postgres-restart": { restarts: { count: 2 }, pushes: { most: number }, lost: 0 },
  }),
};

describe("npm run bench", () => {
  let database: string;
  beforeAll(async () => {
    database = await createEmpty();
  });

  it.each([...Object.entries(shapes), ...Object.entries(postgresShapes)])(
    "%s --json ends with one JSON object",
    (subject, shape) => {
      const place = subject in postgresShapes ? ["--database", database] : [];
      const { status, stdout, stderr } = runBench(subject, "--quick", "--json", ...place);
      expect(stderr).toBe("");
      expect(status).toBe(0);
      const report = JSON.parse(stdout) as Shape;
      expect(report).toMatchObject({ subject, ratio: number, ...shape });
      expect(report.ratio).toBeGreaterThan(0);
      expect(report.gates.length).toBeGreaterThan(0);
      for (const gate of report.gates) {
        const { value, relation, limit, met } = gate as Record<string, number | string>;
        const holds =
          relation === ">=" ? Number(value) >= Number(limit) : Number(value) < Number(limit);
        expect(met).toBe(holds);
      }
    },
  );

  it("without --json says the same in words, and the JSON object last", () => {
    const { stdout } = runBench("query", "--quick");
    const lines = stdout.trim().split("\n");
    expect(stdout).toContain("stream of 100 events p95 ms");
    expect((JSON.parse(lines.at(-1) as string) as Shape).subject).toBe("query");
  });

  it("refuses an unknown subject with exit code 2", () => {
    const { status, stderr } = runBench("speed");
    expect(status).toBe(2);
    expect(stderr).toContain("append|query|read|open|verify|memory|ingest");
  });

  it("profiles by self time", () => {
    const frame = (functionName: string) => ({
      functionName,
      url: "file:///r/packages/a.ts",
      lineNumber: 0,
    });
    const nodes = [
      { id: 1, callFrame: frame("seal") },
      { id: 2, callFrame: frame("(idle)") },
      { id: 3, callFrame: frame("sign") },
    ];
    const lines = summarise({
      nodes,
      samples: [1, 2, 3, 3],
      timeDeltas: [1_000, 9_000, 1_000, 2_000],
    });
    expect(lines).toHaveLength(2);
    expect(lines[0]).toContain("75.0 %");
    expect(lines[0]).toContain("sign  packages/a.ts:1");
  });
});
