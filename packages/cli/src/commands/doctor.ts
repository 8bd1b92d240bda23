import { checkStart } from "@holdfast/node";
import { Command } from "commander";
import { exitCodes, printable } from "../output.ts";
import { registry, storeAccess, storeDirectory } from "../store.ts";
import { contextOf } from "./options.ts";

/** `holdfast doctor`: would the store start, and what helps if not. */
export function doctorCommand(): Command {
  return new Command("doctor")
    .description("would the store start? Looks at everything, changes nothing, says what to do")
    .addHelpText(
      "after",
      "\nStatus: ready, needs-migration, needs-recovery, blocked. Exit code 0 when ready, else 1.",
    )
    .action(async (_, command: Command) => {
      const { options, output } = contextOf(command);
      const directory = storeDirectory(options);
      const { status, findings, actions, skipped } = await checkStart({
        directory,
        ...(await storeAccess(options)),
        registry,
      });
      await output.row({
        status,
        findings: findings.map(({ object, ...finding }) => ({
          ...finding,
          object: object ?? null,
        })),
        actions,
        skipped,
      });
      await output.say(status);
      for (const { check, code, object, severity } of findings) {
        const about = object === undefined ? "" : `  ${object}`;
        await output.say(printable(`  ${severity}  ${check}  ${code}${about}`));
      }
      for (const action of actions) await output.say(printable(`- ${action}`));
      if (skipped.length > 0) await output.say(`not looked at: ${skipped.join(", ")}`);
      if (status !== "ready") process.exitCode = exitCodes.checkFailed;
    });
}
