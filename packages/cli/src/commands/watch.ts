import type { ModelChange, ModelRow } from "@holdfast/core";
import { Command } from "commander";
import { type Output, printable } from "../output.ts";
import { withStore } from "../store.ts";
import { contextOf, count } from "./options.ts";
import {
  modelQueryOf,
  projectionOf,
  type RowOptions,
  rowText,
  withRowConditions,
} from "./query.ts";

/** `holdfast watch MODEL`: what changes in the answer of a query, whichever process appends. */
export function watchCommand(): Command {
  const command = new Command("watch")
    .description("print the rows of a read model, then every change of them, until interrupted")
    .argument("<model>", "name of the read model")
    .option("--for <seconds>", "end after so many seconds", count);
  return withRowConditions(command).action(async (model: string, _, self: Command) => {
    const { options, output } = contextOf<RowOptions & { readonly for?: number }>(self);
    const projection = projectionOf(model);
    const query = modelQueryOf(projection, options);
    await withStore(options, "read", async (store) => {
      let printed = Promise.resolve();
      const end = store.subscribe(model, query, (change) => {
        printed = printed.then(() => printChange(output, model, change));
      });
      await interruption(options.for);
      end();
      await printed;
    });
  });
}

/** Resolves on SIGINT or SIGTERM, or once the seconds are over. */
export function interruption(seconds: number | undefined): Promise<void> {
  return new Promise((resolve) => {
    // Without an end of its own the timer only keeps the process alive.
    const timer = setInterval(finish, (seconds ?? 86_400) * 1_000);
    function finish(): void {
      if (seconds !== undefined) stop();
    }
    function stop(): void {
      clearInterval(timer);
      process.off("SIGINT", stop);
      process.off("SIGTERM", stop);
      resolve();
    }
    process.on("SIGINT", stop);
    process.on("SIGTERM", stop);
  });
}

async function printChange(output: Output, model: string, change: ModelChange): Promise<void> {
  const { added, changed, removed } = change;
  if (output.json) {
    const list = (rows: readonly ModelRow[]) => rows.map((row) => rowText(model, row)).join(",");
    await output.raw(
      `{"added":[${list(added)}],"changed":[${list(changed)}],"removed":[${list(removed)}]}\n`,
    );
    return;
  }
  for (const [sign, rows] of [
    ["+", added],
    ["~", changed],
    ["-", removed],
  ] as const) {
    for (const { stream, columns } of rows) {
      const values = Object.entries(columns).filter(([, value]) => value !== null);
      const shown = values.map(([name, value]) => `${name}=${value}`).join(" ");
      await output.say(printable(`${sign} ${stream} ${shown}`));
    }
  }
}
