import { invite, isoTime, type Role, roles, withdrawAccess } from "@holdfast/core";
import { Command, Option } from "commander";
import { table } from "../output.ts";
import { withServer } from "../server.ts";
import { collect, contextOf, span } from "./options.ts";

/** `holdfast devices …`: the installations of the tenant, and who may read what. */
export function devicesCommand(): Command {
  return new Command("devices")
    .description("the devices of the tenant: list, invite, revoke")
    .addCommand(lsCommand())
    .addCommand(inviteCommand())
    .addCommand(revokeCommand());
}

function lsCommand(): Command {
  return new Command("ls")
    .description("devices that are enrolled, with the scopes that they may read")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf(command);
      await withServer(options, async ({ grants, transport, call }) => {
        const rows = grants.rows();
        const listed = (await transport.devices(call)).map(({ device, role, status, ...more }) => ({
          device,
          role,
          status,
          enrolled_at: isoTime(more.enrolledAt),
          scopes: rows.filter((row) => row.device === device).map(({ scope }) => scope),
        }));
        for (const device of listed) await output.row(device);
        const header = ["DEVICE", "ROLE", "STATUS", "ENROLLED", "SCOPES"];
        const cells = listed.map(({ device, role, status, enrolled_at, scopes }) => {
          return [device, role, status, enrolled_at, scopes.join(" ")];
        });
        await output.say(table(header, cells));
      });
    });
}

function inviteCommand(): Command {
  return new Command("invite")
    .description("make an enrolment code for one device; this device admits it by itself later")
    .addOption(new Option("--role <role>", "what it may do").choices(roles).default("device"))
    .option("--scope <words>", "a scope that it may read, repeatable; default: all", collect)
    .option("--expires <span>", "how long the code holds: 90s, 15m, 12h, 30d", span, 86_400_000)
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<{
        readonly role: Role;
        readonly scope?: readonly string[];
        readonly expires: number;
      }>(command);
      await withServer(options, async ({ store, grants, server, transport, call, hello }) => {
        const scopes = options.scope?.map((words) => store.scopeId(words)) ?? ["*"];
        const at = { url: server.url, hello: await hello() };
        const terms = { role: options.role, scopes, lifeMs: options.expires };
        const code = await invite(grants, transport, call, at, terms);
        await output.row({ code, expires_at: isoTime(at.hello.time + options.expires) });
        await output.say(code);
        await output.say("Whoever holds this code joins the tenant. Hand it over in person.");
      });
    });
}

function revokeCommand(): Command {
  return new Command("revoke")
    .description("end a device's access: no new grants, new keys, and the server refuses it")
    .argument("<device>", "device id")
    .requiredOption("--why <reason>", "reason code")
    .action(async (device: string, _, command: Command) => {
      const { options, output } = contextOf<{ readonly why: string }>(command);
      await withServer(options, async ({ grants, transport, call }) => {
        // Recorded first: keys change even when the server cannot be told just now.
        await withdrawAccess(grants, device, options.why);
        await transport.revoke({ device, why: options.why }, call);
        await output.row({ device, status: "revoked" });
        await output.say(`${device} is revoked. What it was granted before it can still open.`);
      });
    });
}
