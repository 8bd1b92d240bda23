import { Command } from "commander";
import { withStore } from "../store.ts";
import { contextOf, count } from "./options.ts";
import { printRows, projectionOf } from "./query.ts";

/** `holdfast search MODEL WORDS…`: rows whose texts hold all the words, best matches first. */
export function searchCommand(): Command {
  return new Command("search")
    .description("rows of a read model whose texts hold all the words, best matches first")
    .argument("<model>", "name of the read model, for example diary or fhir")
    .argument("<words...>", 'words; a trailing * means "begins with"')
    .option("--limit <n>", "at most so many rows", count)
    .action(async (model: string, words: readonly string[], _, command: Command) => {
      const { options, output } = contextOf<{ readonly limit?: number }>(command);
      const projection = projectionOf(model);
      const { limit } = options;
      await withStore(options, "read", (store) => {
        const rows = store.search(model, words.join(" "), limit === undefined ? {} : { limit });
        return printRows(output, projection, rows);
      });
    });
}
