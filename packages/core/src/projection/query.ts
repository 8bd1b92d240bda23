/** Queries on read models, compiled to SQL over declared columns; every value is bound. */
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { SqlValue } from "../store/sqlite-driver.ts";
import type { Condition, ModelQuery, Projection } from "./projection.ts";

export interface CompiledQuery {
  readonly sql: string;
  readonly values: readonly SqlValue[];
}

const comparisons = { eq: "IS", ne: "IS NOT", lt: "<", lte: "<=", gt: ">", gte: ">=" } as const;
type Comparison = keyof typeof comparisons;

type Declared = Pick<Projection, "name" | "columns">;

function column(model: Declared, name: string): string {
  if (name === "stream" || name === "scope" || Object.hasOwn(model.columns, name))
    return `"${name}"`;
  throw new HoldfastError("query_invalid", { model: model.name, field: name.slice(0, 64) });
}

function scalar(model: Declared, field: string, value: unknown): string | number | null {
  if (value === null || typeof value === "string") return value;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw new HoldfastError("query_invalid", { model: model.name, field, reason: "value" });
}

function compileCondition(
  model: Declared,
  field: string,
  condition: Condition,
): { readonly sql: readonly string[]; readonly values: readonly SqlValue[] } {
  const name = column(model, field);
  if (condition === null || typeof condition !== "object") {
    return { sql: [`${name} IS ?`], values: [scalar(model, field, condition)] };
  }
  const sql: string[] = [];
  const values: SqlValue[] = [];
  for (const [key, value] of Object.entries(condition)) {
    if (value === undefined) continue;
    if (key === "in") {
      if (!Array.isArray(value) || value.length > limits.queryListMax) {
        throw new HoldfastError("query_invalid", { model: model.name, field, reason: "in" });
      }
      sql.push(`${name} IN (${value.map(() => "?").join(", ")})`);
      for (const item of value) values.push(scalar(model, field, item));
      continue;
    }
    const sign = Object.hasOwn(comparisons, key) ? comparisons[key as Comparison] : undefined;
    if (sign === undefined) {
      throw new HoldfastError("query_invalid", { model: model.name, field, reason: "condition" });
    }
    sql.push(`${name} ${sign} ?`);
    values.push(scalar(model, field, value));
  }
  return { sql, values };
}

function compileWhere(model: Declared, where: ModelQuery["where"]): CompiledQuery {
  const parts = Object.entries(where ?? {}).map(([field, condition]) =>
    compileCondition(model, field, condition),
  );
  const sql = parts.flatMap((part) => part.sql);
  return {
    sql: sql.length === 0 ? "" : ` WHERE ${sql.join(" AND ")}`,
    values: parts.flatMap((part) => part.values),
  };
}

/** Rows in the order asked for; ties by stream, so that an answer is always the same. */
export function compileQuery(model: Declared, table: string, query: ModelQuery): CompiledQuery {
  const where = compileWhere(model, query.where);
  const order = (query.order ?? []).map((field) =>
    field.startsWith("-") ? `${column(model, field.slice(1))} DESC` : column(model, field),
  );
  const limit = query.limit ?? limits.queryRowsDefault;
  if (!Number.isSafeInteger(limit) || limit < 0) {
    throw new HoldfastError("query_invalid", { model: model.name, field: "limit" });
  }
  const columns = Object.keys(model.columns).map((name) => `, "${name}"`);
  return {
    sql: `SELECT stream, scope, state${columns.join("")} FROM ${table}${where.sql} ORDER BY ${[...order, "stream"].join(", ")} LIMIT ?`,
    values: [...where.values, limit],
  };
}

export function compileCount(
  model: Declared,
  table: string,
  query: Pick<ModelQuery, "where">,
): CompiledQuery {
  const where = compileWhere(model, query.where);
  return { sql: `SELECT count(*) AS value FROM ${table}${where.sql}`, values: where.values };
}
