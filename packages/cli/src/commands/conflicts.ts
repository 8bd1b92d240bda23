import { type Conflict, type Holdfast, type Resolution, toWire } from "@holdfast/core";
import { Command } from "commander";
import { counted, exitCodes, type Output, printable, table } from "../output.ts";
import { UsageError, withStore } from "../store.ts";
import { payloadOf } from "./append.ts";
import { contextOf } from "./options.ts";

interface ResolveOptions {
  readonly actor?: string;
  readonly side?: string;
  readonly data?: string;
  readonly why?: string;
  readonly reason?: string;
}

/** `holdfast conflicts ls|show|resolve`: what several devices say differently, and settling it. */
export function conflictsCommand(): Command {
  return new Command("conflicts")
    .description("what devices recorded without knowing of each other; settle it")
    .addCommand(lsCommand())
    .addCommand(showCommand())
    .addCommand(resolveCommand());
}

function wireOf(conflict: Conflict) {
  const { stream, status, strategy, winner, sides, events, settledBy } = conflict;
  return { stream, status, strategy, winner, sides, events, settled_by: settledBy ?? null };
}

function lsCommand(): Command {
  return new Command("ls")
    .description("open conflicts")
    .option("--all", "settled ones too")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<{ readonly all?: boolean }>(command);
      await withStore(options, "read", async (store) => {
        const conflicts = store.conflicts({ all: options.all === true });
        for (const conflict of conflicts) await output.row(wireOf(conflict));
        const cells = conflicts.map(({ stream, status, strategy, sides }) => {
          return [stream, status, strategy, sides.length];
        });
        await output.say(table(["stream", "status", "strategy", "sides"], cells));
        await output.say(counted(conflicts.length, "conflict"));
      });
    });
}

function showCommand(): Command {
  return new Command("show")
    .description("the conflicts of a stream with the events of their sides")
    .argument("<stream>", "the stream, in words or by id")
    .action(async (stream: string, _, command: Command) => {
      const { options, output } = contextOf(command);
      await withStore(options, "read", async (store) => {
        const conflicts = store.conflicts({ stream, all: true });
        for (const conflict of conflicts) await printConflict(store, output, conflict);
        await output.say(counted(conflicts.length, "conflict"));
      });
    });
}

async function printConflict(store: Holdfast, output: Output, conflict: Conflict): Promise<void> {
  const sides = conflict.sides.flatMap((leaf) => {
    const event = store.get(leaf);
    return event === undefined ? [] : [event];
  });
  const wire = sides.map((event) => {
    const { header: _header, ...side } = toWire(event);
    return side;
  });
  await output.row({ ...wireOf(conflict), sides: wire });
  await output.say(`${conflict.status}, ${conflict.strategy}, ${conflict.events.length} events`);
  for (const event of sides) {
    const mark = event.leaf === conflict.winner ? "*" : " ";
    const said = event.text ?? JSON.stringify(event.data) ?? event.content;
    await output.say(printable(`${mark} ${event.leaf}  ${toWire(event).recorded_at}  ${said}`));
  }
  if (conflict.settledBy !== undefined) await output.say(`settled by ${conflict.settledBy}`);
}

function resolveCommand(): Command {
  return new Command("resolve")
    .description("settle the open conflicts of a stream with an event that names every side")
    .argument("<stream>", "the stream, in words or by id")
    .option("--actor <words>", "on whose authority")
    .option("--side <leaf>", "the side whose content stands; default: the provisional winner")
    .option("--data <json>", "content that stands instead of that of a side")
    .option("--why <code>", "reason code")
    .option("--reason <words>", "reason in words; kept encrypted")
    .action(async (stream: string, _, command: Command) => {
      const { options, output } = contextOf<ResolveOptions>(command);
      const resolution = resolutionOf(options);
      await withStore(options, "write", async (store) => {
        const result = await store.resolve(stream, resolution);
        const [event] = result.status === "appended" ? result.events : [];
        if (event === undefined) {
          // Somebody else extended the stream in between: look again before deciding.
          process.exitCode = exitCodes.checkFailed;
          await output.row({ status: "conflict" });
          await output.say("The stream has moved on; look at its conflicts again.");
          return;
        }
        await output.row({ status: "settled", id: event.id, leaf: event.leaf });
        await output.say(`settled by ${event.leaf}`);
      });
    });
}

function resolutionOf(options: ResolveOptions): Resolution {
  const { actor, side, data, why, reason } = options;
  if (actor === undefined) throw new UsageError("--actor is needed: who settles the conflict?");
  return {
    actor,
    ...(side === undefined ? {} : { side }),
    ...(data === undefined ? {} : { data: payloadOf(data) }),
    ...(why === undefined ? {} : { why }),
    ...(reason === undefined ? {} : { reason }),
  };
}
