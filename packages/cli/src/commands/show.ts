import { HoldfastError, toWire } from "@holdfast/core";
import { Command } from "commander";
import { printable } from "../output.ts";
import { withStore } from "../store.ts";
import { contextOf } from "./options.ts";

/** `holdfast show ID`: one event with its signature, that is the commit note and the inclusion proof. */
export function showCommand(): Command {
  return new Command("show")
    .description("one event, with the note and the inclusion proof that sign it")
    .argument("<id>", "id or leaf of the event")
    .action(async (id: string, _, command: Command) => {
      const { options, output } = contextOf(command);
      await withStore(options, "read", async (store) => {
        const event = store.get(id);
        if (event === undefined) throw new HoldfastError("event_not_found");
        const wire = toWire(event);
        const signature = store.prove(event.leaf);
        await output.row({ ...wire, signature });
        const { header, data, ...facts } = wire;
        for (const [name, value] of Object.entries(facts)) {
          await output.say(`${name.padEnd(15)} ${printable(String(value))}`);
        }
        await output.say(`header          ${printable(JSON.stringify(header))}`);
        if (data !== undefined) {
          const lines = JSON.stringify(data, undefined, 2).split("\n").map(printable);
          await output.say(`data            ${lines.join("\n                ")}`);
        }
        await output.say(`\nLeaf ${signature.index} of ${signature.size}, signed by this note:\n`);
        await output.say(signature.note);
        await output.say(
          `Inclusion proof (RFC 6962):\n  ${signature.path.join("\n  ") || "(empty)"}`,
        );
      });
    });
}
