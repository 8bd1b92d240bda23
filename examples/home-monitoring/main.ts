/**
 * Home monitoring: rooms, devices, vital signs with thresholds, the person's profile, a session and settings.
 * It begins with readings that an older release recorded, and goes on with what is decided by rules.
 *
 * Run it with `npm run example:home`. It works in a temporary folder and removes it.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createRegistry,
  type Decider,
  defineEvent,
  handleCommand,
  type Holdfast,
  invariant,
  isHoldfastError,
  type Registry,
} from "@holdfast/core";
import { initStore, openStore } from "@holdfast/node";
import {
  type DeviceCommand,
  deviceDecider,
  type DeviceState,
  type HomeEvent,
  homeEvents,
  homeProjections,
  type RoomCommand,
  roomDecider,
  vitalSignStream,
  vitalSigns,
  type VitalSignKind,
} from "@holdfast/packs";
import { z } from "zod";

const say = (text = ""): void => {
  process.stdout.write(`${text}\n`);
};
const subject = "ada";
const nurse = "nurse/7";

interface Place {
  readonly directory: string;
  readonly stateDirectory: string;
  readonly passphrase: string;
}

/** The release before: readings as texts in the units of the country, and no read models. */
const olderRelease: Registry = createRegistry([
  defineEvent({
    type: "VitalSignMeasured",
    concurrency: "independent",
    schema: z.object({ taken_at: z.string(), sign: z.string(), reading: z.string() }),
  }),
]);

async function recordWithOlderRelease(place: Place): Promise<void> {
  say(
    "1. An older release of the application recorded two readings, in its own shape (version 1):",
  );
  const home = await openStore({ ...place, registry: olderRelease, projections: [] });
  const readings = [
    ["temperature", { taken_at: "2026-03-01T08:00:00+01:00", sign: "temp_f", reading: "98.6" }],
    ["glucose", { taken_at: "2026-03-01T07:55:00+01:00", sign: "glucose_mg_dl", reading: "99" }],
  ] as const;
  for (const [kind, data] of readings) {
    const stream = vitalSignStream(subject, kind);
    await home.append({ type: "VitalSignMeasured", stream, scope: subject, actor: subject, data });
    say(`   ${JSON.stringify(data)}`);
  }
  await home.close();
}

function showVitalSigns(home: Holdfast): void {
  for (const { columns } of home.query("vital_signs", { order: ["kind"] })) {
    const { kind, value, diastolic, unit, level, measured_at } = columns;
    const shown = diastolic === null ? `${value}` : `${value}/${diastolic}`;
    say(
      `   ${String(kind).padEnd(18)} ${`${shown} ${unit}`.padEnd(14)} ${String(level).padEnd(9)} ${measured_at}`,
    );
  }
}

async function openSession(home: Holdfast): Promise<string> {
  say("\n3. A nurse signs in on the shared tablet; what follows names that session.");
  const opened = await home.append({
    type: "SessionOpened",
    stream: "session/1",
    scope: "tablet/1",
    actor: nurse,
    data: { opened_at: "2026-03-01T09:00:00+01:00", method: "passkey", time_zone: "Europe/Berlin" },
  });
  invariant(opened.status === "appended", "nothing was expected of the stream");
  const session = opened.events[0]?.id;
  invariant(session !== undefined, "one event was appended");
  return session;
}

/**
 * One command: decided against the stream as it stands, and decided anew when another writer was faster
 * (`handleCommand`). What the rules refuse is told, and nothing is recorded.
 */
async function turn<State, Command>(
  home: Holdfast,
  decider: Decider<State, Command, HomeEvent>,
  place: { readonly stream: string; readonly session: string },
  command: Command,
): Promise<string> {
  const { stream, session } = place;
  try {
    const result = await handleCommand(home, decider, {
      stream,
      scope: "home",
      actor: nurse,
      command,
      toDraft: (event) => ({ ...event, session }),
      fromEvent: ({ type, content, data }) => (content === "opened" ? { type, data } : undefined),
    });
    if (result.status === "conflict") return "others keep changing it";
    return result.events.map(({ type }) => type).join(", ") || "nothing to do";
  } catch (error) {
    if (!isHoldfastError(error, "command_refused")) throw error;
    return `refused: ${error.details["reason"]}`;
  }
}

