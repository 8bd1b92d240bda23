import {
  type ErasedStore,
  eraseStore,
  releaseOf,
  resumeErase,
  unfinishedErase,
} from "@holdfast/node";
import { Command } from "commander";
import { counted, type Output, printable } from "../output.ts";
import { storeAccess, storeDirectory, type StoreOptions, UsageError } from "../store.ts";
import { type IdentityOptions, readIdentities } from "./backup-keys.ts";
import { confirmName, nameOfStore } from "./confirm.ts";
import { collect, contextOf } from "./options.ts";

interface EraseCommandOptions extends StoreOptions, IdentityOptions {
  readonly actor?: string;
  readonly why?: string;
  readonly reason?: string;
  readonly export?: string;
  readonly certificate?: string;
  readonly rescue?: string;
  readonly showActors?: boolean;
  readonly keepKeyringCopies?: boolean;
  readonly lastKeys?: boolean;
  readonly resume?: boolean;
  readonly yes?: boolean;
}

const beginning = [
  "actor",
  "why",
  "reason",
  "export",
  "certificate",
  "rescue",
  "showActors",
  "keepKeyringCopies",
  "lastKeys",
] as const;

/** `holdfast erase`: a device's store and keys go, verified afterwards, with a certificate. */
export function eraseCommand(): Command {
  return new Command("erase")
    .description("remove the store and its keys from this device, verified afterwards")
    .option("--actor <who>", "on whose authority, in words or as an id")
    .option("--why <code>", "reason code, recorded with it")
    .option("--reason <words>", "the reason in words")
    .option("--export <file>", "new file for the last audit export, redacted")
    .option("--certificate <file>", "new file for the certificate of erasure")
    .option("--rescue <file>", "a rescue bundle of what no server holds")
    .option("--identity <file>", "what opens the bundle; several times", collect)
    .option(
      "--backup-passphrase-file <file>",
      "file that holds its passphrase instead; or HOLDFAST_BACKUP_PASSPHRASE",
    )
    .option("--show-actors", "do not mask actors in the export")
    .option("--keep-keyring-copies", "leave the registered copies of the keyring where they are")
    .option("--last-keys", "also where nobody else was granted the keys of what a server holds")
    .option("--resume", "finish an erase that was interrupted or incomplete")
    .option("--yes", "do not ask for the name of the store's folder")
    .addHelpText(
      "after",
      "\nWhat holds the store open has to end before, and every process that used it to start anew.",
    )
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<EraseCommandOptions>(command);
      const directory = storeDirectory(options);
      const begun = unfinishedErase({ directory });
      if (options.resume === true && begun === undefined) {
        throw new UsageError("No erase of this store is unfinished.");
      }
      const asked = wishOf(options);
      if (asked !== undefined && begun !== undefined) {
        throw new UsageError(
          "An erase of this store is unfinished; --resume goes on with what was asked for then.",
        );
      }
      const name = nameOfStore(directory);
      const what = `The store ${printable(name)} and its keys are destroyed.`;
      await confirmName(what, "name of its folder", name, options.yes);
      // Once keys are destroyed, nothing opens the store, and nothing has to.
      const access = begun?.destroying === true ? {} : await storeAccess(options);
      const place = { directory, ...access };
      const erased =
        asked === undefined || begun !== undefined
          ? await resumeErase(place)
          : await eraseStore({ ...place, ...asked }, await release(place, options));
      if (erased !== undefined) await tell(erased, output);
    });
}

async function release(
  place: { readonly directory: string },
  { rescue, ...options }: EraseCommandOptions,
) {
  if (rescue === undefined) return releaseOf(place);
  return releaseOf({ ...place, bundle: { file: rescue, by: await readIdentities(options) } });
}

/** What is asked for; `undefined`: to go on with an erase that was begun. */
function wishOf(options: EraseCommandOptions) {
  const { actor, why, reason, certificate, export: exportFile } = options;
  if (options.resume === true) {
    if (beginning.every((name) => options[name] === undefined)) return undefined;
    throw new UsageError("--resume goes on with what was asked for when the erase began.");
  }
  if (actor === undefined || why === undefined) {
    throw new UsageError("Say who erases, and why: --actor WHO --why CODE.");
  }
  if (exportFile === undefined || certificate === undefined) {
    throw new UsageError("Say where to: --export FILE --certificate FILE.");
  }
  return {
    actor,
    why,
    exportFile,
    certificateFile: certificate,
    actors: options.showActors === true ? ("shown" as const) : ("masked" as const),
    keyringCopies: options.keepKeyringCopies === true ? ("keep" as const) : ("destroy" as const),
    lastKeys: options.lastKeys === true ? ("destroy" as const) : ("refuse" as const),
    ...(reason === undefined ? {} : { reason }),
  };
}

async function tell(erased: ErasedStore, output: Output): Promise<void> {
  const { storeId, certificateFile, exportFile, files, copiesLeft, providersLeft, scan } = erased;
  await output.row({
    store_id: storeId,
    files,
    certificate: certificateFile,
    export: exportFile,
    keyring_copies_left: copiesLeft,
    providers_left: providersLeft,
    last_keys: erased.lastKeys,
    hidden_processes: scan.hidden ?? null,
    restart: erased.restart,
  });
  await output.say(`Erased: store ${storeId}, ${counted(files, "file")}. Nothing of it was found.`);
  await output.say(`  certificate: ${printable(certificateFile)}`);
  await output.say(`  audit export: ${printable(exportFile)}`);
  for (const path of copiesLeft) {
    await output.say(`  a copy of the keyring stays, or was not to be reached: ${printable(path)}`);
  }
  for (const name of providersLeft) {
    await output.say(`  the ${name} provider keeps its own keys; they open nothing that is left`);
  }
  if (erased.lastKeys > 0) {
    const keys = counted(erased.lastKeys, "data key");
    await output.say(`  ${keys} granted to nobody: only a kept copy of the keyring has them`);
  }
  if (scan.hidden === undefined) await output.say("  open files were not looked for: no /proc");
  else if (scan.hidden > 0) {
    await output.say(`  processes that could not be looked into: ${scan.hidden}`);
  }
  await output.say("Start every process anew that used the store.");
}
