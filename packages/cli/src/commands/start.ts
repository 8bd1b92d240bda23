/**
 * `holdfast start`: a tour of sync. Starts a server in this process, lets two simulated devices exchange the
 * records of a fictitious patient through it, shows a conflict, and goes on serving.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Holdfast, invariant, isHoldfastError, parseEnrolmentCode } from "@holdfast/core";
import { importFhir } from "@holdfast/packs";
import type { RunningServer } from "@holdfast/server/serve";
import { Command } from "commander";
import { counted, exitCodes, type Output } from "../output.ts";
import { createSimulatedDevice, type SimulatedDevice } from "../simulated-device.ts";
import { contextOf } from "./options.ts";
import { stopped } from "./serve.ts";

const bundle = new URL("../../../../examples/bundles/nosebleed-clinic.json", import.meta.url);

/** Resources that the first device imports; the second brings the whole bundle. */
const firstPart = 30;
const stream = "diary/evening";
const invitationMs = 3_600_000;

/** What the tour found. */
interface Shown {
  readonly events: number;
  readonly sameEvents: boolean;
  readonly sameRows: boolean;
  readonly conflicts: number;
  readonly sides: number;
  readonly verified: boolean;
}

/** The command; `npm start` runs it. */
export function startCommand(): Command {
  return new Command("start")
    .description("a tour of sync: a server and two simulated devices; then goes on serving")
    .option("--once", "end after the tour: exit code 0, or 1 when a promise was broken")
    .addHelpText(
      "after",
      "\nHOLDFAST_PORT and HOLDFAST_DATA name port and folder of the server; without them it takes port 8443,\nor any that is free, and a temporary folder.",
    )
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<{ readonly once?: boolean }>(command);
      const folder = await mkdtemp(join(tmpdir(), "holdfast-start-"));
      const end = { server: undefined as RunningServer | undefined };
      try {
        end.server = await startServing(join(folder, "server"));
        const ok = await tour(folder, end.server, output);
        if (!ok) process.exitCode = exitCodes.checkFailed;
        else if (options.once !== true) await stopped();
      } finally {
        await end.server?.close();
        await rm(folder, { recursive: true, force: true });
      }
    });
}

/** A port that is taken is no reason not to show anything, unless it was asked for. */
async function startServing(temporary: string): Promise<RunningServer> {
  const { loadConfig, startServer } = await import("@holdfast/server/serve");
  const { env } = process;
  const data = env["HOLDFAST_DATA"] === undefined ? { data: temporary } : {};
  const config = loadConfig({ environment: env, flags: data });
  try {
    return await startServer(config);
  } catch (error) {
    if (env["HOLDFAST_PORT"] !== undefined || !isHoldfastError(error, "listener_refused")) {
      throw error;
    }
    return startServer({ ...config, port: 0 });
  }
}

async function tour(folder: string, server: RunningServer, output: Output): Promise<boolean> {
  const began = performance.now();
  const passphrase = randomBytes(12).toString("base64url");
  await output.say(`1. A server listens on ${server.url}`);
  const a = await foundTenant(folder, server, passphrase, output);
  const b = await inviteSecond(folder, a, passphrase, output);
  try {
    await diverge(a, b, output);
    const shown = await comeBack(a, b, output);
    const { sameEvents, sameRows, verified, sides } = shown;
    const ok = sameEvents && sameRows && verified && shown.conflicts === 1 && sides === 2;
    await output.row({ ok, url: server.url, ...shown });
    const seconds = ((performance.now() - began) / 1_000).toFixed(1);
    await output.say(`\n${ok ? "Done" : "A promise was broken"}, in ${seconds} seconds.`);
    if (ok) await sayNext(server, b, output);
    return ok;
  } finally {
    await a.close();
    await b.close();
  }
}

async function foundTenant(
  folder: string,
  server: RunningServer,
  passphrase: string,
  output: Output,
): Promise<SimulatedDevice> {
  await output.say("\n2. Device A founds a tenant there and imports a part of a patient's records");
  const a = await createSimulatedDevice("a", folder, passphrase);
  await a.desk.enrol(server.code ?? (await server.foundingCode()));
  const { appended } = await importFhir(a.store, [partOf(await readFile(bundle, "utf8"))], {
    actor: "clinic",
  });
  await a.store.append(nosebleed());
  const { pushed } = await a.sync();
  await output.say(
    `   imported: ${appended} resources; recorded: a nosebleed; ${counted(pushed, "event")} delivered, the server signed for them`,
  );
  return a;
}

