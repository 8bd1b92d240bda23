/**
 * Tables as Parquet, a row group at a time: a group is encoded, handed on and forgotten before the next one
 * is gathered, so memory is bounded by one group.
 *
 * Times are UTC timestamps in milliseconds. JSON stands as text, digits as recorded: for events whose content
 * is a text, that text itself. Pages are compressed with zstd by Node's own zlib. The row groups are smaller
 * than analytics engines like best (some 100,000 rows), because a device has to write them.
 */
import { zstdCompressSync } from "node:zlib";
import { fromIsoTime, invariant } from "@holdfast/core";
import { ByteWriter, ParquetWriter, type SchemaElement } from "hyparquet-writer";
import type { Column, ColumnKind, Row, Table } from "./rows.ts";

/** Rows of a group, and characters of text in it: whichever comes first closes the group. */
const groupRowsMax = 5_000;
const groupCharactersMax = 2 * 1024 * 1024;

const types: Readonly<Record<ColumnKind, Partial<SchemaElement>>> = {
  text: { type: "BYTE_ARRAY", converted_type: "UTF8" },
  json: { type: "BYTE_ARRAY", converted_type: "UTF8" },
  integer: { type: "INT64" },
  real: { type: "DOUBLE" },
  time: {
    type: "INT64",
    converted_type: "TIMESTAMP_MILLIS",
    logical_type: { type: "TIMESTAMP", isAdjustedToUTC: true, unit: "MILLIS" },
  },
};

type Cell = string | bigint | number | undefined;

/** Pieces of the file; joined they are the whole. Returns the number of rows. */
export function* parquetOf(table: Table): Generator<Uint8Array, number> {
  const columns = table.columns.filter(({ name }) => name !== "text");
  const bytes = new ByteWriter();
  const writer = new ParquetWriter({
    writer: bytes,
    codec: "ZSTD",
    compressors: { ZSTD: (input) => new Uint8Array(zstdCompressSync(input)) },
    createdBy: "holdfast",
    schema: [
      { name: "root", num_children: columns.length },
      ...columns.map(({ name, kind, required }): SchemaElement => {
        return { name, repetition_type: required ? "REQUIRED" : "OPTIONAL", ...types[kind] };
      }),
    ],
  });
  const taken = (): Uint8Array => {
    const piece = bytes.getBytes().slice();
    bytes.index = 0;
    return piece;
  };
  let rows = 0;
  for (const group of groupsOf(table.rows, columns)) {
    rows += group[0]?.length ?? 0;
    const columnData = columns.map(({ name, kind }, index) => ({
      name,
      data: encoded(group[index] ?? []),
      // The library keeps the bounds of every group to the end, and a text's bound is a view of its buffer.
      statistics: kind !== "text" && kind !== "json",
    }));
    const pending = writer.write({ columnData, rowGroupSize: groupRowsMax });
    invariant(pending === undefined, "a writer without flush is synchronous");
    yield taken();
  }
  const ended = writer.finish();
  invariant(ended === undefined, "a writer without flush is synchronous");
  yield taken();
  return rows;
}

/**
 * Texts as views of one buffer. The library would make a buffer of its own for each.
 */
function encoded(cells: readonly Cell[]): (Cell | Uint8Array)[] {
  const size = (cell: Cell): number => (typeof cell === "string" ? Buffer.byteLength(cell) : 0);
  const bytes = Buffer.allocUnsafeSlow(cells.reduce((sum: number, cell) => sum + size(cell), 0));
  let at = 0;
  return cells.map((cell) => {
    if (typeof cell !== "string") return cell;
    const start = at;
    at += bytes.write(cell, at);
    return new Uint8Array(bytes.buffer, start, at - start);
  });
}

/** Groups of rows, turned into columns. */
function* groupsOf(rows: Iterable<Row>, columns: readonly Column[]): Generator<readonly Cell[][]> {
  const fresh = (): Cell[][] => columns.map(() => []);
  let [group, count, characters] = [fresh(), 0, 0];
  for (const row of rows) {
    for (const [index, column] of columns.entries()) {
      const cell = cellOf(row, column);
      if (typeof cell === "string") characters += cell.length;
      group[index]?.push(cell);
    }
    count += 1;
    if (count >= groupRowsMax || characters >= groupCharactersMax) {
      yield group;
      [group, count, characters] = [fresh(), 0, 0];
    }
  }
  if (count > 0) yield group;
}

function cellOf(row: Row, { name, kind }: Column): Cell {
  const value = row[name];
  // The exact text of a record, where there is one, rather than a number parsed and printed again.
  if (kind === "json") return textCell(row["text"]) ?? jsonCell(value);
  if (value === undefined || value === null) return undefined;
  if (kind === "integer") return BigInt(value as number);
  if (kind === "time") return BigInt(fromIsoTime(value as string) as number);
  return value as Cell;
}

function textCell(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function jsonCell(value: unknown): string | undefined {
  return value === undefined ? undefined : JSON.stringify(value);
}
