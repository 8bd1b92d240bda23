import { initStore } from "@holdfast/node";
import { Command } from "commander";
import { storeAccess, storeDirectory } from "../store.ts";
import { contextOf } from "./options.ts";

/** `holdfast init`: makes a new store in an empty folder. */
export function initCommand(): Command {
  return new Command("init")
    .description("make a new store in an empty folder")
    .requiredOption("--tenant <label>", "name of the tenant; stays a label outside the log")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<{ readonly tenant: string }>(command);
      const directory = storeDirectory(options);
      const { keys, ...access } = await storeAccess(options, "ask twice");
      const passphrase = access.passphrase;
      const made = await initStore({
        directory,
        tenant: options.tenant,
        ...(passphrase === undefined ? {} : { passphrase }),
        ...(keys === undefined ? {} : { keys }),
      });
      await output.row({ store_id: made.storeId, tenant: made.tenant, device: made.device });
      await output.say(`A new store for ${options.tenant} is in ${directory}.`);
      await output.say(
        `  store   ${made.storeId}\n  tenant  ${made.tenant}\n  device  ${made.device}`,
      );
      await output.say(
        passphrase === undefined
          ? "Without its key provider nobody can open the store: make a recovery key."
          : "Keep the passphrase: without it nobody can open the store.",
      );
    });
}
