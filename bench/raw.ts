/**
 * The raw encrypted driver: the same package, cipher and pragmas, and for each append one transaction that
 * writes the rows that ours writes: event, frame, commit, stream, outbox entry, read-model row, into the
 * same tables with the same constraints and indices. It makes none of what is in the rows: values are
 * prepared before the clock starts, nothing is hashed, encrypted, signed, validated or looked up, and the
 * triggers, the lease and the high-water mark are left out.
 */
import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { checkSqliteVersion, configure, type SqliteDriver } from "@holdfast/core";
import { openSqlite } from "@holdfast/node";

/** The few calls of the driver that are used; its own types are not reachable through its exports. */
export interface RawDatabase {
  prepare(sql: string): RawStatement;
  exec(sql: string): unknown;
  pragma(source: string, options?: { readonly simple: true }): unknown;
  key(key: Buffer): void;
  transaction<A extends readonly unknown[]>(
    work: (...values: A) => void,
  ): { immediate(...values: A): void };
  close(): void;
}

export interface RawStatement {
  run(...values: readonly unknown[]): unknown;
  get(...values: readonly unknown[]): unknown;
  all(...values: readonly unknown[]): readonly unknown[];
}

type RawConstructor = new (path: string, options?: { readonly readonly?: boolean }) => RawDatabase;

/** The driver's package belongs to @holdfast/node, so it is resolved from there. */
const Database = createRequire(import.meta.resolve("@holdfast/node"))(
  "better-sqlite3-multiple-ciphers",
) as RawConstructor;

/** Opens (or makes) a database with the cipher that stores use. */
export function openRaw(
  path: string,
  pageKey: Uint8Array,
  options?: { readonly readonly: boolean },
): RawDatabase {
  const database = new Database(path, options);
  database.pragma("cipher = 'aegis'");
  database.key(Buffer.concat([Buffer.from("raw:"), pageKey]));
  return database;
}

/** Pragmas of every store's connection, set by the store's own code on a raw connection and read back. */
export function configureRaw(database: RawDatabase, persistent = true): void {
  const driver = {
    capabilities: { encrypted: true, persistent, readOnly: false },
    prepare: (sql: string) => database.prepare(sql),
    exec: (sql: string) => {
      database.exec(sql);
    },
    inTransaction: false,
    close: () => undefined,
  };
  configure(driver as unknown as SqliteDriver);
  const row = database.prepare("SELECT sqlite_version() AS version").get();
  checkSqliteVersion((row as { version: string }).version);
  if (database.pragma("synchronous", { simple: true }) !== 2)
    throw new Error("not synchronous=FULL");
  if (database.pragma("journal_mode", { simple: true }) !== "wal") throw new Error("not WAL");
}

/** Values of one event's rows. */
export interface RawRows {
  /** The stream. */
  readonly name: string;
  readonly event: readonly unknown[];
  readonly frame: readonly unknown[];
  readonly stream: readonly unknown[];
  readonly outbox: readonly unknown[];
  readonly model: readonly unknown[];
}

export interface RawLog {
  /** Rows of the next events; call it before the clock starts. */
  prepare(count: number): readonly RawRows[];
  /** One durable transaction, with one commit row. */
  append(rows: readonly RawRows[]): void;
  close(): void;
}

interface Sample {
  readonly event: Readonly<Record<string, unknown>>;
  readonly frame: Readonly<Record<string, unknown>>;
  readonly commit: Readonly<Record<string, unknown>>;
  readonly stream: Readonly<Record<string, unknown>>;
  readonly model: Readonly<Record<string, unknown>>;
}

function readSample(driver: SqliteDriver, table: string): Sample {
  const last = (sql: string): Readonly<Record<string, unknown>> => {
    const row = driver.prepare(sql).get<Readonly<Record<string, unknown>>>();
    if (row === undefined) throw new Error(`the sample store has no row for: ${sql}`);
    return row;
  };
  return {
    event: last("SELECT * FROM events ORDER BY position DESC LIMIT 1"),
    frame: last("SELECT * FROM frames ORDER BY position DESC LIMIT 1"),
    commit: last("SELECT * FROM commits ORDER BY number DESC LIMIT 1"),
    stream: last(
      `SELECT * FROM streams WHERE stream = (SELECT stream FROM events ORDER BY position DESC LIMIT 1)`,
    ),
    model: last(`SELECT * FROM ${table} LIMIT 1`),
  };
}

interface DdlRow {
  readonly sql: string;
}

