import { Command } from "commander";
import { counted, table } from "../output.ts";
import { createProgress } from "../progress.ts";
import { withStore } from "../store.ts";
import { contextOf } from "./options.ts";
import { projectionOf } from "./query.ts";

/** `holdfast projections ls|rebuild`: where the read models stand, and building one anew. */
export function projectionsCommand(): Command {
  return new Command("projections")
    .description("where the read models stand; build one anew")
    .addCommand(lsCommand())
    .addCommand(rebuildCommand());
}

function lsCommand(): Command {
  return new Command("ls")
    .description("read models with version, state and number of rows")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf(command);
      await withStore(options, "read", async (store) => {
        const models = store.status().projections.map(({ stoppedAt, ...model }) => ({
          ...model,
          stopped_at: stoppedAt ?? null,
          // What is stale cannot be read, and a store that is open for reading builds nothing.
          rows: model.state === "stale" ? null : store.count(model.name),
        }));
        for (const model of models) await output.row(model);
        const cells = models.map((model) => [
          model.name,
          model.version,
          model.state,
          model.rows,
          model.stopped_at,
        ]);
        await output.say(table(["name", "version", "state", "rows", "stopped at"], cells));
      });
    });
}

function rebuildCommand(): Command {
  return new Command("rebuild")
    .description("project a read model from the first event; the old one answers meanwhile")
    .argument("<model>", "name of the read model")
    .action(async (model: string, _, command: Command) => {
      const { options, output } = contextOf(command);
      projectionOf(model);
      await withStore(options, "write", async (store) => {
        const progress = createProgress("Streams", output.json);
        await store.rebuild(model, progress.update);
        progress.stop("Built");
        const built = store.status().projections.find(({ name }) => name === model);
        const rows = store.count(model);
        await output.row({ name: model, state: built?.state, rows });
        await output.say(`${model}: ${built?.state ?? ""}, ${counted(rows, "row")}`);
      });
    });
}