async function furnish(home: Holdfast, session: string): Promise<void> {
  say("\n4. Rooms and devices, decided by rules:");
  const room = async (stream: string, command: RoomCommand): Promise<void> => {
    const answer = await turn(home, roomDecider, { stream, session }, command);
    say(`   ${stream.padEnd(11)} ${command.do.padEnd(9)} ${answer}`);
  };
  const device = async (stream: string, command: DeviceCommand): Promise<void> => {
    const answer = await turn(home, deviceDecider, { stream, session }, command);
    say(`   ${stream.padEnd(11)} ${command.do.padEnd(9)} ${answer}`);
  };
  await room("room/1", { do: "add", name: "Bedroom", use: "bedroom", floor: 1 });
  await room("room/2", { do: "add", name: "Kitchen", use: "kitchen", floor: 0 });
  await room("room/1", { do: "add", name: "Bedroom" });
  await room("room/2", { do: "rename", name: "Kitchen and dining" });
  await device("device/1", {
    do: "register",
    name: "Cuff",
    kind: "blood_pressure_monitor",
    room: "room/1",
  });
  await device("device/1", { do: "move", room: "room/2" });
  await device("device/1", {
    do: "report",
    reported_at: "2026-03-01T09:05:00+01:00",
    state: "online",
    battery_percent: 81,
  });
  await device("device/2", { do: "move", room: "room/1" });
  for (const { state } of home.query<DeviceState>("devices"))
    say(
      `   ${state.name} stands in ${state.room}, ${state.report?.state}, battery ${state.report?.battery_percent} %`,
    );
}

async function measure(home: Holdfast, session: string): Promise<void> {
  say("\n5. Readings; the level follows from the thresholds that hold:");
  const reading = (kind: VitalSignKind, minute: string, value: number, diastolic?: number) =>
    home.append({
      type: "VitalSignMeasured",
      stream: vitalSignStream(subject, kind),
      scope: subject,
      actor: nurse,
      session,
      data: {
        kind,
        measured_at: `2026-03-01T09:${minute}:00+01:00`,
        value,
        ...(diastolic === undefined ? {} : { diastolic }),
        unit: vitalSigns[kind].unit,
      },
    });
  await Promise.all([
    reading("heart_rate", "10", 104),
    reading("blood_pressure", "11", 168, 97),
    reading("oxygen_saturation", "12", 89),
    reading("respiration", "13", 16),
    reading("weight", "14", 69.4),
  ]);
  showVitalSigns(home);
  say("   This person's heart is to be watched more closely: thresholds of her own.");
  await home.append({
    type: "ThresholdSet",
    stream: vitalSignStream(subject, "heart_rate"),
    scope: subject,
    actor: "physician/3",
    session,
    data: { kind: "heart_rate", bounds: { high_warning: 90, high_critical: 100 } },
  });
  const critical = home.query("vital_signs", { where: { level: "critical" }, order: ["kind"] });
  say(`   Critical now: ${critical.map(({ columns }) => columns["kind"]).join(", ")}`);
  const levels = home.aggregate("vital_signs", {
    groupBy: ["level"],
    measures: { signs: "count" },
    order: ["-signs", "level"],
  });
  say(`   By level: ${levels.map(({ level, signs }) => `${signs} ${level}`).join(", ")}`);
}

async function settle(home: Holdfast, session: string): Promise<void> {
  say("\n6. Profile and settings, and the end of the session:");
  const profile = { type: "ProfileUpdated", stream: "profile/ada", scope: subject, actor: nurse };
  await home.append({ ...profile, session, data: { name: "Ada Example", language: "en" } });
  await home.append({ ...profile, session, data: { language: "de", height_cm: 168 } });
  const setting = { type: "SettingChanged", stream: "setting/units.glucose", scope: "home" };
  const data = { key: "units.glucose", value: "mmol/L" };
  await home.append({ ...setting, actor: subject, session, data });
  const closed = { closed_at: "2026-03-01T09:30:00+01:00", cause: "signed_out" };
  await home.append({
    type: "SessionClosed",
    stream: "session/1",
    actor: nurse,
    session,
    data: closed,
  });
  say(`   profile:  ${JSON.stringify(home.query("profile")[0]?.state)}`);
  say(`   settings: ${JSON.stringify(home.query("settings")[0]?.state)}`);
  say(`   sessions still open: ${home.count("sessions", { where: { open: 1 } })}`);
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-home-"));
  const place: Place = {
    directory: join(folder, "store"),
    stateDirectory: join(folder, "state"),
    passphrase: randomBytes(24).toString("base64url"),
  };
  try {
    await initStore({ ...place, tenant: "Home of Ada" });
    await recordWithOlderRelease(place);
    const registry = createRegistry(homeEvents);
    const home = await openStore({ ...place, registry, projections: homeProjections });
    try {
      say(
        "\n2. The present release reads them in its own shape (version 2); the log is as it was:",
      );
      showVitalSigns(home);
      const session = await openSession(home);
      await furnish(home, session);
      await measure(home, session);
      await settle(home, session);
      const { ok, events, commits } = home.verify();
      invariant(ok, "a store that nobody touched verifies");
      say(`\n7. verify: ${events} events in ${commits} signed commits, all as recorded.`);
      say(`   ${home.status().outbox.waiting} of them wait in the outbox for a connection.`);
    } finally {
      await home.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