/** The first resources of a bundle, every number as it was written. */
function partOf(text: string): string {
  const numbersAsWritten = (_: string, value: unknown, { source }: { source?: string }) =>
    typeof value === "number" && source !== undefined
      ? (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(source)
      : value;
  const whole = JSON.parse(text, numbersAsWritten as never) as { readonly entry: unknown[] };
  return JSON.stringify({ ...whole, entry: whole.entry.slice(0, firstPart) });
}

function nosebleed() {
  return {
    type: "NosebleedRecorded",
    stream,
    scope: "Patient/ada",
    actor: "ada",
    data: { started_at: "2026-03-02T19:10:00+01:00", severity: "dripping", duration_minutes: 10 },
  };
}

async function inviteSecond(
  folder: string,
  a: SimulatedDevice,
  passphrase: string,
  output: Output,
): Promise<SimulatedDevice> {
  await output.say("\n3. Device B is invited by A, enrols and gets the keys of what it may read");
  const code = await a.desk.invite({ role: "device", scopes: ["*"], lifeMs: invitationMs });
  const { joins } = parseEnrolmentCode(code);
  const b = await createSimulatedDevice("b", folder, passphrase, joins);
  await b.desk.enrol(code);
  // B's first event goes up, A admits it and wraps the keys to it, B takes them.
  for (const device of [b, a, b]) await device.sync();
  const keys = b.desk.grants().filter(({ state }) => state === "received").length;
  const { appended, duplicates } = await importFhir(b.store, [await readFile(bundle)], {
    actor: "clinic",
  });
  await output.say(
    `   keys received: ${keys}; B imports the whole bundle: ${appended} appended, ${duplicates} recognised as A's`,
  );
  for (const device of [b, a]) await device.sync();
  return b;
}

/** Both correct the same entry, neither knowing of the other. */
async function diverge(a: SimulatedDevice, b: SimulatedDevice, output: Output): Promise<void> {
  await output.say("\n4. B loses its connection; both correct the same nosebleed");
  b.connect("offline");
  await correct(a.store, 15);
  await correct(b.store, 25);
  await a.sync();
  const { status, failure } = await b.sync();
  const { waiting } = b.store.status().outbox;
  await output.say("   A: 15 minutes, delivered");
  await output.say(
    `   B: 25 minutes, recorded; sync: ${status}, ${failure ?? "no failure"}; ${counted(waiting, "event")} in its outbox`,
  );
}

async function correct(store: Holdfast, minutes: number): Promise<void> {
  const [recorded] = store.history(stream);
  invariant(recorded !== undefined, "the nosebleed was recorded");
  const data = { ...(recorded.event.data as object), duration_minutes: minutes };
  await store.amend(recorded.event.leaf, { actor: "ada", why: "remembered-better", data });
}

async function comeBack(a: SimulatedDevice, b: SimulatedDevice, output: Output): Promise<Shown> {
  await output.say("\n5. B is back");
  b.connect("online");
  for (const device of [b, a, b]) await device.sync();
  const sameEvents = sameText(leavesOf(a.store), leavesOf(b.store));
  const sameRows = sameText(rowsOf(a.store), rowsOf(b.store));
  const events = leavesOf(a.store).length;
  await output.say(
    `   ${events} events on each device: ${sameEvents ? "the same" : "DIFFERENT"}; read models: ${sameRows ? "the same" : "DIFFERENT"}`,
  );
  const conflicts = a.store.conflicts();
  const same = sameText(conflicts, b.store.conflicts());
  await output.say(
    `   ${counted(conflicts.length, "conflict")}, ${same ? "listed alike on both" : "DIFFERENT on each"}; nothing was overwritten:`,
  );
  for (const conflict of conflicts) {
    for (const leaf of conflict.sides) {
      const side = a.store.get(leaf);
      invariant(side !== undefined, "the sides of a conflict are in the store");
      const { duration_minutes: minutes } = side.data as { readonly duration_minutes: number };
      const by = side.header.dev === a.store.status().device ? "A" : "B";
      const holds = leaf === conflict.winner ? "; shown until somebody settles it" : "";
      await output.say(`     ${by} says ${minutes} minutes${holds}`);
    }
  }
  const reports = [a, b].map(({ store }) => store.verify());
  await output.say("\n6. Every event, signature and receipt is rechecked on both devices");
  for (const [at, report] of reports.entries()) {
    const verdict = report.ok ? "all as recorded" : "PROBLEMS";
    await output.say(`   ${at === 0 ? "A" : "B"}: ${counted(report.events, "event")}, ${verdict}`);
  }
  return {
    events,
    sameEvents,
    sameRows,
    conflicts: same ? conflicts.length : -1,
    sides: conflicts[0]?.sides.length ?? 0,
    verified: reports.every(({ ok }) => ok),
  };
}

function sameText(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function leavesOf(store: Holdfast): readonly string[] {
  return store
    .read({ limit: 10_000, headersOnly: true })
    .map(({ leaf }) => leaf)
    .toSorted();
}

function rowsOf(store: Holdfast): readonly unknown[] {
  return ["diary", "fhir"].map((model) =>
    store.query(model, { limit: 10_000 }).toSorted((x, y) => (x.stream < y.stream ? -1 : 1)),
  );
}

async function sayNext(server: RunningServer, b: SimulatedDevice, output: Output): Promise<void> {
  const { directory, stateDirectory, passphrase } = b.place;
  await output.say(`
The server goes on until Ctrl-C. In another terminal:

  curl ${server.url}/healthz
  curl ${server.url}/v1
  curl ${server.url}/openapi.json

Look at device B, and settle the conflict:

  export HOLDFAST_STORE=${directory} HOLDFAST_STATE=${stateDirectory} HOLDFAST_PASSPHRASE=${passphrase}
  npx holdfast conflicts show ${stream}
  npx holdfast conflicts resolve ${stream} --actor ada
  npx holdfast sync`);
}
