/**
 * `npm run bench -- SUBJECT [--json] [--profile] [--quick] [--folder DIR] [--database URL]`; the subjects are below.
 *
 * Text for people first; the last line of standard output is one JSON object. README.md says how to read it.
 */
import { availableParallelism, cpus } from "node:os";
import { parseArgs } from "node:util";
import { benchAppend } from "./append.ts";
import { benchBackup } from "./backup.ts";
import { benchCrash } from "./crash.ts";
import { benchDelivery } from "./delivery.ts";
import { benchFirstSync } from "./first-sync.ts";
import { benchIngest } from "./ingest.ts";
import { benchKeys } from "./keys.ts";
import { benchMemory } from "./memory.ts";
import type { Report } from "./measure.ts";
import { benchOpen } from "./open.ts";
import { runProfiled } from "./profile.ts";
import { benchPostgresGrowth } from "./postgres-growth.ts";
import { benchPostgresIngest } from "./postgres-ingest.ts";
import { benchPostgresPull } from "./postgres-pull.ts";
import { benchPostgresRestart } from "./postgres-restart.ts";
import { benchPostgresTail } from "./postgres-tail.ts";
import { benchQuery } from "./query.ts";
import { benchRead } from "./read.ts";
import { benchRotation } from "./rotation.ts";
import { benchTail } from "./tail.ts";
import { benchUrgent } from "./urgent.ts";
import { benchVerify } from "./verify.ts";

interface Sizes {
  readonly folder: string | undefined;
  readonly database: string | undefined;
  readonly quick: boolean;
}

const subjects: Readonly<Record<string, (sizes: Sizes) => Promise<Report>>> = {
  append: ({ folder, quick }) =>
    quick
      ? benchAppend({ folder, rounds: 2, singles: 8, appenders: 8, bulk: 50 })
      : benchAppend({ folder, rounds: 15, singles: 200, appenders: 64, bulk: 10_000 }),
  query: ({ folder, quick }) =>
    benchQuery({
      folder,
      events: quick ? 200 : 100_000,
      rounds: quick ? 2 : 10,
      each: quick ? 5 : 200,
    }),
  read: ({ folder, quick }) =>
    benchRead({
      folder,
      events: quick ? 1_000 : 100_000,
      rounds: quick ? 1 : 5,
      subscribers: quick ? 5 : 200,
      past: quick ? 600 : 10_000,
      each: quick ? 5 : 200,
      outbox: quick ? 100 : 10_000,
      fold: quick ? { stream: 50, store: 200, times: 2 } : { stream: 200, store: 4_000, times: 10 },
    }),
  open: ({ folder, quick }) =>
    benchOpen({ folder, events: quick ? 100 : 100_000, rounds: quick ? 1 : 7 }),
  verify: ({ folder, quick }) =>
    benchVerify({ folder, events: quick ? 200 : 100_000, commit: 100, rounds: quick ? 1 : 3 }),
  backup: ({ folder, quick }) =>
    benchBackup({ folder, events: quick ? 200 : 100_000, rounds: quick ? 1 : 3 }),
  memory: ({ folder, quick }) =>
    benchMemory({ folder, events: quick ? 50 : 10_000, built: !quick }),
  ingest: ({ folder, quick }) =>
    quick
      ? benchIngest({ folder, rounds: 1, pushes: 2, batch: 20 })
      : benchIngest({ folder, rounds: 6, pushes: 10, batch: 500 }),
  delivery: ({ folder, quick }) => benchDelivery({ folder, events: quick ? 60 : 10_000 }),
  urgent: ({ folder, quick }) =>
    quick
      ? benchUrgent({ folder, queued: 300, times: 2, leases: 3 })
      : benchUrgent({ folder, queued: 50_000, times: 20, leases: 100 }),
  "first-sync": ({ folder, quick }) => benchFirstSync({ folder, events: quick ? 1_500 : 100_000 }),
  "postgres-ingest": ({ quick, ...place }) =>
    quick
      ? benchPostgresIngest({ ...place, rounds: 1, pushes: 2, batch: 20 })
      : benchPostgresIngest({ ...place, rounds: 6, pushes: 10, batch: 500 }),
  "postgres-pull": ({ quick, ...place }) =>
    quick
      ? benchPostgresPull({ ...place, events: 200, batch: 100, rounds: 1 })
      : benchPostgresPull({ ...place, events: 100_000, batch: 500, rounds: 3 }),
  "postgres-growth": ({ quick, ...place }) =>
    quick
      ? benchPostgresGrowth({ ...place, sizes: [1_000, 2_000], batches: 2 })
      : benchPostgresGrowth({
          ...place,
          // The last one takes an hour and 20 GB.
          sizes: process.env["HOLDFAST_FULL"] === "1" ? [1e5, 1e6, 1e7] : [1e5, 1e6],
          batches: 60,
        }),
  "postgres-tail": ({ quick, ...place }) =>
    benchPostgresTail({ ...place, subscribers: quick ? 6 : 500, pushes: quick ? 4 : 100 }),
  "postgres-restart": ({ quick, ...place }) =>
    quick
      ? benchPostgresRestart({ ...place, devices: 2, rounds: 1, calmMs: 200 })
      : benchPostgresRestart({ ...place, devices: 8, rounds: 3, calmMs: 3_000 }),
  rotation: ({ folder, quick }) =>
    benchRotation({ folder, keys: quick ? 300 : 100_000, appends: quick ? 20 : 1_000 }),
  crash: ({ folder, quick }) =>
    benchCrash({ folder, events: quick ? 300 : 1_000_000, rounds: quick ? 1 : 5 }),
  keys: ({ folder, quick }) =>
    quick
      ? benchKeys({ folder, rounds: 2, hangs: 1, operations: 200 })
      : benchKeys({ folder, rounds: 20, hangs: 20, operations: 20_000 }),
  tail: ({ folder, quick }) =>
    benchTail({ folder, subscribers: quick ? 5 : 100, pushes: quick ? 3 : 200 }),
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "boolean", default: false },
    profile: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    folder: { type: "string" },
    database: { type: "string" },
  },
});

const [subject = ""] = positionals;
const bench = subjects[subject];
if (bench === undefined || positionals.length !== 1) {
  console.error(
    `usage: npm run bench -- ${Object.keys(subjects).join("|")} [--json] [--profile] [--quick] [--folder DIR] [--database URL]`,
  );
  process.exitCode = 2;
} else if (values.profile) {
  process.exitCode = await runProfiled(
    process.argv.slice(2).filter((word) => word !== "--profile"),
  );
} else {
  const report = await bench({
    folder: values.folder,
    database: values.database,
    quick: values.quick,
  });
  const machine = {
    node: process.version,
    cores: availableParallelism(),
    cpu: cpus()[0]?.model ?? "",
  };
  if (!values.json) describe(report);
  console.log(JSON.stringify({ ...report, machine }));
}

function describe(report: Report): void {
  for (const [name, value] of Object.entries(report)) {
    if (name === "gates" || name === "subject") continue;
    console.log(`${name.padEnd(12)} ${JSON.stringify(value)}`);
  }
  for (const { name, value, relation, limit, met } of report.gates) {
    console.log(`${met ? "met " : "MISS"} ${name}: ${value} (${relation} ${limit})`);
  }
}
