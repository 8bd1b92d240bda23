import { Command } from "commander";
import { drillCommand, recoverCommand, recoveryCommand } from "./keys-recovery.ts";
import { rotateCommand } from "./keys-rotate.ts";

/** `holdfast keys`: rotation, recovery keys. */
export function keysCommand(): Command {
  return new Command("keys")
    .description("keys of the store: rotation, recovery keys")
    .addCommand(rotateCommand())
    .addCommand(recoveryCommand())
    .addCommand(recoverCommand())
    .addCommand(drillCommand());
}
