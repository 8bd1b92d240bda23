import { initStore } from "@holdfast/node";
import { Command } from "commander";
import { readPassphrase } from "../secrets.ts";
import { storeDirectory } from "../store.ts";
import { contextOf } from "./options.ts";

/** `holdfast init`: makes a new store in an empty folder. */
export function initCommand(): Command {
  return new Command("init")
    .description("make a new store in an empty folder")
    .requiredOption("--tenant <label>", "name of the tenant; stays a label outside the log")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<{ readonly tenant: string }>(command);
      const directory = storeDirectory(options);
      const passphrase = await readPassphrase(options, "ask twice");
      const made = await initStore({ directory, passphrase, tenant: options.tenant });
      await output.row({ store_id: made.storeId, tenant: made.tenant, device: made.device });
      await output.say(`A new store for ${options.tenant} is in ${directory}.`);
      await output.say(
        `  store   ${made.storeId}\n  tenant  ${made.tenant}\n  device  ${made.device}`,
      );
      await output.say("Keep the passphrase: without it nobody can open the store.");
    });
}
