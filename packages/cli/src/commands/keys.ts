import { Command } from "commander";
import { addProviderCommands } from "./key-providers.ts";

/** `holdfast keys`: where the keys of a store live. */
export function keysCommand(): Command {
  const keys = new Command("keys").description("where the keys of a store live");
  addProviderCommands(keys);
  return keys;
}
