/** Queries on read models, compiled to SQL over declared columns; every value is bound. */
import { base64url, fromBase64url, fromUtf8, utf8 } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { SqlValue } from "../store/sqlite-driver.ts";
import type {
  AggregateQuery,
  ColumnValue,
  Condition,
  Measure,
  ModelRow,
  PageQuery,
  Projection,
  Where,
} from "./projection.ts";

/** SQL with its values, in order. */
export interface CompiledQuery {
  readonly sql: string;
  readonly values: readonly SqlValue[];
}

/** What a query is checked against. */
export type Declared = Pick<Projection, "name" | "columns">;

const comparisons = { eq: "IS", ne: "IS NOT", lt: "<", lte: "<=", gt: ">", gte: ">=" } as const;
type Comparison = keyof typeof comparisons;

function refuse(model: Declared, field: string, reason?: string): never {
  const details = { model: model.name, field: field.slice(0, 64) };
  throw new HoldfastError("query_invalid", reason === undefined ? details : { ...details, reason });
}

function column(model: Declared, name: string): string {
  if (name === "stream" || name === "scope" || Object.hasOwn(model.columns, name))
    return `"${name}"`;
  return refuse(model, name);
}

/** A value of the column's own type, or null: SQLite would compare another one after converting it. */
function scalar(model: Declared, field: string, value: unknown): ColumnValue {
  const type = Object.hasOwn(model.columns, field) ? model.columns[field] : "text";
  if (value === null) return value;
  if (type === "text" && typeof value === "string") return value;
  if (type !== "text" && typeof value === "number" && Number.isFinite(value)) return value;
  return refuse(model, field, "value");
}

function compileCondition(model: Declared, field: string, condition: Condition): CompiledQuery {
  const name = column(model, field);
  if (condition === null || typeof condition !== "object") {
    return { sql: `${name} IS ?`, values: [scalar(model, field, condition)] };
  }
  const sql: string[] = [];
  const values: SqlValue[] = [];
  for (const [key, value] of Object.entries(condition)) {
    if (value === undefined) continue;
    if (key === "in") {
      if (!Array.isArray(value) || value.length > limits.queryListMax) refuse(model, field, "in");
      const list = value as readonly unknown[];
      sql.push(`${name} IN (${list.map(() => "?").join(", ")})`);
      for (const item of list) values.push(scalar(model, field, item));
      continue;
    }
    if (!Object.hasOwn(comparisons, key)) refuse(model, field, "condition");
    if (value === null && key !== "eq" && key !== "ne") refuse(model, field, "value");
    sql.push(`${name} ${comparisons[key as Comparison]} ?`);
    values.push(scalar(model, field, value));
  }
  return { sql: sql.length === 0 ? "TRUE" : sql.join(" AND "), values };
}

function compileWhere(model: Declared, where: Where | undefined): CompiledQuery {
  const parts = Object.entries(where ?? {}).map(([field, condition]) =>
    compileCondition(model, field, condition),
  );
  return {
    sql: parts.map((part) => part.sql).join(" AND "),
    values: parts.flatMap((part) => part.values),
  };
}

interface OrderTerm {
  readonly field: string;
  readonly name: string;
  readonly descending: boolean;
}

function orderTerms(model: Declared, order: readonly string[] | undefined): readonly OrderTerm[] {
  const terms = (order ?? []).map((text) => {
    const descending = text.startsWith("-");
    const field = descending ? text.slice(1) : text;
    return { field, name: column(model, field), descending };
  });
  if (terms.some(({ field }) => field === "stream")) return terms;
  // Ties go the way of the last column, so that one index serves both.
  const descending = terms.at(-1)?.descending ?? false;
  return [...terms, { field: "stream", name: '"stream"', descending }];
}

function checkedLimit(model: Declared, limit: number | undefined): number {
  const rows = limit ?? limits.queryRowsDefault;
  if (!Number.isSafeInteger(rows) || rows < 0) refuse(model, "limit");
  return rows;
}

/** Rows strictly after a place in the order; nulls come first, as SQLite has them. */
function compileAfter(terms: readonly OrderTerm[], place: readonly ColumnValue[]): CompiledQuery {
  const [term, ...rest] = terms;
  const [value, ...further] = place;
  if (term === undefined || value === undefined) return { sql: "FALSE", values: [] };
  const { name, descending } = term;
  const beyond: CompiledQuery = descending
    ? value === null
      ? { sql: "FALSE", values: [] }
      : { sql: `(${name} < ? OR ${name} IS NULL)`, values: [value] }
    : value === null
      ? { sql: `${name} IS NOT NULL`, values: [] }
      : { sql: `${name} > ?`, values: [value] };
  if (rest.length === 0) return beyond;
  const tie = compileAfter(rest, further);
  return {
    sql: `(${beyond.sql} OR (${name} IS ? AND ${tie.sql}))`,
    values: [...beyond.values, value, ...tie.values],
  };
}

