/**
 * Projections: functions from events to read models.
 *
 * A fold is per stream: it takes the state of one stream and its next event in canonical order and returns
 * the next state, JSON, or `undefined` for "no row". A read model has one row per stream: the state and the
 * declared columns, each indexed. Answers across streams are queries over those rows. Replicas with the same
 * events and the same registry have the same rows.
 *
 * A fold is pure: no clock, no chance, nothing but its arguments. A fold that throws stops its projection at
 * that event; the append succeeds and `status` shows it.
 */
import type { RecordedEvent } from "../event/event.ts";
import { HoldfastError } from "../std/errors.ts";

/** Type of a declared column, as STRICT tables of SQLite have it. */
export type ColumnType = "text" | "integer" | "real";
/** Value of a declared column. */
export type ColumnValue = string | number | null;

/** A declared projection; {@link defineProjection} checks it. */
export interface Projection<State = unknown> {
  /** Lower case letters, digits and underscores: also the name of the read model. */
  readonly name: string;
  /** Raised whenever the fold or the columns change; the read model is then built anew beside the old. */
  readonly version: number;
  /** Event types that the fold takes; others are not handed to it. */
  readonly types: readonly string[];
  /** Columns that queries filter, order and group by; each has an index. */
  readonly columns: Readonly<Record<string, ColumnType>>;
  /** Indices over several columns, for queries that filter by one and order by another. */
  readonly indexes?: readonly (readonly string[])[];
  /** Queries that the application relies on: a test asks that none of them reads the whole table. */
  readonly queries?: Readonly<Record<string, ModelQuery>>;
  /** Fields of the full-text search, as {@link Projection.search} names them. */
  readonly searchFields?: readonly string[];
  fold(state: State | undefined, event: RecordedEvent): State | undefined;
  /** Values of the columns for one state; a column left out is null. */
  row(state: State): Readonly<Record<string, ColumnValue>>;
  /** Texts of the search fields for one state. */
  search?(state: State): Readonly<Record<string, string>>;
}

const namePattern = /^[a-z][a-z0-9_]{0,47}$/;
/** Columns that every read model has. */
export const fixedColumns: readonly string[] = ["row", "stream", "scope", "state"];

/** Declares a projection. Throws `projection_invalid` when a name or column cannot be one. */
export function defineProjection<State>(projection: Projection<State>): Projection<State> {
  const refuse = (reason: string): never => {
    const name = projection.name.slice(0, 64);
    throw new HoldfastError("projection_invalid", { projection: name, reason });
  };
  if (!namePattern.test(projection.name)) refuse("name");
  if (!Number.isSafeInteger(projection.version) || projection.version < 1) refuse("version");
  if (projection.types.length === 0) refuse("no event types");
  const columns = Object.keys(projection.columns);
  for (const column of columns) {
    if (!namePattern.test(column) || fixedColumns.includes(column)) {
      refuse(`column ${column.slice(0, 64)}`);
    }
  }
  for (const column of (projection.indexes ?? []).flat()) {
    if (!columns.includes(column) && column !== "scope") refuse(`index on ${column.slice(0, 64)}`);
  }
  const fields = projection.searchFields ?? [];
  if (fields.length > 0 !== (projection.search !== undefined)) refuse("search without its fields");
  for (const field of fields) {
    if (!namePattern.test(field) || field === "rank") refuse(`search field ${field.slice(0, 64)}`);
  }
  return projection;
}

/** A condition on one column. A bare value means `eq`. */
export type Condition =
  | ColumnValue
  | {
      readonly eq?: ColumnValue;
      readonly ne?: ColumnValue;
      readonly lt?: string | number;
      readonly lte?: string | number;
      readonly gt?: string | number;
      readonly gte?: string | number;
      readonly in?: readonly ColumnValue[];
    };

/** Conditions by declared column, `stream` or `scope`; all must hold. */
export type Where = Readonly<Record<string, Condition>>;

/** A query on one read model. */
export interface ModelQuery {
  readonly where?: Where;
  /**
   * Columns, each ascending unless it starts with "-". Ties are ordered by stream, in the direction of the
   * last column.
   */
  readonly order?: readonly string[];
  /** Rows at most; default `limits.queryRowsDefault`. */
  readonly limit?: number;
}

/** A query that goes on where a page ended. */
export interface PageQuery extends ModelQuery {
  /** `next` of the page before; of the same query, or it is refused. */
  readonly after?: string;
}

/** One row of a read model. */
export interface ModelRow<State = unknown> {
  readonly stream: string;
  readonly scope: string;
  readonly columns: Readonly<Record<string, ColumnValue>>;
  readonly state: State;
}

/** Rows, and where the next page begins. */
export interface ModelPage<State = unknown> {
  readonly rows: readonly ModelRow<State>[];
  /** `undefined` when there are no more rows. */
  readonly next: string | undefined;
}

/** What is computed for each group. */
export type Measure =
  | "count"
  | { readonly sum: string }
  | { readonly avg: string }
  | { readonly min: string }
  | { readonly max: string };

/** Measures over the rows of a read model, by group. */
export interface AggregateQuery {
  readonly where?: Where;
  readonly groupBy?: readonly string[];
  /** Name in the answer → what is computed. */
  readonly measures: Readonly<Record<string, Measure>>;
  /** Group columns or measures, each ascending unless it starts with "-". */
  readonly order?: readonly string[];
  readonly limit?: number;
}

/** One group of an {@link AggregateQuery}: its columns and measures by name. */
export type AggregateRow = Readonly<Record<string, ColumnValue>>;

/** A moment in the past, by one of three clocks. */
export type Moment =
  /** By recordedAt, UTC milliseconds: what had been recorded by then, with all that it builds upon. */
  | { readonly recorded: number }
  /** By occurredAt (recordedAt where none was given), UTC milliseconds: what had happened by then. */
  | { readonly occurred: number }
  /** By position in this store's log: what this store held then. */
  | { readonly position: number };

/** What changed in the answer of a live query. */
export interface ModelChange<State = unknown> {
  readonly added: readonly ModelRow<State>[];
  readonly changed: readonly ModelRow<State>[];
  readonly removed: readonly ModelRow<State>[];
}
