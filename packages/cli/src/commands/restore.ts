import {
  drillRestore,
  keepMemorySmall,
  releaseOf,
  restoreOver,
  type RestoreOptions,
  restoreStore,
} from "@holdfast/node";
import { Command } from "commander";
import { counted, type Output } from "../output.ts";
import { createProgress } from "../progress.ts";
import { recordAct, storeAccess, storeDirectory, type StoreOptions, UsageError } from "../store.ts";
import { type IdentityOptions, readIdentities } from "./backup-keys.ts";
import { collect, contextOf } from "./options.ts";

interface RestoreCommandOptions extends StoreOptions, IdentityOptions {
  readonly keyring?: string;
  readonly drill?: boolean;
  readonly replace?: boolean;
  readonly rescue?: string;
}

/** `holdfast restore`: puts a store back from a backup, or tries whether that would work. */
export function restoreCommand(): Command {
  return new Command("restore")
    .description("put a store back from a backup, verified before it is visible")
    .argument("<file>", "the backup")
    .option("--identity <file>", "what opens it, as age-keygen writes it; several times", collect)
    .option(
      "--backup-passphrase-file <file>",
      "file that holds its passphrase instead; or HOLDFAST_BACKUP_PASSPHRASE",
    )
    .option("--keyring <file>", "a copy of the keyring; without it the registered one")
    .option("--drill", "restore into a folder beside --store, verify, report, remove")
    .option("--replace", "over the store that is there, when all of it is with a server")
    .option("--rescue <file>", "with --replace: a rescue bundle of what is not")
    .action(async (file: string, _, command: Command) => {
      const { options, output } = contextOf<RestoreCommandOptions>(command);
      checkOptions(options);
      keepMemorySmall();
      const progress = createProgress("Events", output.json);
      const asked: RestoreOptions = {
        directory: storeDirectory(options),
        file,
        by: await readIdentities(options),
        ...(await storeAccess(options)),
        ...(options.keyring === undefined ? {} : { keyringFile: options.keyring }),
        onProgress: progress.update,
      };
      if (options.drill === true) await drill(asked, output, progress.stop);
      else await restore(asked, options, output, progress.stop);
    });
}

function checkOptions({ drill: isDrill, replace, rescue, keyring }: RestoreCommandOptions): void {
  if (isDrill === true && replace === true) {
    throw new UsageError("--drill and --replace exclude each other.");
  }
  if (rescue !== undefined && replace !== true)
    throw new UsageError("--rescue goes with --replace.");
  if (keyring !== undefined && replace === true) {
    throw new UsageError(
      "--keyring and --replace exclude each other: the store's own keyring stays.",
    );
  }
}

async function drill(
  asked: RestoreOptions,
  output: Output,
  done: (message: string) => void,
): Promise<void> {
  const report = await drillRestore(asked);
  done("Verified");
  const { storeId, createdAt, events, milliseconds } = report;
  const made = new Date(createdAt).toISOString();
  await output.row({ store_id: storeId, created_at: made, events, milliseconds });
  await output.say(
    `It would restore: ${counted(events, "event")} of store ${storeId}, as of ${made}, in ${milliseconds} ms.`,
  );
}

async function restore(
  asked: RestoreOptions,
  options: RestoreCommandOptions,
  output: Output,
  done: (message: string) => void,
): Promise<void> {
  const { replace, rescue } = options;
  const { by, ...access } = asked;
  const bundle = rescue === undefined ? {} : { bundle: { file: rescue, by } };
  const restored =
    replace === true
      ? await restoreOver(asked, await releaseOf({ ...access, ...bundle }))
      : await restoreStore(asked);
  done("Verified");
  const { storeId, createdAt, events, incarnation } = restored;
  const made = new Date(createdAt).toISOString();
  await recordAct(options, { kind: "BackupRestored", facts: { made: createdAt, events } });
  await output.row({ store_id: storeId, created_at: made, events, incarnation });
  await output.say(
    `Restored ${counted(events, "event")} of store ${storeId}, as of ${made}, into ${asked.directory}.`,
  );
  await output.say(
    `It goes on as incarnation ${incarnation}; \`holdfast sync\` fetches what the server has beyond it.`,
  );
}
