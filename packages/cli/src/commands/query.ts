import {
  type Condition,
  HoldfastError,
  type ModelQuery,
  type ModelRow,
  type Projection,
} from "@holdfast/core";
import { compactJsonText, type FhirRow } from "@holdfast/packs";
import { Command } from "commander";
import { counted, table } from "../output.ts";
import { projections, UsageError, withStore } from "../store.ts";
import { collect, contextOf, count } from "./options.ts";

interface QueryOptions {
  readonly where?: readonly string[];
  readonly order?: readonly string[];
  readonly limit?: number;
  readonly count?: boolean;
}

const operators = {
  "=": "eq",
  "!=": "ne",
  "<": "lt",
  "<=": "lte",
  ">": "gt",
  ">=": "gte",
} as const;

/** `holdfast query MODEL`: rows of a read model. */
export function queryCommand(): Command {
  return new Command("query")
    .description("rows of a read model")
    .argument("<model>", "name of the read model")
    .option(
      "--where <condition>",
      "field=value; also != < <= > >=; may be repeated, all hold",
      collect,
    )
    .option(
      "--order <field>",
      "field to order by, descending with a leading -; may be repeated",
      collect,
    )
    .option("--limit <n>", "at most so many rows", count)
    .option("--count", "only the number of rows")
    .addHelpText("after", () => `\nRead models and their columns:\n${modelLines()}`)
    .action(async (model: string, _, command: Command) => {
      const { options, output } = contextOf<QueryOptions>(command);
      const projection = projections.find(({ name }) => name === model);
      if (projection === undefined)
        throw new HoldfastError("model_unknown", { model: model.slice(0, 64) });
      const where = conditions(projection, options.where ?? []);
      await withStore(options, "read", async (store) => {
        if (options.count === true) {
          const number = store.count(model, { where });
          await output.row({ count: number });
          await output.say(String(number));
          return;
        }
        const query: ModelQuery = {
          where,
          ...(options.order === undefined ? {} : { order: options.order }),
          ...(options.limit === undefined ? {} : { limit: options.limit }),
        };
        const rows = store.query(model, query);
        if (output.json) for (const row of rows) await output.raw(`${rowText(model, row)}\n`);
        const columns = Object.keys(projection.columns);
        const cells = rows.map((row) => columns.map((column) => row.columns[column]));
        await output.say(table(columns, cells));
        await output.say(counted(rows.length, "row"));
      });
    });
}

function modelLines(): string {
  return projections
    .map(({ name, columns }) => `  ${name.padEnd(12)} ${Object.keys(columns).join(", ")}`)
    .join("\n");
}

/** A row as one line of JSON; a FHIR resource with its numbers as they were written. */
export function rowText(model: string, row: ModelRow): string {
  const { stream, scope, columns, state } = row;
  if (model !== "fhir") return JSON.stringify({ ...columns, stream, scope, state });
  const { text, leaf } = state as FhirRow;
  const front = JSON.stringify({ ...columns, stream, scope, leaf });
  return `${front.slice(0, -1)},"resource":${compactJsonText(text)}}`;
}

/** `field=value` as conditions on columns of the model, values by the column's type. */
export function conditions(
  projection: Pick<Projection, "columns">,
  texts: readonly string[],
): Readonly<Record<string, Condition>> {
  const out: Record<string, Exclude<Condition, string | number | null>> = {};
  for (const text of texts) {
    const parts = /^([a-z][a-z0-9_]*)(!=|<=|>=|=|<|>)([^]*)$/.exec(text);
    if (parts === null)
      throw new UsageError(`--where takes field=value, not ${JSON.stringify(text)}.`);
    const [, field = "", operator = "=", value = ""] = parts;
    const type = projection.columns[field] ?? "text";
    const typed = type === "text" ? value : Number(value);
    if (typeof typed === "number" && (value.trim() === "" || !Number.isFinite(typed))) {
      throw new HoldfastError("query_invalid", { field, rule: "a number" });
    }
    out[field] = { ...out[field], [operators[operator as keyof typeof operators]]: typed };
  }
  return out;
}
