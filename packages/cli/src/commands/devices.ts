import { type AccessRow, type EnrolledDevice, everyScope, isoTime, roles } from "@holdfast/core";
import { Command, Option } from "commander";
import { withDesk } from "../desk.ts";
import { counted, table } from "../output.ts";
import { withStore } from "../store.ts";
import { collect, contextOf, span } from "./options.ts";

/** `holdfast devices ls|invite|revoke`: who syncs in the tenant. */
export function devicesCommand(): Command {
  return new Command("devices")
    .description("the devices of the tenant: list, invite, revoke")
    .addCommand(lsCommand())
    .addCommand(inviteCommand())
    .addCommand(revokeCommand());
}

function deviceWire(device: EnrolledDevice, access: readonly AccessRow[], own: string) {
  const { device: id, role, status, enrolledAt, logs } = device;
  const events = logs.reduce((sum, { size }) => sum + size, 0);
  const scopes = access.filter((row) => row.device === id).map(({ scope }) => scope);
  const enrolled_at = isoTime(enrolledAt);
  return { device: id, this_device: id === own, role, status, enrolled_at, events, scopes };
}

function lsCommand(): Command {
  return new Command("ls")
    .description("devices as the server lists them, with the scopes that the log grants them")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf(command);
      await withStore(options, "write", async (store) => {
        const listed = await withDesk(store, async (desk) => ({
          devices: await desk.devices(),
          access: desk.access(),
        }));
        const own = store.status().device;
        const rows = listed.devices.map((each) => deviceWire(each, listed.access, own));
        for (const row of rows) await output.row(row);
        const cells = rows.map((row) => [
          row.device + (row.this_device ? " *" : ""),
          row.role,
          row.status,
          row.enrolled_at,
          row.events,
          row.scopes.includes(everyScope) ? "all" : counted(row.scopes.length, "scope"),
        ]);
        const header = ["device", "role", "status", "enrolled", "events", "reads"];
        await output.say(table(header, cells));
        await output.say(`${counted(rows.length, "device")}; * is this one`);
      });
    });
}

interface InviteOptions {
  readonly role: (typeof roles)[number];
  readonly scope?: readonly string[];
  readonly expires: number;
}

function inviteCommand(): Command {
  return new Command("invite")
    .description("make an enrolment code for a new device; admins only")
    .addOption(new Option("--role <role>", "what it may do").choices(roles).default("device"))
    .option(
      "--scope <words>",
      "subject whose records it may read; repeatable; default: all",
      collect,
    )
    .addOption(
      new Option("--expires <span>", "how long the code holds: 90s, 15m, 12h, 30d")
        .argParser(span)
        .default(24 * 3_600_000, "24h"),
    )
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<InviteOptions>(command);
      await withStore(options, "write", async (store) => {
        const named = options.scope?.map((words) => store.scopeId(words));
        const terms = {
          role: options.role,
          scopes: named ?? [everyScope],
          lifeMs: options.expires,
        };
        const code = await withDesk(store, (desk) => desk.invite(terms));
        await output.row({ code, role: terms.role, scopes: terms.scopes });
        await output.say(
          `Code for one ${terms.role}, used once; hand it over in confidence:\n  ${code}`,
        );
        await output.say(
          "There: HOLDFAST_CODE=… holdfast enroll. Then sync there, here, and there again.",
        );
      });
    });
}

function revokeCommand(): Command {
  return new Command("revoke")
    .description("end a device's access; what it had delivered stays")
    .argument("<device>", "id of the device")
    .requiredOption("--why <code>", "reason code; recorded")
    .action(async (device: string, _, command: Command) => {
      const { options, output } = contextOf<{ readonly why: string }>(command);
      await withStore(options, "write", async (store) => {
        await withDesk(store, (desk) => desk.revoke(device, options.why));
        await output.row({ device, status: "revoked" });
        await output.say(
          `${device} is revoked: it gets no more keys, and what is recorded from now on has new ones.`,
        );
        await output.say("Next: holdfast sync, so that the other devices hear of it.");
      });
    });
}