/** Rows in the order asked for, from the cursor on. */
export function compileQuery(model: Declared, table: string, query: PageQuery): CompiledQuery {
  const where = compileWhere(model, query.where);
  const terms = orderTerms(model, query.order);
  const conditions = where.sql === "" ? [] : [where.sql];
  const values = [...where.values];
  if (query.after !== undefined) {
    const after = compileAfter(terms, readCursor(model, terms, query.after));
    conditions.push(after.sql);
    values.push(...after.values);
  }
  const columns = Object.keys(model.columns).map((name) => `, "${name}"`);
  const order = terms.map(({ name, descending }) => (descending ? `${name} DESC` : name));
  const filter = conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`;
  return {
    sql: `SELECT stream, scope, state${columns.join("")} FROM ${table}${filter} ORDER BY ${order.join(", ")} LIMIT ?`,
    values: [...values, checkedLimit(model, query.limit)],
  };
}

/** Where the page after this row begins: opaque text, bound to the order. */
export function cursorAfter(
  model: Declared,
  order: readonly string[] | undefined,
  row: ModelRow,
): string {
  const terms = orderTerms(model, order);
  const place = terms.map(({ field }) => {
    if (field === "stream") return row.stream;
    return field === "scope" ? row.scope : (row.columns[field] ?? null);
  });
  return base64url(utf8(JSON.stringify([signature(terms), ...place])));
}

function signature(terms: readonly OrderTerm[]): string {
  return terms.map(({ field, descending }) => (descending ? "-" : "") + field).join(",");
}

function readCursor(
  model: Declared,
  terms: readonly OrderTerm[],
  cursor: string,
): readonly ColumnValue[] {
  try {
    const read: unknown = JSON.parse(fromUtf8(fromBase64url(cursor) ?? new Uint8Array(0)));
    if (Array.isArray(read) && read[0] === signature(terms) && read.length === terms.length + 1) {
      return terms.map(({ field }, at) => scalar(model, field, read[at + 1]));
    }
  } catch {
    // Refused below, like every other text that is not a cursor of this query.
  }
  return refuse(model, "after", "not a cursor of this query");
}

export function compileCount(
  model: Declared,
  table: string,
  query: { readonly where?: Where },
): CompiledQuery {
  const where = compileWhere(model, query.where);
  const filter = where.sql === "" ? "" : ` WHERE ${where.sql}`;
  return { sql: `SELECT count(*) AS value FROM ${table}${filter}`, values: where.values };
}

const measureName = /^[a-z][a-z0-9_]{0,47}$/;

function compileMeasure(model: Declared, name: string, measure: Measure): string {
  if (!measureName.test(name)) refuse(model, name, "measure");
  if (measure === "count") return `count(*) AS "${name}"`;
  const [entry, ...others] = Object.entries(measure);
  const [operation, field] = entry ?? ["", ""];
  if (others.length > 0 || !["sum", "avg", "min", "max"].includes(operation)) {
    refuse(model, name, "measure");
  }
  return `${operation}(${column(model, field)}) AS "${name}"`;
}

/** One row per group. */
export function compileAggregate(
  model: Declared,
  table: string,
  query: AggregateQuery,
): CompiledQuery {
  const groups = (query.groupBy ?? []).map((name) => column(model, name));
  const measures = Object.entries(query.measures).map(([name, measure]) =>
    compileMeasure(model, name, measure),
  );
  if (groups.length + measures.length === 0) refuse(model, "measures");
  const known = new Set([...(query.groupBy ?? []), ...Object.keys(query.measures)]);
  const order = (query.order ?? query.groupBy ?? []).map((text) => {
    const descending = text.startsWith("-");
    const field = descending ? text.slice(1) : text;
    if (!known.has(field)) refuse(model, field);
    return descending ? `"${field}" DESC` : `"${field}"`;
  });
  const where = compileWhere(model, query.where);
  const clauses = [
    `SELECT ${[...groups, ...measures].join(", ")} FROM ${table}`,
    where.sql === "" ? "" : `WHERE ${where.sql}`,
    groups.length === 0 ? "" : `GROUP BY ${groups.join(", ")}`,
    order.length === 0 ? "" : `ORDER BY ${order.join(", ")}`,
    "LIMIT ?",
  ];
  return {
    sql: clauses.filter((clause) => clause !== "").join(" "),
    values: [...where.values, checkedLimit(model, query.limit)],
  };
}

/**
 * Words as a full-text expression of FTS5: all must occur, a trailing `*` means "begins with". Whatever has a
 * meaning of its own in FTS5 is taken as text.
 */
export function searchExpression(model: Declared, text: string): string {
  const words = text.split(/\s+/).filter((word) => word !== "" && word !== "*");
  if (words.length === 0 || words.length > limits.searchWordsMax) refuse(model, "search");
  // FTS5 reads an expression up to the first NUL.
  if (text.includes("\0")) refuse(model, "search");
  return words
    .map((word) => {
      const begins = word.endsWith("*");
      const bare = (begins ? word.slice(0, -1) : word).replaceAll('"', '""');
      return `"${bare}"${begins ? "*" : ""}`;
    })
    .join(" AND ");
}