/** Tables and indices of a store as it has them, the read model's included; without triggers. */
function readTables(driver: SqliteDriver): string {
  const rows = driver
    .prepare(
      `SELECT sql FROM sqlite_schema WHERE type IN ('table', 'index') AND sql IS NOT NULL
       AND name NOT LIKE 'sqlite_%' ORDER BY type DESC, rowid`,
    )
    .all<DdlRow>();
  return rows.map(({ sql }) => `${sql};`).join("\n");
}

function uuidLike(): string {
  const hex = randomBytes(10).toString("hex");
  const time = Date.now().toString(16).padStart(12, "0");
  return `${time.slice(0, 8)}-${time.slice(8)}-7${hex.slice(0, 3)}-8${hex.slice(3, 6)}-${hex.slice(6, 18)}`;
}

/** A raw database of a store's form, at `path`, writing to as many streams as the store does. */
export function createRawLog(
  sample: SqliteDriver,
  path: string,
  options: { readonly streams: number; readonly table: string },
): RawLog {
  const { table } = options;
  const row = readSample(sample, table);
  const pageKey = randomBytes(32);
  const database = openRaw(path, pageKey);
  configureRaw(database);
  database.exec(readTables(sample));
  database
    .prepare("INSERT INTO incarnations (number, device, incarnation, own) VALUES (?, 'd', 'i', 1)")
    .run(row.event["incarnation"]);
  const insertOf = (name: string, columns: readonly string[], more = ""): RawStatement =>
    database.prepare(
      `INSERT INTO ${name} (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})${more}`,
    );
  const eventColumns = Object.keys(row.event);
  const frameColumns = Object.keys(row.frame);
  // `row` is numbered by SQLite.
  const modelColumns = Object.keys(row.model).filter((name) => name !== "row");
  const event = insertOf("events", eventColumns);
  const frame = insertOf("frames", frameColumns);
  const commit = insertOf("commits", ["incarnation", "size", "root", "note"]);
  const streamColumns = Object.keys(row.stream);
  const moved = streamColumns
    .filter((name) => name !== "stream" && name !== "scope")
    .map((name) => `"${name}" = excluded."${name}"`)
    .join(", ");
  const stream = insertOf("streams", streamColumns, ` ON CONFLICT (stream) DO UPDATE SET ${moved}`);
  const outbox = insertOf("outbox", ["position", "lane", "state", "enqueued_at"]);
  const updates = modelColumns
    .filter((name) => name !== "stream" && name !== "scope")
    .map((name) => `"${name}" = excluded."${name}"`)
    .join(", ");
  const models = insertOf(table, modelColumns, ` ON CONFLICT (stream) DO UPDATE SET ${updates}`);
  const streams = Array.from({ length: options.streams }, () =>
    randomBytes(16).toString("base64url"),
  );
  const frameLength = (row.frame["bytes"] as Uint8Array).length;
  let position = 0;
  let committed = 0;

  const transaction = database.transaction((rows: readonly RawRows[]) => {
    const heads = new Map<unknown, RawRows>();
    for (const rowsOfOne of rows) {
      event.run(...rowsOfOne.event);
      frame.run(...rowsOfOne.frame);
      outbox.run(...rowsOfOne.outbox);
      heads.set(rowsOfOne.name, rowsOfOne);
    }
    for (const head of heads.values()) {
      stream.run(...head.stream);
      models.run(...head.model);
    }
    committed += rows.length;
    commit.run(row.event["incarnation"], committed, row.commit["root"], row.commit["note"]);
  });

  return {
    prepare: (count) =>
      Array.from({ length: count }, (): RawRows => {
        position += 1;
        const name = streams[position % streams.length] as string;
        const own: Readonly<Record<string, unknown>> = {
          position,
          leaf: randomBytes(32).toString("base64url"),
          id: uuidLike(),
          sequence: position,
          stream: name,
          recorded_at: Date.now(),
          bytes: randomBytes(frameLength),
        };
        const valuesOf = (columns: readonly string[], like: Readonly<Record<string, unknown>>) =>
          columns.map((column) => own[column] ?? like[column]);
        return {
          name,
          event: valuesOf(eventColumns, row.event),
          frame: valuesOf(frameColumns, row.frame),
          stream: valuesOf(streamColumns, row.stream),
          outbox: [position, "normal", "waiting", own["recorded_at"]],
          model: modelColumns.map((column) =>
            column === "minutes" ? position % 600 : column === "stream" ? name : row.model[column],
          ),
        };
      }),
    append(rows) {
      transaction.immediate(rows);
    },
    close() {
      database.close();
    },
  };
}

/** A connection of the store's own port for reading; for subjects that compare reads. */
export function openForReading(path: string, pageKey: Uint8Array): SqliteDriver {
  return openSqlite({ path, pageKey, readOnly: true, create: false });
}
