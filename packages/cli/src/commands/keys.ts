import { Command } from "commander";
import { addProviderCommands } from "./key-providers.ts";
import { drillCommand, recoverCommand, recoveryCommand } from "./keys-recovery.ts";
import { rotateCommand } from "./keys-rotate.ts";

/** `holdfast keys`: where the keys of a store live, rotation, recovery keys. */
export function keysCommand(): Command {
  const keys = new Command("keys").description(
    "keys of the store: where they live, rotation, recovery keys",
  );
  addProviderCommands(keys);
  return keys
    .addCommand(rotateCommand())
    .addCommand(recoveryCommand())
    .addCommand(recoverCommand())
    .addCommand(drillCommand());
}
