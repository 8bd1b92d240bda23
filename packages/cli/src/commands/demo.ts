/**
 * `holdfast demo`: the promises of the store, shown on a store of its own in a temporary folder. Imports a
 * bundle, shows what is recorded, verifies, kills a writer in the middle of a burst, and flips a byte.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { cp, mkdtemp, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Holdfast, Problem } from "@holdfast/core";
import { HoldfastError, invariant } from "@holdfast/core";
import { initStore, openStore } from "@holdfast/node";
import { importFhir } from "@holdfast/packs";
import { Command } from "commander";
import { exitCodes, type Output, table } from "../output.ts";
import { projections, registry } from "../store.ts";
import { contextOf } from "./options.ts";

const bundle = new URL("../../../../examples/bundles/nosebleed-clinic.json", import.meta.url);
const main = fileURLToPath(
  new URL(`../main${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`, import.meta.url),
);

/** Acknowledged events after which the writer is killed. */
const killAfterEvents = 500;
/** Events that the writer would record if it lived. */
const burstEvents = 50_000;
/** Places of the copy that are flipped, one after another, until one is in use. */
const flipsMax = 16;

interface Place {
  readonly directory: string;
  readonly stateDirectory: string;
  readonly passphrase: string;
}

interface Shown {
  imported: number;
  acknowledged: number;
  recorded: number;
  missing: number;
  problems: readonly Problem[];
}

