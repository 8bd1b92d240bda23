import { Command } from "commander";
import { counted, table } from "../output.ts";
import { confirmName } from "./confirm.ts";
import { contextOf } from "./options.ts";

interface FolderOptions {
  readonly data?: string;
}

/** `holdfast shards ls|split`: the shards of a server's data folder, for its operator. */
export function shardsCommand(): Command {
  return new Command("shards")
    .description("the shards of a server: list them, move a tenant to one of its own")
    .addCommand(lsCommand())
    .addCommand(splitCommand());
}

/** Other commands do not wait for what only a server needs. */
async function shardsOf({ data }: FolderOptions) {
  const { loadConfig, openShards } = await import("@holdfast/server/serve");
  const flags = data === undefined ? {} : { data };
  return openShards(loadConfig({ environment: process.env, flags }));
}

function folderOption(command: Command): Command {
  return command.option("--data <dir>", "data folder of the server; default: holdfast-data");
}

function lsCommand(): Command {
  return folderOption(new Command("ls"))
    .description("every shard with its tenant; also while the server runs")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<FolderOptions>(command);
      const shards = await shardsOf(options);
      const rows = await shards.list();
      for (const row of rows) await output.row(row);
      const cells = rows.map(({ tenant, shard, log, events, leaves, sealed }) => [
        tenant,
        shard,
        log,
        events,
        leaves,
        sealed ? "sealed" : "open",
      ]);
      await output.say(table(["tenant", "shard", "log", "events", "leaves", "state"], cells));
      await output.say(counted(rows.length, "shard"));
    });
}

interface SplitOptions extends FolderOptions {
  readonly shard?: string;
  readonly yes?: boolean;
}

function splitCommand(): Command {
  return folderOption(new Command("split"))
    .description(
      "seal the shard of a tenant and let it go on in a new one; a server on SQLite must not run",
    )
    .argument("<tenant>", "id of the tenant, as ls shows it")
    .option("--shard <name>", "name of the new shard; default: one made from chance")
    .option("--yes", "do not ask for the tenant's id again")
    .action(async (tenant: string, _, command: Command) => {
      const { options, output } = contextOf<SplitOptions>(command);
      const shards = await shardsOf(options);
      // A shard that was sealed stays sealed: whoever does it says which tenant they mean.
      const what = "The shard of this tenant is sealed for good.";
      await confirmName(what, "tenant's id", tenant, options.yes);
      const named = options.shard === undefined ? {} : { shard: options.shard };
      const { sealed, log, deviceLogs } = await shards.split({ tenant, ...named });
      await output.row({ tenant, sealed, log, device_logs: deviceLogs });
      await output.say(`${sealed.log} is sealed; its leaves: ${sealed.size}`);
      await output.say(
        `${tenant} goes on in ${log}, ${counted(deviceLogs, "device log")} stated again`,
      );
    });
}
