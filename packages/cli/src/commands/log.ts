import { type LogQuery, toWire } from "@holdfast/core";
import { Command } from "commander";
import { counted, table } from "../output.ts";
import { pages } from "../rows.ts";
import { withStore } from "../store.ts";
import { contextOf, count, instant, position } from "./options.ts";

/** Conditions of a query as options: those below, under the same names. */
export type LogOptions = Omit<LogQuery, "headersOnly">;

/** The conditions on events that `log` and `export` share. */
export function withConditions(command: Command): Command {
  return command
    .option("--stream <words>", "only this stream, in words or by id")
    .option("--type <type>", "only this event type")
    .option("--actor <words>", "only on this authority, in words or by id")
    .option("--since <time>", "recorded at this time or later", instant)
    .option("--until <time>", "recorded before this time", instant)
    .option("--after <position>", "only after this position", position)
    .option("--limit <n>", "at most so many events", count)
    .option("--unsynced", "only what the server has not acknowledged");
}

export function conditionsOf(options: LogOptions): LogQuery {
  const { stream, type, actor, since, until, after, limit, unsynced } = options;
  return {
    ...(stream === undefined ? {} : { stream }),
    ...(type === undefined ? {} : { type }),
    ...(actor === undefined ? {} : { actor }),
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
    ...(after === undefined ? {} : { after }),
    ...(limit === undefined ? {} : { limit }),
    ...(unsynced === undefined ? {} : { unsynced }),
  };
}

/** `holdfast log`: events in the order in which they were recorded here. */
export function logCommand(): Command {
  return withConditions(
    new Command("log").description("events in the order in which they were recorded here"),
  ).action(async (_, command: Command) => {
    const { options, output } = contextOf<LogOptions>(command);
    await withStore(options, "read", async (store) => {
      let shown = 0;
      for (const events of pages(store, conditionsOf(options))) {
        for (const event of output.json ? events : []) {
          const { header: _header, ...row } = toWire(event);
          await output.row(row);
        }
        shown += events.length;
        await output.say(
          table(
            ["position", "recorded at", "type", "op", "stream", "id"],
            events.map(toWire).map((one) => {
              return [one.position, one.recorded_at, one.type, one.op, one.stream, one.id];
            }),
          ),
        );
      }
      await output.say(counted(shown, "event"));
    });
  });
}
