import { HoldfastError, type Holdfast, type Projection } from "@holdfast/core";
import { keepMemorySmall } from "@holdfast/node";
import { diaryFhir, exportFhir, requireComplete } from "@holdfast/packs";
import { Command, Option } from "commander";
import { csvLine } from "../csv.ts";
import type { Output } from "../output.ts";
import { parquetOf } from "../parquet.ts";
import { eventTable, modelTable, type Table } from "../rows.ts";
import { drain, type Write, writeFileWhole } from "../sink.ts";
import { projections, type StoreOptions, UsageError, withStore } from "../store.ts";
import { conditionsOf, type LogOptions, withConditions } from "./log.ts";
import { contextOf } from "./options.ts";

const formats = ["ndjson", "csv", "parquet", "fhir"] as const;

interface ExportOptions extends LogOptions, StoreOptions {
  readonly format?: (typeof formats)[number];
  readonly includePayload?: boolean;
  readonly model?: string;
  readonly subject?: string;
  readonly out?: string;
}

/** `holdfast export`: events or a read model as NDJSON, CSV or Parquet; records as a FHIR bundle. */
export function exportCommand(): Command {
  return withConditions(
    new Command("export")
      .description(
        "events or a read model as NDJSON, CSV or Parquet, records as a FHIR R4 bundle; " +
          "payloads only when asked for",
      )
      .addOption(
        new Option("--format <format>", "form of the output; without it ndjson").choices(formats),
      )
      .option("--include-payload", "with payloads, reasons and claimed times: personal data")
      .option("--model <name>", "rows of a read model instead of events")
      .option("--subject <words>", "with fhir: only this subject, in words")
      .option("--out <file>", "into a new file; without it to standard output"),
  ).action(async (_, command: Command) => {
    const { options, output } = contextOf<ExportOptions>(command);
    checkOptions(options);
    keepMemorySmall();
    const projection = options.model === undefined ? undefined : projectionOf(options.model);
    await withStore(options, "read", async (store) => {
      if (projection !== undefined) requireComplete(store, [projection.name]);
      const pieces = (): Generator<string | Uint8Array, Summary> =>
        options.format === "fhir"
          ? fhirPieces(store, options)
          : tablePieces(options.format, tableOf(store, options, projection));
      if (options.out === undefined) {
        await drain(pieces(), (piece) => output.raw(piece as string));
        return;
      }
      await intoFile(options.out, pieces, output);
    });
  });
}

type Summary = Readonly<Record<string, unknown>>;

async function intoFile(
  path: string,
  pieces: () => Generator<string | Uint8Array, Summary>,
  output: Output,
): Promise<void> {
  let summary: Summary = {};
  await writeFileWhole(path, async (write: Write) => {
    summary = await drain(pieces(), write);
  });
  await output.row(summary);
  const facts = Object.entries(summary).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  await output.say(`Written, in plaintext. ${facts.join("; ")}`);
}

function checkOptions(options: ExportOptions): void {
  const { format, json, model, includePayload, subject, out } = options;
  if (json === true && format === "csv" && out === undefined) {
    throw new UsageError("--json and --format csv exclude each other.");
  }
  if (format === "parquet" && out === undefined) {
    throw new UsageError("--format parquet needs --out FILE.");
  }
  if (format === "fhir" && includePayload !== true) {
    throw new UsageError("--format fhir writes personal data: it needs --include-payload.");
  }
  if (model !== undefined && includePayload !== true) {
    throw new UsageError("--model writes personal data: it needs --include-payload.");
  }
  if (format === "fhir" && model !== undefined) {
    throw new UsageError("--format fhir and --model exclude each other.");
  }
  if (subject !== undefined && format !== "fhir") {
    throw new UsageError("--subject goes with --format fhir.");
  }
  const conditions = Object.keys(conditionsOf(options));
  if ((format === "fhir" || model !== undefined) && conditions.length > 0) {
    throw new UsageError(`--${conditions.join(", --")}: a condition on events, not on records.`);
  }
}

function projectionOf(name: string): Projection {
  const projection = projections.find((one) => one.name === name);
  if (projection === undefined) {
    throw new HoldfastError("model_unknown", { model: name.slice(0, 64) });
  }
  return projection;
}

function tableOf(
  store: Holdfast,
  options: ExportOptions,
  projection: Projection | undefined,
): Table {
  if (projection !== undefined) return modelTable(store, projection);
  return eventTable(store, conditionsOf(options), options.includePayload === true);
}

function* fhirPieces(store: Holdfast, { subject }: ExportOptions): Generator<string, Summary> {
  const result = yield* exportFhir(store, {
    models: [diaryFhir],
    timestamp: new Date().toISOString(),
    ...(subject === undefined ? {} : { scope: store.scopeId(subject) }),
  });
  return { resources: result.resources };
}

/** Pieces of a table in one of the formats; returns the number of rows. */
export function* tablePieces(
  format: ExportOptions["format"],
  table: Table,
): Generator<string | Uint8Array, Summary> {
  if (format === "parquet") return { rows: yield* parquetOf(table) };
  const names = table.columns.map(({ name }) => name);
  if (format === "csv") yield csvLine(names);
  let rows = 0;
  for (const row of table.rows) {
    rows += 1;
    if (format === "csv") yield csvLine(names.map((name) => row[name]));
    else yield `${JSON.stringify(Object.fromEntries(names.map((name) => [name, row[name]])))}\n`;
  }
  return { rows };
}
