/** Entry of the `holdfast` command. */
import { CommanderError } from "commander";
import { exitCodes, failureOf, printFailure } from "./output.ts";
import { allCommands, createProgram } from "./program.ts";
import { UsageError } from "./store.ts";

// Started by the launcher: when that one is gone, however it ended, nobody waits for this process.
if (process.channel !== undefined) {
  process.once("disconnect", () => process.kill(process.pid, "SIGKILL"));
  // Listening for the end of the channel alone must not keep a finished command alive.
  process.channel?.unref();
}

// Whoever read the output went away (`holdfast log | head`): stop without a word.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(exitCodes.ok);
  throw error;
});

const json = process.argv.includes("--json");

async function main(): Promise<void> {
  const program = createProgram();
  // With --json a wrong command line is told as JSON, below, and nowhere else.
  if (json) {
    for (const command of allCommands(program))
      command.configureOutput({ writeErr: () => undefined });
  }
  try {
    await program.parseAsync();
  } catch (error) {
    process.exitCode = report(error);
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError && error.exitCode === 0) return exitCodes.ok;
  if (error instanceof CommanderError || error instanceof UsageError) {
    const message = error.message.replace(/^error: /, "");
    if (json)
      process.stderr.write(
        `${JSON.stringify({ error: { code: "usage", message, details: {} } })}\n`,
      );
    else if (error instanceof UsageError)
      process.stderr.write(`error: ${message}\n(--help shows what there is)\n`);
    return exitCodes.usage;
  }
  const failure = failureOf(error);
  printFailure(failure, json);
  return failure.exit;
}

await main();
// An open standard input must not keep a finished command waiting; what was printed goes out first.
process.stdout.write("", () => process.exit());
