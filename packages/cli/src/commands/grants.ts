import { grantStoreOf, isoTime } from "@holdfast/core";
import { Command } from "commander";
import { table } from "../output.ts";
import { withStore } from "../store.ts";
import { contextOf } from "./options.ts";

/** `holdfast grants …`: keys that this device sent and received. */
export function grantsCommand(): Command {
  return new Command("grants")
    .description("keys that were granted: to this device, and by it")
    .addCommand(
      new Command("ls")
        .description("grants, oldest first; never a key itself")
        .action(async (_, command: Command) => {
          const { options, output } = contextOf(command);
          await withStore(options, "read", async (store) => {
            const grants = grantStoreOf(store);
            const listed = grants.grants().map(({ key, generation, recipient, state, at }) => {
              const { tenant } = store.status();
              const scope = key === tenant ? "" : (grants.keyring.dataKeyById(key)?.scope ?? "");
              const kind = key === tenant ? "pseudonym" : "data";
              return { key, kind, generation, scope, recipient, state, at: isoTime(at) };
            });
            for (const grant of listed) await output.row(grant);
            const header = ["KEY", "KIND", "SCOPE", "RECIPIENT", "STATE", "AT"];
            const cells = listed.map(({ key, kind, scope, recipient, state, at }) => {
              return [key, kind, scope, recipient, state, at];
            });
            await output.say(table(header, cells));
          });
        }),
    );
}
