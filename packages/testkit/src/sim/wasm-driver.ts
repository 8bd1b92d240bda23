/**
 * The `SqliteDriver` port over SQLite in WebAssembly on a simulated disk. `locking_mode=EXCLUSIVE`, so that
 * a write-ahead log needs no memory shared between processes; pages are not encrypted in that build.
 */
import {
  type SqliteDriver,
  type SqlStatement,
  type SqlValue,
  storageFailure,
} from "@holdfast/core";
import type { DiskUser, SimDisk } from "./disk.ts";
import type { Acting, Sqlite, SqliteModule } from "./sqlite-module.ts";

/** What {@link openSimSqlite} takes. */
export interface OpenSimSqliteOptions {
  readonly sqlite: Sqlite;
  readonly disk: SimDisk;
  /** The process that opens: when it dies, its connection changes nothing any more. */
  readonly user: DiskUser;
  /** Name of the database file on the disk. */
  readonly name: string;
  readonly readOnly: boolean;
  /** Make the file when it is not there. */
  readonly create: boolean;
}

const row = 100;
const done = 101;
const transient = -1;

const resultNames: Readonly<Record<number, string>> = {
  1: "SQLITE_ERROR",
  5: "SQLITE_BUSY",
  6: "SQLITE_LOCKED",
  8: "SQLITE_READONLY",
  10: "SQLITE_IOERR",
  11: "SQLITE_CORRUPT",
  13: "SQLITE_FULL",
  14: "SQLITE_CANTOPEN",
  19: "SQLITE_CONSTRAINT",
  26: "SQLITE_NOTADB",
};

function resultName(code: number): string {
  // SQLITE_IOERR_CORRUPTFS is the one extended code that means another of ours than its primary code.
  if (code === 8458) return "SQLITE_IOERR_CORRUPTFS";
  return resultNames[code & 0xff] ?? `SQLITE_${code & 0xff}`;
}

/** Memory of the module for texts and blobs on their way in; grows, is never given back. */
function createScratch(module: SqliteModule) {
  let pointer = 0;
  let size = 0;
  let heap = Buffer.from(module.HEAPU8.buffer);
  const current = (): Buffer => {
    // Memory that grew is another buffer.
    if (heap.buffer !== module.HEAPU8.buffer) heap = Buffer.from(module.HEAPU8.buffer);
    return heap;
  };
  const room = (bytes: number): number => {
    if (bytes > size) {
      if (pointer !== 0) module._sqlite3_free(pointer);
      size = Math.max(bytes, 2 * size, 4096);
      pointer = module._sqlite3_malloc(size);
    }
    return pointer;
  };
  return {
    room,
    /** Writes a text with a zero at its end; answers where it stands and how many bytes it has. */
    text(value: string): { readonly at: number; readonly bytes: number } {
      const at = room(3 * value.length + 1);
      const bytes = current().write(value, at, "utf8");
      module.HEAPU8[at + bytes] = 0;
      return { at, bytes };
    },
    blob(value: Uint8Array): number {
      const at = room(Math.max(1, value.length));
      module.HEAPU8.set(value, at);
      return at;
    },
    read: (at: number, bytes: number): string => current().toString("utf8", at, at + bytes),
    readZero(at: number): string {
      return current().toString("utf8", at, module.HEAPU8.indexOf(0, at));
    },
  };
}

type Scratch = ReturnType<typeof createScratch>;
const scratches = new WeakMap<SqliteModule, Scratch>();

function scratchOf(module: SqliteModule): Scratch {
  const known = scratches.get(module) ?? createScratch(module);
  scratches.set(module, known);
  return known;
}

/** One open connection at the level of C. */
interface Connection {
  readonly sqlite: Sqlite;
  readonly module: SqliteModule;
  readonly scratch: Scratch;
  readonly acting: Acting;
  database: number;
  readonly statements: Set<number>;
  /** The connection's entry among those that its world may leave open. */
  readonly abandon: () => void;
}

function failure(connection: Connection, code: number): Error {
  const { module, database, scratch } = connection;
  const known = database === 0 ? code : module._sqlite3_extended_errcode(database);
  const text = database === 0 ? "not open" : scratch.readZero(module._sqlite3_errmsg(database));
  return storageFailure(resultName(known === 0 ? code : known), new Error(text));
}

/** Every call into SQLite says first on whose behalf; a closed connection answers as a lost medium does. */
function act(connection: Connection): SqliteModule {
  if (connection.database === 0) throw storageFailure("SQLITE_IOERR", new Error("closed"));
  connection.sqlite.acting = connection.acting;
  return connection.module;
}

function openConnection(options: OpenSimSqliteOptions): Connection {
  const { sqlite, disk, user, readOnly } = options;
  const { module } = sqlite;
  const scratch = scratchOf(module);
  let ended = false;
  const acting: Acting = {
    disk,
    readOnly,
    get alive() {
      return user.alive && !ended;
    },
  };
  const connection: Connection = {
    sqlite,
    module,
    scratch,
    acting,
    database: 0,
    statements: new Set(),
    abandon() {
      ended = true;
      closeConnection(connection);
    },
  };
  sqlite.abandoned.add(connection.abandon);
  sqlite.acting = acting;
  const out = module._sqlite3_malloc(4);
  const flags = readOnly ? 1 : options.create ? 6 : 2;
  const code = module._sqlite3_open_v2(scratch.text(options.name).at, out, flags, 0);
  connection.database = module.HEAP32[out >> 2] as number;
  module._sqlite3_free(out);
  if (code !== 0) {
    const error = failure(connection, code);
    closeConnection(connection);
    throw error;
  }
  module._sqlite3_extended_result_codes(connection.database, 1);
  return connection;
}

