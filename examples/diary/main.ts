/**
 * A nosebleed diary from the first entry to the calendar: recorded offline, corrected, withdrawn, with every
 * original still to be seen. Two screens then correct one entry while neither knows of the other.
 *
 * Run it with `npm run example:diary`. It works in a temporary folder and removes it.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AppendResult, createRegistry, type Holdfast, invariant } from "@holdfast/core";
import { initStore, openStore } from "@holdfast/node";
import {
  diaryCalendar,
  type DiaryEntry,
  diaryEvents,
  diaryFrequency,
  diaryProjection,
} from "@holdfast/packs";

const say = (text = ""): void => {
  process.stdout.write(`${text}\n`);
};
const actor = "ada";
const registry = createRegistry(diaryEvents);
const projections = [diaryProjection];

function appended(result: AppendResult): Extract<AppendResult, { status: "appended" }> {
  invariant(result.status === "appended", "nobody else writes to this diary");
  return result;
}

const nosebleeds = [
  ["2026-03-02T07:10:00+01:00", 12, "dripping", "left"],
  ["2026-03-02T21:40:00+01:00", 35, "steady_stream", "left"],
  ["2026-03-04T06:55:00+01:00", 5, "spotting", "right"],
  ["2026-03-11T23:50:00+01:00", 20, "pouring", "both"],
  ["2026-03-11T23:50:00+01:00", 20, "pouring", "both"],
] as const;

async function recordOffline(diary: Holdfast): Promise<void> {
  say("1. Offline: five nosebleeds are recorded on the device, in one commit.");
  await diary.append(
    nosebleeds.map(([started_at, duration_minutes, severity, side], index) => ({
      type: "NosebleedRecorded",
      stream: `nosebleed/${index + 1}`,
      scope: actor,
      actor,
      data: { started_at, duration_minutes, severity, side },
    })),
  );
  const { events, outbox } = diary.status();
  say(`   ${events} events in the log (the device's own opening among them), durable on disk;`);
  say(`   ${outbox.waiting} wait in the outbox for a connection, whenever there is one.`);
}

function showRows(diary: Holdfast): void {
  for (const { state } of diary.query<DiaryEntry>("diary", { order: ["started_at"] })) {
    const { day, duration_minutes, severity, status, revisions } = state;
    say(
      `   ${day}  ${`${duration_minutes} min`.padEnd(7)} ${(severity ?? "").padEnd(16)} ${status}, revision ${revisions}`,
    );
  }
}

async function correct(diary: Holdfast): Promise<void> {
  say("\n2. A screen shows the diary, and is told of every change:");
  const end = diary.subscribe<DiaryEntry>("diary", {}, ({ added, changed }) => {
    if (added.length > 0) say(`   screen: ${added.length} entries`);
    for (const { state } of changed) {
      say(`   screen: ${state.day} is ${state.status}, ${state.duration_minutes} min`);
    }
  });

  say("   The second one took 25 minutes, not 35: an amendment, with its reason.");
  const [second] = diary.read({ stream: "nosebleed/2" });
  invariant(second !== undefined, "it was recorded above");
  const data = { ...(second.data as object), duration_minutes: 25 };
  const why = { actor, why: "wrong-duration", reason: "The kitchen clock was not set." };
  appended(await diary.amend(second.id, { ...why, data }));
  await turn();

  say("   The last one was entered twice: a retraction, with its reason.");
  const [twice] = diary.read({ stream: "nosebleed/5" });
  invariant(twice !== undefined, "it was recorded above");
  const twiceWhy = { actor, why: "entered-twice", reason: "Tapped twice." };
  appended(await diary.retract(twice.id, twiceWhy));
  await turn();
  end();
  showRows(diary);
}

/** Subscribers are told once the present turn of the program is over. */
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

