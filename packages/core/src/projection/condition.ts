/**
 * Conditions and orders of queries, evaluated on rows in memory with the meaning that SQLite gives them: for
 * live queries and for rows of the past. Text compares by code point, as UTF-8 bytes do.
 */
import type { ColumnValue, Condition, ModelRow, Where } from "./projection.ts";

/** Order of SQLite: null, then numbers, then text. */
export function compareValues(a: ColumnValue, b: ColumnValue): number {
  const classOf = (value: ColumnValue): number =>
    value === null ? 0 : typeof value === "number" ? 1 : 2;
  if (classOf(a) !== classOf(b)) return classOf(a) - classOf(b);
  if (typeof a === "string" && typeof b === "string") return compareText(a, b);
  return a === b ? 0 : (a as number) < (b as number) ? -1 : 1;
}

function compareText(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    // Surrogates stand for code points above all others.
    const high = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdfff;
    if (high(x) !== high(y)) return high(x) ? 1 : -1;
    return x - y;
  }
  return a.length - b.length;
}

function holds(value: ColumnValue, condition: Condition): boolean {
  if (condition === null || typeof condition !== "object") {
    return compareValues(value, condition) === 0;
  }
  const { eq, ne, lt, lte, gt, gte, in: list } = condition;
  if (eq !== undefined && compareValues(value, eq) !== 0) return false;
  if (ne !== undefined && compareValues(value, ne) === 0) return false;
  // A null is in no list and on no side of anything, as in SQL.
  if (
    list !== undefined &&
    (value === null || !list.some((item) => item !== null && compareValues(value, item) === 0))
  )
    return false;
  if (value === null) return [lt, lte, gt, gte].every((bound) => bound === undefined);
  return (
    (lt === undefined || compareValues(value, lt) < 0) &&
    (lte === undefined || compareValues(value, lte) <= 0) &&
    (gt === undefined || compareValues(value, gt) > 0) &&
    (gte === undefined || compareValues(value, gte) >= 0)
  );
}

function valueOf(row: ModelRow, field: string): ColumnValue {
  if (field === "stream") return row.stream;
  if (field === "scope") return row.scope;
  return row.columns[field] ?? null;
}

/** Do all conditions hold for the row? */
export function matches(row: ModelRow, where: Where | undefined): boolean {
  return Object.entries(where ?? {}).every(([field, condition]) =>
    holds(valueOf(row, field), condition),
  );
}

/** Rows in the order asked for; ties by stream, in the direction of the last column. */
export function inOrder<Row extends ModelRow>(
  rows: readonly Row[],
  order: readonly string[] | undefined,
): readonly Row[] {
  const fields = order ?? [];
  return rows.toSorted((a, b) => {
    for (const field of fields) {
      const descending = field.startsWith("-");
      const name = descending ? field.slice(1) : field;
      const difference = compareValues(valueOf(a, name), valueOf(b, name));
      if (difference !== 0) return descending ? -difference : difference;
    }
    const ties = compareValues(a.stream, b.stream);
    return fields.at(-1)?.startsWith("-") === true ? -ties : ties;
  });
}
