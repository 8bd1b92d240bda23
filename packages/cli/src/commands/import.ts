import { readFile } from "node:fs/promises";
import { HoldfastError } from "@holdfast/core";
import { importFhir } from "@holdfast/packs";
import { Command } from "commander";
import { table } from "../output.ts";
import { createProgress } from "../progress.ts";
import { withStore } from "../store.ts";
import { contextOf } from "./options.ts";

/** `holdfast import fhir FILE…`: FHIR R4 bundles; what is recorded already is recognised. */
export function importCommand(): Command {
  const fhir = new Command("fhir")
    .description("import FHIR R4 bundles; what is recorded already is recognised")
    .argument("<file...>", "bundles in JSON")
    .option("--actor <words>", "on whose authority", "fhir-import")
    .action(async (files: readonly string[], _, command: Command) => {
      const { options, output } = contextOf<{ readonly actor: string }>(command);
      await withStore(options, "write", async (store) => {
        const progress = createProgress("Resources", output.json);
        const result = await importFhir(
          store,
          files.map((file, index) => () => bundleOf(file, index + 1)),
          { actor: options.actor, onProgress: progress.update },
        );
        progress.stop("Imported");
        await output.row(result);
        const { appended, duplicates, amended, resources } = result;
        const rows = Object.entries(resources).toSorted(([, a], [, b]) => b - a);
        if (rows.length > 0) await output.say(table(["resource", "seen"], rows));
        await output.say(
          `${appended} appended, ${amended} amended, ${duplicates} were there already.`,
        );
      });
    });
  return new Command("import").description("import records from elsewhere").addCommand(fhir);
}

async function bundleOf(file: string, source: number): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new HoldfastError("input_unreadable", { argument: "FILE", source }, { cause });
  }
}
