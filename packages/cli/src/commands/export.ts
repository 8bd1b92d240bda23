import { type RecordedEvent, toWire } from "@holdfast/core";
import { Command, Option } from "commander";
import { csvLine } from "../csv.ts";
import { UsageError, withStore } from "../store.ts";
import { contextOf } from "./options.ts";
import { conditionsOf, type LogOptions, pages, withConditions } from "./log.ts";

/** What is not encrypted in the store: identifiers, times, pseudonyms. */
const plainColumns = [
  "position",
  "id",
  "seq",
  "leaf",
  "type",
  "schema_version",
  "op",
  "stream",
  "scope",
  "actor",
  "recorded_at",
  "why",
] as const;
/** What is encrypted in the store: only with --include-payload. */
const payloadColumns = ["occurred_at", "reason", "content", "data", "text"] as const;

interface ExportOptions extends LogOptions {
  readonly format?: "ndjson" | "csv";
  readonly includePayload?: boolean;
}

/** `holdfast export`: events as NDJSON or CSV on standard output. */
export function exportCommand(): Command {
  return withConditions(
    new Command("export")
      .description("events as NDJSON or CSV on standard output; payloads only when asked for")
      .addOption(
        new Option("--format <format>", "ndjson (default) or csv").choices(["ndjson", "csv"]),
      )
      .option("--include-payload", "with payloads, reasons and claimed times: personal data"),
  ).action(async (_, command: Command) => {
    const { options, output } = contextOf<ExportOptions>(command);
    if (options.json === true && options.format === "csv") {
      throw new UsageError("--json and --format csv exclude each other.");
    }
    const columns = [...plainColumns, ...(options.includePayload === true ? payloadColumns : [])];
    const headersOnly = options.includePayload !== true;
    await withStore(options, "read", async (store) => {
      if (options.format === "csv") await output.raw(csvLine(columns));
      for (const events of pages(store, { ...conditionsOf(options), headersOnly })) {
        for (const event of events) await output.raw(lineOf(event, columns, options.format));
      }
    });
  });
}

function lineOf(
  event: RecordedEvent,
  columns: readonly string[],
  format: "ndjson" | "csv" = "ndjson",
): string {
  const wire = toWire(event) as unknown as Readonly<Record<string, unknown>>;
  if (format === "csv") return csvLine(columns.map((column) => wire[column]));
  return `${JSON.stringify(Object.fromEntries(columns.map((column) => [column, wire[column]])))}\n`;
}