export function demoCommand(): Command {
  return new Command("demo")
    .description("show on a temporary store what the store promises; under a minute")
    .action(async (_, command: Command) => {
      const { output } = contextOf(command);
      const folder = await mkdtemp(join(tmpdir(), "holdfast-demo-"));
      const began = performance.now();
      try {
        const shown = await demonstrate(folder, output);
        const ok = shown.missing === 0 && shown.problems.length > 0 && shown.imported > 0;
        await output.row({ ok, ...shown });
        const seconds = ((performance.now() - began) / 1_000).toFixed(1);
        await output.say(
          `\n${ok ? "Done" : "A promise was broken"}, in ${seconds} seconds. The temporary folder is removed.`,
        );
        if (!ok) process.exitCode = exitCodes.checkFailed;
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    });
}

async function demonstrate(folder: string, output: Output): Promise<Shown> {
  const place: Place = {
    directory: join(folder, "store"),
    stateDirectory: join(folder, "state"),
    passphrase: randomBytes(24).toString("base64url"),
  };
  const imported = await recordBundle(place, output);
  const { acknowledged, recorded, missing } = await killWriter(place, output);
  const problems = await flipByte(folder, place, output);
  return { imported, acknowledged, recorded, missing, problems };
}

function opened(place: Place, readOnly: boolean): Promise<Holdfast> {
  return openStore({ ...place, registry, projections, readOnly, app: "holdfast-demo" });
}

async function using<T>(store: Holdfast, use: (store: Holdfast) => T | Promise<T>): Promise<T> {
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

async function recordBundle(place: Place, output: Output): Promise<number> {
  await output.say("1. A new encrypted store, and the records of a fictitious patient");
  await initStore({ ...place, tenant: "demonstration" });
  return using(await opened(place, false), async (store) => {
    const text = await readFile(bundle);
    const first = await importFhir(store, [text], { actor: "demo" });
    const again = await importFhir(store, [text], { actor: "demo" });
    await output.say(
      `   imported: ${first.appended} resources; the same bundle again: ${again.appended} appended, ${again.duplicates} recognised`,
    );
    await output.say("\n2. What is recorded can be queried");
    const observations = store.count("fhir", { where: { resource_type: "Observation" } });
    await output.say(
      `   ${store.count("fhir")} resources, ${observations} of them observations; the newest encounters:`,
    );
    const rows = store.query("fhir", {
      where: { resource_type: "Encounter" },
      order: ["-effective"],
      limit: 3,
    });
    const shown = table(
      ["type", "id", "effective"],
      rows.map(({ columns }) => [columns["resource_type"], columns["id"], columns["effective"]]),
    );
    await output.say(shown.replaceAll(/^/gm, "   "));
    await output.say("\n3. Every event is rechecked: chain, content, tree, signatures");
    const report = store.verify();
    await output.say(
      `   ${report.events} events in ${report.commits} signed commits: ${report.ok ? "all as recorded" : "PROBLEMS"}`,
    );
    invariant(report.ok, "a store that nobody touched verifies");
    return first.appended;
  });
}

async function killWriter(
  place: Place,
  output: Output,
): Promise<{ readonly acknowledged: number; readonly recorded: number; readonly missing: number }> {
  await output.say(
    "\n4. A writer records a burst of diary entries and is killed (SIGKILL) in the middle of it",
  );
  const acknowledged = await burst(place);
  return using(await opened(place, false), async (store) => {
    const missing = acknowledged.filter((id) => store.get(id) === undefined).length;
    const recorded = store.count("diary");
    await output.say(
      `   acknowledged before the kill: ${acknowledged.length}; found after reopening: ${recorded}; acknowledged and missing: ${missing}`,
    );
    const report = store.verify();
    await output.say(
      `   verify: ${report.ok ? "all as recorded" : "PROBLEMS"}; events never acknowledged may be there or not, none is there in part`,
    );
    invariant(report.ok, "a store whose writer was killed verifies");
    return { acknowledged: acknowledged.length, recorded, missing };
  });
}

/** Ids that a killed writer had acknowledged. */
async function burst(place: Place): Promise<readonly string[]> {
  const child = spawn(
    process.execPath,
    [...process.execArgv, main, "append", "--ndjson", "-", "--json"],
    {
      // The passphrase travels in the environment: command lines are seen by every user of the machine.
      env: {
        ...process.env,
        HOLDFAST_STORE: place.directory,
        HOLDFAST_STATE: place.stateDirectory,
        HOLDFAST_PASSPHRASE: place.passphrase,
      },
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  const ended = once(child, "exit");
  const fed = feed(child);
  const ids: string[] = [];
  for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
    ids.push((JSON.parse(line) as { readonly id: string }).id);
    if (ids.length === killAfterEvents) child.kill("SIGKILL");
  }
  await Promise.all([ended, fed]);
  invariant(ids.length >= killAfterEvents, "the writer acknowledged events until it was killed");
  return ids;
}

async function feed({ stdin }: ChildProcess): Promise<void> {
  invariant(stdin !== null, "the child was started with a pipe");
  const reader = { gone: false };
  stdin.on("error", () => (reader.gone = true));
  stdin.on("close", () => (reader.gone = true));
  for (let index = 0; index < burstEvents && !reader.gone; index++) {
    const draft = {
      type: "NosebleedRecorded",
      stream: `diary/demo/${index}`,
      scope: "Patient/demo",
      actor: "demo",
      data: {
        started_at: "2026-03-01T08:00:00.000Z",
        severity: "dripping",
        duration_minutes: index % 30,
      },
    };
    if (!stdin.write(`${JSON.stringify(draft)}\n`)) {
      await Promise.race([once(stdin, "drain"), once(stdin, "close")]).catch(() => undefined);
    }
  }
  if (!reader.gone) stdin.end();
}

async function flipByte(folder: string, place: Place, output: Output): Promise<readonly Problem[]> {
  await output.say("\n5. One byte of a copy of the store is changed");
  for (let flip = 0; flip < flipsMax; flip++) {
    const copy = {
      ...place,
      directory: join(folder, "copy"),
      stateDirectory: join(folder, "copy-state"),
    };
    for (const path of [copy.directory, copy.stateDirectory])
      await rm(path, { recursive: true, force: true });
    await cp(place.directory, copy.directory, { recursive: true });
    await cp(place.stateDirectory, copy.stateDirectory, { recursive: true });
    // A copy is told from its original; only what the flip adds to that is damage.
    const before = new Set((await problemsOf(copy)).map(({ object, code }) => `${object} ${code}`));
    const { name, offset } = await flipIn(copy.directory, flip);
    const found = await problemsOf(copy);
    const problems = found.filter(({ object, code }) => !before.has(`${object} ${code}`));
    if (problems.length === 0) continue;
    await output.say(`   byte ${offset} of ${name}; found:`);
    for (const { object, code } of problems.slice(0, 3)) await output.say(`   ${object}: ${code}`);
    return problems;
  }
  return [];
}

/** Changes one bit in the middle of the largest file, each time at another place. */
async function flipIn(
  directory: string,
  flip: number,
): Promise<{ readonly name: string; readonly offset: number }> {
  const names = (await readdir(directory, { withFileTypes: true })).filter((one) => one.isFile());
  const files = await Promise.all(
    names.map(async ({ name }) => ({ name, size: (await stat(join(directory, name))).size })),
  );
  const [largest] = files.toSorted((a, b) => b.size - a.size);
  invariant(largest !== undefined, "a store has files");
  const offset = Math.floor((largest.size * (flip + 1)) / (flipsMax + 2));
  const file = await open(join(directory, largest.name), "r+");
  try {
    const byte = new Uint8Array(1);
    await file.read(byte, 0, 1, offset);
    byte[0] = (byte[0] ?? 0) ^ 1;
    await file.write(byte, 0, 1, offset);
  } finally {
    await file.close();
  }
  return { name: largest.name, offset };
}

async function problemsOf(place: Place): Promise<readonly Problem[]> {
  try {
    return await using(await opened(place, true), (store) => store.verify().problems);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return [{ code: error.code, object: "store", message: error.message }];
  }
}
