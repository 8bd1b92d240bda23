import { type ErrorCode, HoldfastError, type VerifyReport } from "@holdfast/core";
import { Command } from "commander";
import { exitCodes, type Output, printable } from "../output.ts";
import { createProgress } from "../progress.ts";
import { type StoreOptions, withStore } from "../store.ts";
import { contextOf } from "./options.ts";

/** Refusals to open a store that are themselves the finding of damage. */
const damage: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "store_corrupt",
  "store_database_missing",
  "store_drifted",
  "store_foreign",
  "store_rewritten",
  "store_rolled_back",
]);

/** Rechecks a store; a store too damaged to open is a report with that problem, too. */
async function verifyStore(
  options: StoreOptions,
  depth: "headers" | "commitments",
  onProgress?: (done: number, total: number) => void,
): Promise<VerifyReport> {
  try {
    return await withStore(options, "read", async (store) =>
      store.verify({ depth, ...(onProgress === undefined ? {} : { onProgress }) }),
    );
  } catch (error) {
    if (!(error instanceof HoldfastError) || !damage.has(error.code)) throw error;
    const problem = { code: error.code, object: "store", message: error.message };
    return { ok: false, events: 0, commits: 0, sections: 0, problems: [problem] };
  }
}

async function printReport(output: Output, report: VerifyReport): Promise<void> {
  await output.row(report);
  const { ok, events, commits, sections, problems } = report;
  await output.say(`${events} events, ${commits} commits, ${sections} sections checked.`);
  for (const { code, object, message } of problems) {
    await output.say(`  ${object}: ${code}: ${printable(message)}`);
  }
  await output.say(ok ? "Everything is as it was recorded." : `${problems.length} problems found.`);
}

/** `holdfast verify`: rechecks chains, commitments, tree and notes independently of the writer. */
export function verifyCommand(): Command {
  return new Command("verify")
    .description("recheck chains, commitments, tree and notes; exit code 1 when something is wrong")
    .option("--headers", "headers, leaves, tree and notes only; sections stay closed")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<{ readonly headers?: boolean }>(command);
      const progress = createProgress("Events", output.json);
      const depth = options.headers === true ? "headers" : "commitments";
      const report = await verifyStore(options, depth, progress.update);
      progress.stop("Checked");
      await printReport(output, report);
      if (!report.ok) process.exitCode = exitCodes.checkFailed;
    });
}