function closeConnection(connection: Connection): void {
  connection.sqlite.abandoned.delete(connection.abandon);
  if (connection.database === 0) return;
  const module = act(connection);
  for (const statement of connection.statements) module._sqlite3_finalize(statement);
  connection.statements.clear();
  module._sqlite3_close_v2(connection.database);
  connection.database = 0;
}

function bind(connection: Connection, statement: number, values: readonly SqlValue[]): void {
  const { module, scratch } = connection;
  for (let index = 0; index < values.length; index++) {
    const value = values[index] as SqlValue;
    const at = index + 1;
    if (value === null) module._sqlite3_bind_null(statement, at);
    else if (typeof value === "string") {
      const text = scratch.text(value);
      module._sqlite3_bind_text(statement, at, text.at, text.bytes, transient);
    } else if (typeof value === "number") bindNumber(module, statement, at, value);
    else {
      const blob = scratch.blob(value);
      module._sqlite3_bind_blob(statement, at, blob, value.length, transient);
    }
  }
}

function bindNumber(module: SqliteModule, statement: number, at: number, value: number): void {
  if (value === (value | 0)) module._sqlite3_bind_int(statement, at, value);
  else if (Number.isSafeInteger(value)) {
    const high = Math.floor(value / 2 ** 32);
    module._sqlite3_bind_int64(statement, at, (value - high * 2 ** 32) | 0, high);
  } else module._sqlite3_bind_double(statement, at, value);
}

function columnOf(connection: Connection, statement: number, at: number): SqlValue {
  const { module, scratch } = connection;
  switch (module._sqlite3_column_type(statement, at)) {
    case 1:
    case 2:
      return module._sqlite3_column_double(statement, at);
    case 3: {
      const pointer = module._sqlite3_column_text(statement, at);
      return scratch.read(pointer, module._sqlite3_column_bytes(statement, at));
    }
    case 4: {
      const pointer = module._sqlite3_column_blob(statement, at);
      const bytes = module._sqlite3_column_bytes(statement, at);
      return module.HEAPU8.slice(pointer, pointer + bytes);
    }
    default:
      return null;
  }
}

function compile(connection: Connection, sql: string): number {
  const module = act(connection);
  const out = module._sqlite3_malloc(4);
  const text = connection.scratch.text(sql);
  const code = module._sqlite3_prepare_v2(connection.database, text.at, text.bytes, out, 0);
  const statement = module.HEAP32[out >> 2] as number;
  module._sqlite3_free(out);
  if (code !== 0) throw failure(connection, code);
  connection.statements.add(statement);
  return statement;
}

function statementOver(connection: Connection, sql: string): SqlStatement {
  const { module } = connection;
  // A store prepares a hundred statements at each opening, of which a run uses some.
  let compiled = 0;
  const handle = (): number => (compiled === 0 ? (compiled = compile(connection, sql)) : compiled);
  let names: readonly string[] = [];

  const namesNow = (statement: number): readonly string[] => {
    const count = module._sqlite3_column_count(statement);
    if (names.length !== count) {
      names = Array.from({ length: count }, (_, at) =>
        connection.scratch.readZero(module._sqlite3_column_name(statement, at)),
      );
    }
    return names;
  };

  /** Steps through the rows; `visit` says whether to go on. */
  function execute(values: readonly SqlValue[], visit: (statement: number) => boolean): void {
    act(connection);
    const statement = handle();
    bind(connection, statement, values);
    try {
      for (;;) {
        const code = module._sqlite3_step(statement);
        if (code === done) return;
        if (code !== row) throw failure(connection, code);
        if (!visit(statement)) return;
      }
    } finally {
      module._sqlite3_reset(statement);
    }
  }

  function readRow(statement: number): unknown {
    const out: Record<string, SqlValue> = {};
    const known = namesNow(statement);
    for (let at = 0; at < known.length; at++) {
      out[known[at] as string] = columnOf(connection, statement, at);
    }
    return out;
  }

  return {
    run(...values) {
      execute(values, () => true);
      return module._sqlite3_changes(connection.database);
    },
    get<Row>(...values: readonly SqlValue[]) {
      let found: Row | undefined;
      execute(values, (statement) => {
        found = readRow(statement) as Row;
        return false;
      });
      return found;
    },
    all<Row>(...values: readonly SqlValue[]) {
      const rows: Row[] = [];
      execute(values, (statement) => {
        rows.push(readRow(statement) as Row);
        return true;
      });
      return rows;
    },
  };
}

/**
 * Opens a database on a simulated disk. Throws the storage codes. Closing the connection of a dead process
 * gives its memory back; nothing reaches the disk.
 */
export function openSimSqlite(options: OpenSimSqliteOptions): SqliteDriver {
  const connection = openConnection(options);
  const kept = new Map<string, SqlStatement>();
  const { readOnly } = options;

  function exec(sql: string): void {
    const module = act(connection);
    const { at } = connection.scratch.text(sql);
    const code = module._sqlite3_exec(connection.database, at, 0, 0, 0);
    if (code !== 0) throw failure(connection, code);
  }

  const driver: SqliteDriver = {
    capabilities: { encrypted: false, persistent: true, readOnly },
    prepare(sql) {
      const known = kept.get(sql);
      if (known !== undefined) return known;
      const statement = statementOver(connection, sql);
      kept.set(sql, statement);
      return statement;
    },
    exec,
    get inTransaction() {
      const { module, database } = connection;
      return database !== 0 && module._sqlite3_get_autocommit(database) === 0;
    },
    close() {
      kept.clear();
      closeConnection(connection);
    },
  };
  try {
    exec("PRAGMA locking_mode = EXCLUSIVE");
    driver.prepare("SELECT count(*) AS count FROM sqlite_schema").get();
  } catch (error) {
    driver.close();
    throw error;
  }
  return driver;
}
