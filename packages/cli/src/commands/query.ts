import {
  type Condition,
  type Holdfast,
  HoldfastError,
  type ModelQuery,
  type ModelRow,
  type Projection,
} from "@holdfast/core";
import { compactJsonText, type FhirRow } from "@holdfast/packs";
import { Command } from "commander";
import { counted, type Output, table } from "../output.ts";
import { projections, UsageError, withStore } from "../store.ts";
import { collect, contextOf, count } from "./options.ts";

/** Conditions, order and limit, as every command that reads rows takes them. */
export interface RowOptions {
  readonly where?: readonly string[];
  readonly order?: readonly string[];
  readonly limit?: number;
}

interface QueryOptions extends RowOptions {
  readonly after?: string;
  readonly page?: boolean;
  readonly groupBy?: readonly string[];
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

/** Options that every command on the rows of a read model takes. */
export function withRowConditions(command: Command): Command {
  return command
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
    .option("--limit <n>", "at most so many rows", count);
}

/** The read model of that name. Throws `model_unknown`. */
export function projectionOf(model: string): Projection {
  const projection = projections.find(({ name }) => name === model);
  if (projection === undefined) {
    throw new HoldfastError("model_unknown", { model: model.slice(0, 64) });
  }
  return projection;
}

export function modelQueryOf(projection: Projection, options: RowOptions): ModelQuery {
  const { where, order, limit } = options;
  return {
    where: conditions(projection, where ?? []),
    ...(order === undefined ? {} : { order }),
    ...(limit === undefined ? {} : { limit }),
  };
}

/** Rows as NDJSON, or as a table of the declared columns. */
export async function printRows(
  output: Output,
  projection: Projection,
  rows: readonly ModelRow[],
): Promise<void> {
  if (output.json) for (const row of rows) await output.raw(`${rowText(projection.name, row)}\n`);
  const columns = Object.keys(projection.columns);
  const cells = rows.map((row) => columns.map((column) => row.columns[column]));
  await output.say(table(columns, cells));
  await output.say(counted(rows.length, "row"));
}

/** `holdfast query MODEL`: rows of a read model. */
export function queryCommand(): Command {
  const command = new Command("query")
    .description("rows of a read model")
    .argument("<model>", "name of the read model");
  return withRowConditions(command)
    .option("--page", "say where the next page begins, with --json as a last line")
    .option("--after <cursor>", "go on there; with the conditions and the order of the page before")
    .option("--group-by <field>", "count rows by group; may be repeated", collect)
    .option("--count", "only the number of rows")
    .addHelpText("after", () => `\nRead models and their columns:\n${modelLines()}`)
    .action(async (model: string, _, self: Command) => {
      const { options, output } = contextOf<QueryOptions>(self);
      const projection = projectionOf(model);
      const query = modelQueryOf(projection, options);
      await withStore(options, "read", (store) =>
        answer(store, output, projection, { query, options }),
      );
    });
}

async function answer(
  store: Holdfast,
  output: Output,
  projection: Projection,
  asked: { readonly query: ModelQuery; readonly options: QueryOptions },
): Promise<void> {
  const { query, options } = asked;
  if (options.groupBy !== undefined) {
    await printGroups(store, output, projection, { ...query, groupBy: options.groupBy });
  } else if (options.count === true) {
    const number = store.count(projection.name, query);
    await output.row({ count: number });
    await output.say(String(number));
  } else {
    const { after } = options;
    const page = store.page(projection.name, after === undefined ? query : { ...query, after });
    await printRows(output, projection, page.rows);
    if (options.page !== true && after === undefined) return;
    await output.row({ next: page.next ?? null });
    await output.say(page.next === undefined ? "the last page" : `next page: --after ${page.next}`);
  }
}

async function printGroups(
  store: Holdfast,
  output: Output,
  projection: Projection,
  query: ModelQuery & { readonly groupBy: readonly string[] },
): Promise<void> {
  const groups = store.aggregate(projection.name, { ...query, measures: { count: "count" } });
  for (const group of groups) await output.row(group);
  const names = [...query.groupBy, "count"];
  await output.say(
    table(
      names,
      groups.map((group) => names.map((name) => group[name])),
    ),
  );
  await output.say(counted(groups.length, "group"));
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
