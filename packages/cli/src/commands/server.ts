import { isCancel, text } from "@clack/prompts";
import { Command } from "commander";
import type { ServerBackups } from "@holdfast/server/serve";
import { counted, exitCodes, type Output, table } from "../output.ts";
import { UsageError } from "../store.ts";
import { contextOf } from "./options.ts";

interface ServerOptions {
  readonly data?: string;
  readonly databaseUrl?: string;
  readonly keys?: string;
  readonly keySettings?: string;
}

/** `holdfast server backup|restore|lost|drill`: a server's database, for its operator. */
export function serverCommand(): Command {
  return new Command("server")
    .description("the database of a server: back it up, put it back, see what is lost by that")
    .addCommand(backupCommand())
    .addCommand(restoreCommand())
    .addCommand(lostCommand())
    .addCommand(drillCommand());
}

/** Other commands do not wait for what only a server needs. */
async function backupsOf(options: ServerOptions): Promise<ServerBackups> {
  const { loadConfig, openServerBackups } = await import("@holdfast/server/serve");
  const flags = {
    data: options.data,
    database_url: options.databaseUrl,
    keys: options.keys,
    key_settings: options.keySettings,
  };
  return openServerBackups(loadConfig({ environment: process.env, flags }));
}

function placeOptions(command: Command): Command {
  return command
    .option("--data <dir>", "data folder of the server; default: holdfast-data")
    .option("--database-url <url>", "PostgreSQL of the server; default: SQLite in that folder")
    .option("--keys <file>", "key file of the server; default: the one in that folder");
}

function backupCommand(): Command {
  return placeOptions(new Command("backup"))
    .description(
      "copy the SQLite database of a data folder, also while the server runs; not its keys",
    )
    .requiredOption("--out <file>", "file that is made, with a manifest beside it")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<ServerOptions & { readonly out: string }>(command);
      const backups = await backupsOf(options);
      const { shards, bytes, digest, made } = await backups.backUp(options.out);
      await output.row({ out: options.out, bytes, digest, made, shards });
      await output.say(`${options.out}: ${bytes} bytes, ${counted(shards.length, "shard")}`);
      await output.say("The server's keys are not in it: keep them apart, and keep them.");
    });
}

interface RestoreOptions extends ServerOptions {
  readonly from?: string;
  readonly yes?: boolean;
}

function restoreCommand(): Command {
  return placeOptions(new Command("restore"))
    .description(
      "after its database was put back to an older copy: every server log goes on in the next one; a server on SQLite must not run",
    )
    .option("--from <file>", "backup that takes the place of the database first (SQLite)")
    .option("--yes", "do not ask for the server's name again")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<RestoreOptions>(command);
      const backups = await backupsOf(options);
      if (options.yes !== true) await confirmed(await backups.name());
      const logs = await backups.restore(options.from);
      for (const row of logs) await output.row(row);
      for (const { status, tenant, last, log } of logs) {
        const begun = status === "begun" ? "goes on" : "went on already";
        await output.say(`${tenant} ${begun} in ${log}`);
        await output.say(`  last proven: ${last.log}, size ${last.size}`);
      }
      await output.say(
        `${counted(logs.length, "tenant")}; start the server, and see with holdfast server lost what comes back.`,
      );
    });
}

function lostCommand(): Command {
  return placeOptions(new Command("lost"))
    .description(
      "what devices have shown to be lost by a restore, and what of it is back; exit code 1 while anything is missing",
    )
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<ServerOptions>(command);
      const logs = await (await backupsOf(options)).lost();
      for (const row of logs) await output.row(row);
      const cells = logs.map(({ device, receipted, restored, back, missing, owed }) => [
        device,
        receipted,
        restored,
        back,
        missing,
        owed,
      ]);
      const names = ["device", "receipted", "restored", "back", "missing", "owed"];
      if (logs.length > 0) await output.say(table(names, cells));
      const missing = logs.reduce((sum, log) => sum + log.missing + log.owed, 0);
      await output.say(
        missing === 0
          ? "Everything that was shown to be lost is back."
          : `${counted(missing, "event")} that the server had receipted are not back yet.`,
      );
      if (missing > 0) process.exitCode = exitCodes.checkFailed;
    });
}

function drillCommand(): Command {
  return placeOptions(new Command("drill"))
    .description(
      "look a backup over in a folder of its own, or the database as it is; exit code 1 when something is wrong",
    )
    .option("--from <file>", "backup; its copy is restored, looked over, and thrown away (SQLite)")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<RestoreOptions>(command);
      const report = await (await backupsOf(options)).drill(options.from);
      await output.row(report);
      await printShards(output, report.shards);
      const problems = report.shards.flatMap((shard) => shard.problems);
      for (const problem of problems) await output.say(`  ${problem}`);
      await output.say(
        problems.length === 0
          ? `Everything is proven, in ${report.milliseconds} ms.`
          : `${counted(problems.length, "problem")} found.`,
      );
      if (problems.length > 0) process.exitCode = exitCodes.checkFailed;
    });
}

async function printShards(
  output: Output,
  shards: Awaited<ReturnType<ServerBackups["drill"]>>["shards"],
): Promise<void> {
  const cells = shards.map(({ log, size, deviceLogs, events }) => [log, size, deviceLogs, events]);
  await output.say(table(["log", "proven", "device logs", "events"], cells));
}

/** Devices that hold more follow the new log: whoever begins it says which server they mean. */
async function confirmed(name: string): Promise<void> {
  if (!process.stdin.isTTY) {
    throw new UsageError("Say --yes, or type the server's name at a terminal.");
  }
  const message = `Every log of ${name} goes on in the next one. Type the server's name`;
  const answer = await text({ message, output: process.stderr });
  if (isCancel(answer) || answer !== name) throw new UsageError("That is not the server's name.");
}
