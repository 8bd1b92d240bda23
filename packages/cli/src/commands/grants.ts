import { isoTime } from "@holdfast/core";
import { Command } from "commander";
import { withDesk } from "../desk.ts";
import { counted, table } from "../output.ts";
import { withStore } from "../store.ts";
import { contextOf } from "./options.ts";

/** `holdfast grants ls`: keys that went to devices, and who may read what. */
export function grantsCommand(): Command {
  return new Command("grants")
    .description("who may read what, and the keys that were granted")
    .addCommand(lsCommand());
}

function lsCommand(): Command {
  return new Command("ls")
    .description("keys that this device has granted or was granted; --access: who may read what")
    .option("--access", "access by device and scope, as the log says")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<{ readonly access?: boolean }>(command);
      await withStore(options, "read", (store) =>
        withDesk(store, async (desk) => {
          if (options.access === true) {
            const rows = desk.access().map(({ device, scope, role }) => ({ device, scope, role }));
            for (const row of rows) await output.row(row);
            const cells = rows.map(({ device, scope, role }) => [device, scope, role]);
            await output.say(table(["device", "scope", "role"], cells));
            await output.say(counted(rows.length, "row"));
            return;
          }
          const { tenant } = store.status();
          const rows = desk.grants().map(({ at, ...row }) => {
            const kind = row.key === tenant ? "pseudonym" : "data";
            return { ...row, kind, at: isoTime(at) };
          });
          for (const row of rows) await output.row(row);
          const cells = rows.map((row) => [
            row.key,
            row.kind,
            row.generation,
            row.recipient,
            row.state,
            row.at,
          ]);
          await output.say(table(["key", "kind", "generation", "recipient", "state", "at"], cells));
          await output.say(counted(rows.length, "grant"));
        }),
      );
    });
}
