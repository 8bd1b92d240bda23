import type { Moment } from "@holdfast/core";
import { Command } from "commander";
import { UsageError, withStore } from "../store.ts";
import { contextOf, instant, position } from "./options.ts";
import {
  modelQueryOf,
  printRows,
  projectionOf,
  type RowOptions,
  withRowConditions,
} from "./query.ts";

interface AsOfOptions extends RowOptions {
  readonly at?: number;
  readonly occurred?: number;
  readonly position?: number;
  readonly stream?: string;
}

/** `holdfast as-of MODEL`: rows of a read model as they were at a moment. */
export function asOfCommand(): Command {
  const command = new Command("as-of")
    .description("rows of a read model as they were at a moment")
    .argument("<model>", "name of the read model")
    .option("--at <time>", "what had been recorded by then, with all it builds upon", instant)
    .option("--occurred <time>", "what had happened by then, as far as it is known now", instant)
    .option("--position <n>", "what this store held at that position of its log", position)
    .option("--stream <words>", "only this stream, in words or by id");
  return withRowConditions(command).action(async (model: string, _, self: Command) => {
    const { options, output } = contextOf<AsOfOptions>(self);
    const projection = projectionOf(model);
    const moment = momentOf(options);
    const query = modelQueryOf(projection, options);
    const { stream } = options;
    const asked = stream === undefined ? query : { ...query, where: { ...query.where, stream } };
    await withStore(options, "read", (store) =>
      printRows(output, projection, store.asOf(model, moment, asked)),
    );
  });
}

/** The moment that exactly one of the options names. */
function momentOf({
  at,
  occurred,
  position: place,
}: Pick<AsOfOptions, "at" | "occurred" | "position">): Moment {
  const moments: readonly Moment[] = [
    ...(at === undefined ? [] : [{ recorded: at }]),
    ...(occurred === undefined ? [] : [{ occurred }]),
    ...(place === undefined ? [] : [{ position: place }]),
  ];
  const [moment, ...others] = moments;
  if (moment === undefined || others.length > 0) {
    throw new UsageError("Name one moment: --at TIME, --occurred TIME or --position N.");
  }
  return moment;
}
