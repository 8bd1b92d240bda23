/** The command line: its commands and the options that all of them take. */
import { Command, type Option } from "commander";
import { appendCommand } from "./commands/append.ts";
import { asOfCommand } from "./commands/as-of.ts";
import { auditCommand } from "./commands/audit.ts";
import { backupCommand, rescueCommand } from "./commands/backup.ts";
import { compactCommand } from "./commands/compact.ts";
import { conflictsCommand } from "./commands/conflicts.ts";
import { demoCommand } from "./commands/demo.ts";
import { devicesCommand } from "./commands/devices.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { enrollCommand } from "./commands/enroll.ts";
import { eraseCommand } from "./commands/erase.ts";
import { exportCommand } from "./commands/export.ts";
import { grantsCommand } from "./commands/grants.ts";
import { historyCommand } from "./commands/history.ts";
import { holdCommand } from "./commands/hold.ts";
import { importCommand } from "./commands/import.ts";
import { initCommand } from "./commands/init.ts";
import { keysCommand } from "./commands/keys.ts";
import { loadTestCommand } from "./commands/load-test.ts";
import { logCommand } from "./commands/log.ts";
import { migrateCommand } from "./commands/migrate.ts";
import { outboxCommand } from "./commands/outbox.ts";
import { projectionsCommand } from "./commands/projections.ts";
import { queryCommand } from "./commands/query.ts";
import { recoverCommand } from "./commands/recover.ts";
import { restoreCommand } from "./commands/restore.ts";
import { searchCommand } from "./commands/search.ts";
import { serveCommand } from "./commands/serve.ts";
import { serverCommand } from "./commands/server.ts";
import { shardsCommand } from "./commands/shards.ts";
import { shredCommand } from "./commands/shred.ts";
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
    compactCommand(),
    eraseCommand(),
    holdCommand(),
    shredCommand(),
    migrateCommand(),
    recoverCommand(),
    demoCommand(),
    startCommand(),
    serveCommand(),
    serverCommand(),
    shardsCommand(),
    loadTestCommand(),
  ];
  for (const command of commands) program.addCommand(command);
  const every = allCommands(program);
  const flags = new Set(every.flatMap(({ options }) => options.flatMap(flagsOf)));
  for (const command of every) {
    takeDashedIds(command, flags);
    command.exitOverride();
    command.configureHelp({ showGlobalOptions: true });
    command.showHelpAfterError("(--help shows what there is)");
  }
  return program;
}

function flagsOf({ short, long }: Option): readonly string[] {
  return [short, long].filter((flag) => flag !== undefined);
}

/** 16 or 32 bytes in base64url, as ids and leaves are, whose first character is a dash: one in 64 begins so. */
const dashedId = /^-(?:[A-Za-z0-9_-]{20}[AQgw]|[A-Za-z0-9_-]{41}[AEIMQUYcgkosw048])$/;
/** No word of a command line holds it. */
const mark = "\u0000";

/** Makes such a word an argument, where commander would take it for options; one that an option takes stays its value. */
function takeDashedIds(command: Command, flags: ReadonlySet<string>): void {
  const parse = command.parseOptions.bind(command);
  const unmarked = (word: string): string => word.replace(mark, "");
  command.parseOptions = (words) => {
    const taking = new Set(
      lineOf(command).flatMap(({ options }) => options.filter(takesValue).flatMap(flagsOf)),
    );
    const { operands, unknown } = parse(
      words.map((word, at) => {
        const isId = dashedId.test(word) && !flags.has(word);
        return isId && !taking.has(words[at - 1] ?? "") ? mark + word : word;
      }),
    );
    return { operands: operands.map(unmarked), unknown: unknown.map(unmarked) };
  };
}

const takesValue = ({ required, optional }: Option): boolean => required || optional;

/** The command and those above it. */
function lineOf(command: Command): readonly Command[] {
  return command.parent === null ? [command] : [command, ...lineOf(command.parent)];
}

/** The program, its commands, and theirs. */
export function allCommands(command: Command): readonly Command[] {
  return [command, ...command.commands.flatMap(allCommands)];
}
