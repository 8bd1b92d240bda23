/**
 * The server's storage on SQLite: one write connection, used by one transaction at a time, and optionally a second
 * one for reading, so that reads see committed state while a write is under way (the file is in WAL mode).
 * Without it reads wait for the write that is under way.
 */
import {
  configure,
  type Crypto,
  durableBarrier,
  type MaybePromise,
  type SqliteDriver,
} from "@holdfast/core";
import type { ServerStore, ServerWrites } from "./server-store.ts";
import { createSqliteReads } from "./sqlite-reads.ts";
import { ensureServerSchema } from "./sqlite-schema.ts";
import { createSqliteWrites } from "./sqlite-writes.ts";

/** Connections that the storage is made of. */
export interface SqliteServerStoreDeps {
  readonly crypto: Pick<Crypto, "sha256">;
  /** The write connection; a server's or an empty database. */
  readonly driver: SqliteDriver;
  /** A second connection to the same file. */
  readonly reader?: SqliteDriver;
}

/** Pages that a connection keeps, KiB: a random index of some 100,000 events fits. */
const cacheKib = 64 * 1024;

/**
 * Opens a server's store and makes its tables where there are none. Throws `store_foreign`, `store_newer` and
 * the storage codes. Closing it closes its connections.
 */
export function createSqliteServerStore(deps: SqliteServerStoreDeps): ServerStore {
  const { driver, reader } = deps;
  configure(driver);
  ensureServerSchema(driver);
  durableBarrier(driver);
  driver.exec(`PRAGMA cache_size = -${cacheKib}`);
  if (reader !== undefined) configure(reader);
  const reads = createSqliteReads(deps.crypto, driver);
  const tx: ServerWrites = { ...reads, ...createSqliteWrites(deps, reads) };
  const writing = createTurns();
  const reading = reader === undefined ? writing : createTurns();
  const outside = reader === undefined ? reads : createSqliteReads(deps.crypto, reader);
  return {
    capabilities: { isolated: false, replica: false },
    write: (_tenant, work) => writing.take(() => inWrite(driver, () => work(tx))),
    read: (_tenant, work) =>
      reading.take(() =>
        reader === undefined ? work(outside) : inSnapshot(reader, () => work(outside)),
      ),
    async check() {
      await writing.take(() => driver.prepare("SELECT 1").get());
    },
    close() {
      reader?.close();
      driver.close();
    },
  };
}

/** Work in turn: SQLite has one transaction a connection, and ours may wait for promises inside. */
interface Turns {
  take<T>(work: () => MaybePromise<T>): Promise<T>;
}

function createTurns(): Turns {
  let last: Promise<unknown> | undefined;
  return {
    take(work) {
      const turn = (async () => {
        // A turn that failed has told its own caller.
        await last?.catch(() => undefined);
        return work();
      })();
      last = turn;
      const rest = (): void => {
        if (last === turn) last = undefined;
      };
      turn.then(rest, rest);
      return turn;
    },
  };
}

async function inWrite<T>(driver: SqliteDriver, work: () => MaybePromise<T>): Promise<T> {
  driver.prepare("BEGIN IMMEDIATE").run();
  let result: T;
  try {
    result = await work();
  } catch (error) {
    // SQLite has already rolled back after some failures (full disk, I/O error).
    if (driver.inTransaction) driver.exec("ROLLBACK");
    throw error;
  }
  try {
    driver.prepare("COMMIT").run();
  } catch (error) {
    if (driver.inTransaction) driver.exec("ROLLBACK");
    throw error;
  }
  return result;
}

async function inSnapshot<T>(reader: SqliteDriver, work: () => MaybePromise<T>): Promise<T> {
  reader.prepare("BEGIN").run();
  try {
    return await work();
  } finally {
    if (reader.inTransaction) reader.prepare("COMMIT").run();
  }
}
