/** The command line: its commands and the options that all of them take. */
import { Command } from "commander";
import { appendCommand } from "./commands/append.ts";
import { asOfCommand } from "./commands/as-of.ts";
import { auditCommand } from "./commands/audit.ts";
import { backupCommand, rescueCommand } from "./commands/backup.ts";
import { conflictsCommand } from "./commands/conflicts.ts";
import { demoCommand } from "./commands/demo.ts";
import { devicesCommand } from "./commands/devices.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { enrollCommand } from "./commands/enroll.ts";
import { exportCommand } from "./commands/export.ts";
import { grantsCommand } from "./commands/grants.ts";
import { historyCommand } from "./commands/history.ts";
import { importCommand } from "./commands/import.ts";
import { initCommand } from "./commands/init.ts";
import { keysCommand } from "./commands/keys.ts";
import { loadTestCommand } from "./commands/load-test.ts";
import { logCommand } from "./commands/log.ts";
import { outboxCommand } from "./commands/outbox.ts";
import { projectionsCommand } from "./commands/projections.ts";
import { queryCommand } from "./commands/query.ts";
import { restoreCommand } from "./commands/restore.ts";
import { searchCommand } from "./commands/search.ts";
import { serveCommand } from "./commands/serve.ts";
import { shardsCommand } from "./commands/shards.ts";
import { showCommand } from "./commands/show.ts";
import { startCommand } from "./commands/start.ts";
import { statusCommand } from "./commands/status.ts";
import { syncCommand } from "./commands/sync.ts";
import { typesCommand } from "./commands/types.ts";
import { verifyCommand } from "./commands/verify.ts";
import { watchCommand } from "./commands/watch.ts";
import { softwareVersion } from "./version.ts";

const notes = `
The passphrase comes from --passphrase-file, from HOLDFAST_PASSPHRASE, or from a prompt.
Exit codes: 0 ok, 1 a check failed, 2 usage, 3 refused with a code, 70 a bug.`;

/** The `holdfast` command: every subcommand with its options, ready to parse arguments. */
export function createProgram(): Command {
  const program = new Command("holdfast")
    .description("Offline-first, append-only, encrypted, tamper-evident storage for health records")
    .version(softwareVersion)
    .option("--store <dir>", "folder of the store; default: HOLDFAST_STORE")
    .option("--json", "JSON on standard output and nothing else there")
    .option("--passphrase-file <file>", "file that holds the passphrase")
    .option(
      "--key-settings <file>",
      "settings of key providers, JSON; default: HOLDFAST_KEY_SETTINGS",
    )
    .option("--accept-rollback", "go on from an older copy of the store; the fact is recorded")
    .configureHelp({ showGlobalOptions: true })
    .addHelpText("after", notes);
  const commands = [
    initCommand(),
    typesCommand(),
    appendCommand(),
    importCommand(),
    logCommand(),
    showCommand(),
    queryCommand(),
    searchCommand(),
    asOfCommand(),
    historyCommand(),
    watchCommand(),
    conflictsCommand(),
    outboxCommand(),
    projectionsCommand(),
    verifyCommand(),
    auditCommand(),
    keysCommand(),
    doctorCommand(),
    statusCommand(),
    enrollCommand(),
    devicesCommand(),
    grantsCommand(),
    syncCommand(),
    exportCommand(),
    backupCommand(),
    restoreCommand(),
    rescueCommand(),
    demoCommand(),
    startCommand(),
    serveCommand(),
    shardsCommand(),
    loadTestCommand(),
  ];
  for (const command of commands) program.addCommand(command);
  for (const command of allCommands(program)) {
    command.exitOverride();
    command.configureHelp({ showGlobalOptions: true });
    command.showHelpAfterError("(--help shows what there is)");
  }
  return program;
}

/** The program, its commands, and theirs. */
export function allCommands(command: Command): readonly Command[] {
  return [command, ...command.commands.flatMap(allCommands)];
}
