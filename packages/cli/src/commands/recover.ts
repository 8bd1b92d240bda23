import { type SalvageReport, salvageStore } from "@holdfast/node";
import { Command } from "commander";
import { confirmedStore } from "../confirm.ts";
import { counted, exitCodes, type Output, printable } from "../output.ts";
import { registry, storeAccess, storeDirectory } from "../store.ts";
import { type IdentityOptions, readIdentities } from "./backup-keys.ts";
import { collect, contextOf } from "./options.ts";

interface RecoverOptions extends IdentityOptions {
  readonly backup?: string;
  readonly yes?: boolean;
}

/** `holdfast recover`: a damaged store put together again from what is left of it, its backup and its server. */
export function recoverCommand(): Command {
  return new Command("recover")
    .description("look for damage; put a damaged store together again from what is left of it")
    .option("--backup <file>", "a backup that fills in what the store has lost")
    .option("--identity <file>", "what opens the backup; several times", collect)
    .option(
      "--backup-passphrase-file <file>",
      "file that holds its passphrase instead; or HOLDFAST_BACKUP_PASSPHRASE",
    )
    .option("--yes", "do not ask, even where something is missing")
    .addHelpText(
      "after",
      "\nWithout loss it goes on by itself. The damaged store stays beside, in a folder named\n<store>.quarantine-1; remove it when nobody needs it any more.",
    )
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<RecoverOptions>(command);
      const { backup: file } = options;
      const backup =
        file === undefined ? {} : { backup: { file, by: await readIdentities(options) } };
      const done = await salvageStore({
        directory: storeDirectory(options),
        ...(await storeAccess(options)),
        registry,
        ...backup,
        agree: async (report) => {
          await sayReport(report, output);
          if (options.yes !== true) {
            const consequence = "The store goes on without what is missing.";
            await confirmedStore(report.storeId, consequence);
          }
          return true;
        },
      });
      if (done.status !== "salvaged") {
        await output.row({ status: done.status });
        await output.say("Nothing is damaged; nothing was changed.");
        return;
      }
      const { report, quarantine } = done;
      await output.row({ status: done.status, quarantine, ...reportWire(report) });
      if (report.lossless) await sayReport(report, output);
      await output.say(printable(`The damaged store is in ${quarantine}.`));
      const fetches = report.missing.some(({ withServer }) => withServer);
      if (fetches || report.foreignLeftOut > 0) {
        await output.say("`holdfast sync` fetches what the server has.");
      }
      const gone = report.missing.some(({ withServer }) => !withServer);
      if (gone || report.lostSections.length > 0) process.exitCode = exitCodes.checkFailed;
    });
}

function reportWire(report: SalvageReport) {
  const { damage, lossless, mode, events, survivors, missing, lostSections, unreadable } = report;
  return {
    damage,
    lossless,
    mode,
    events,
    recorded_anew: survivors,
    missing: missing.map(({ withServer, ...run }) => ({ ...run, with_server: withServer })),
    lost_content: lostSections,
    to_fetch: report.foreignLeftOut,
    unreadable,
  };
}

async function sayReport(report: SalvageReport, output: Output): Promise<void> {
  const { damage, events, survivors, missing, lostSections, foreignLeftOut } = report;
  for (const { code, object } of damage.slice(0, 10)) {
    await output.say(printable(`damage: ${code}, ${object}`));
  }
  await output.say(`${counted(events, "event")} verified, by leaf and signed note.`);
  if (survivors > 0) {
    await output.say(`${counted(survivors, "event")} behind a gap: recorded anew under their ids.`);
  }
  for (const { incarnation, from, to, by, withServer } of missing) {
    const range = from === to ? `sequence ${from}` : `sequences ${from} to ${to}`;
    const where = withServer ? "the server has them" : "nobody has them";
    await output.say(`missing: ${range} of ${incarnation}, by its ${by}; ${where}`);
  }
  for (const { id, section } of lostSections.slice(0, 20)) {
    await output.say(`missing: section ${section} of event ${id}`);
  }
  const { survivors: unread = 0 } = report.unreadable;
  if (unread > 0) {
    await output.say(`missing: ${counted(unread, "row")} of what an earlier recover had left`);
  }
  if (lostSections.length > 20) await output.say(`… and ${lostSections.length - 20} more sections`);
  if (foreignLeftOut > 0) {
    await output.say(
      `${counted(foreignLeftOut, "event")} of other devices: fetched from the server again.`,
    );
  }
}