function showOriginals(diary: Holdfast): void {
  say("\n3. Nothing was changed: what was said at each time is still there, and signed.");
  for (const stream of ["nosebleed/2", "nosebleed/5"])
    for (const { event } of diary.history(stream)) {
      const minutes = (event.data as { duration_minutes?: number }).duration_minutes;
      const reason = event.reason === undefined ? "" : ` because: ${event.reason}`;
      say(`   ${stream} ${event.op.padEnd(7)} ${minutes} min${reason}`);
    }
  const [first] = diary.read({ stream: "nosebleed/2" });
  invariant(first !== undefined, "it was recorded above");
  const [then] = diary.asOf<DiaryEntry>(
    "diary",
    { position: first.position },
    { where: { stream: "nosebleed/2" } },
  );
  say(`   As the diary stood before the correction: ${then?.state.duration_minutes} min.`);
  const report = diary.verify();
  invariant(report.ok, "a diary that nobody touched verifies");
  say(`   verify: ${report.events} events in ${report.commits} signed commits, all as recorded.`);
}

function showCalendar(diary: Holdfast): void {
  say("\n4. The calendar, by the day where the person was:");
  for (const { day, entries, worst_severity, minutes } of diaryCalendar(diary))
    say(
      `   ${day}  ${entries} ${entries === 1 ? "entry  " : "entries"}  worst: ${(worst_severity ?? "?").padEnd(16)} ${minutes} min`,
    );
  say("   How often, per week:");
  for (const { period, entries, mean_minutes } of diaryFrequency(diary, "week"))
    say(`   ${period}  ${"#".repeat(entries)} ${entries}, on average ${mean_minutes} min`);
}

async function reopen(folder: string, passphrase: string): Promise<Holdfast> {
  const place = { directory: join(folder, "store"), stateDirectory: join(folder, "state") };
  return openStore({ ...place, passphrase, registry, projections, app: "example-diary" });
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-diary-"));
  const passphrase = randomBytes(24).toString("base64url");
  try {
    const place = { directory: join(folder, "store"), stateDirectory: join(folder, "state") };
    await initStore({ ...place, passphrase, tenant: "Nosebleed clinic" });
    const diary = await reopen(folder, passphrase);
    try {
      await recordOffline(diary);
      await correct(diary);
      showOriginals(diary);
      showCalendar(diary);
      await correctTwice(diary);
    } finally {
      await diary.close();
    }
    await afterwards(folder, passphrase);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * Two writers start from the same state of one entry. `expect` is what a writer has seen: the later one is
 * told so, looks again, and decides anew; nothing is overwritten.
 */
async function correctTwice(diary: Holdfast): Promise<void> {
  say("\n5. Two screens hold the same entry and both correct it.");
  const stream = "nosebleed/1";
  const seen = diary.frontier(stream);
  const [entry] = diary.read({ stream });
  invariant(seen !== undefined && entry !== undefined, "it was recorded above");
  const correction = (severity: string) => ({
    type: entry.type,
    stream,
    op: "amend" as const,
    ref: [entry.leaf],
    actor,
    why: "wrong-severity",
    data: { ...(entry.data as object), severity },
  });
  appended(await diary.append(correction("spotting"), { expect: seen }));
  say("   The first one is recorded.");
  const late = await diary.append(correction("pouring"), { expect: seen });
  invariant(late.status === "conflict", "the entry has moved on");
  say(
    "   The second one expected the entry as it was: it is told of a conflict, nothing is recorded.",
  );
  const newest = diary.history(stream).at(-1)?.event;
  invariant(newest !== undefined, "it was recorded above");
  const data = { ...(newest.data as object), severity: "dripping_quickly" };
  const why = { actor, why: "wrong-severity", reason: "Both screens were compared." };
  appended(await diary.amend(newest.id, { ...why, data }));
  say("   A person looks at both and decides: a further amendment, which names the one before.");
}

async function afterwards(folder: string, passphrase: string): Promise<void> {
  say("\n6. The program ends and starts again, still offline. All of it is there:");
  const diary = await reopen(folder, passphrase);
  showRows(diary);
  say(`   ${diary.status().outbox.waiting} entries wait for a connection.`);
  await diary.close();
}

await main();
