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
  /** Raised whenever the fold or the columns change; the read model is then built anew. */
  readonly version: number;
  /** Event types that the fold takes; others are not handed to it. */
  readonly types: readonly string[];
  /** Columns that queries filter and order by. */
  readonly columns: Readonly<Record<string, ColumnType>>;
  fold(state: State | undefined, event: RecordedEvent): State | undefined;
  /** Values of the columns for one state; a column left out is null. */
  row(state: State): Readonly<Record<string, ColumnValue>>;
}

const namePattern = /^[a-z][a-z0-9_]{0,47}$/;
/** Columns that every read model has. */
export const fixedColumns: readonly string[] = ["stream", "scope", "state"];

/** Declares a projection. Throws `projection_invalid` when a name or column cannot be one. */
export function defineProjection<State>(projection: Projection<State>): Projection<State> {
  const refuse = (reason: string): never => {
    throw new HoldfastError("projection_invalid", {
      projection: projection.name.slice(0, 64),
      reason,
    });
  };
  if (!namePattern.test(projection.name)) refuse("name");
  if (!Number.isSafeInteger(projection.version) || projection.version < 1) refuse("version");
  if (projection.types.length === 0) refuse("no event types");
  for (const column of Object.keys(projection.columns)) {
    if (!namePattern.test(column) || fixedColumns.includes(column))
      refuse(`column ${column.slice(0, 64)}`);
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

/** A query on one read model. */
export interface ModelQuery {
  /** Conditions on declared columns, `stream` or `scope`; all must hold. */
  readonly where?: Readonly<Record<string, Condition>>;
  /** Columns, each ascending unless it starts with "-". Ties are ordered by stream. */
  readonly order?: readonly string[];
  /** Rows at most; default `limits.queryRowsDefault`. */
  readonly limit?: number;
}

/** One row of a read model. */
export interface ModelRow<State = unknown> {
  readonly stream: string;
  readonly scope: string;
  readonly columns: Readonly<Record<string, ColumnValue>>;
  readonly state: State;
}
