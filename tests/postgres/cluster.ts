/** A PostgreSQL for tests: one for a whole run, started by the first test that asks, a database for each suite. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { isMainThread } from "node:worker_threads";
import { createNodeCrypto } from "@holdfast/node";
import {
  createPostgresDriver,
  createPostgresServerStore,
  migratePostgres,
  type PostgresConnection,
  type PostgresDriver,
  prepareSession,
  type ServerStore,
  type TableLayout,
} from "@holdfast/server";

/** The process that the run ends with: workers are threads or children of it. */
const run = isMainThread ? process.ppid : process.pid;
const port = 5_432;
const crypto = createNodeCrypto();

/** Starts a keeper in that folder unless there is one; resolves when its PostgreSQL answers. */
async function startCluster(folder: string): Promise<void> {
  if (madeFolder(folder)) {
    const keeper = new URL("keeper.ts", import.meta.url).pathname;
    spawn(process.execPath, [keeper, folder, String(run)], {
      detached: true,
      stdio: "ignore",
    }).unref();
  }
  while (!existsSync(join(folder, "ready"))) {
    const failed = join(folder, "failed");
    if (existsSync(failed)) throw new Error(readFileSync(failed, "utf8"));
    await wait(50);
  }
}

/** `false`: another worker was first. */
function madeFolder(folder: string): boolean {
  try {
    mkdirSync(folder);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  }
}

/** Address of a database of the cluster in that folder. */
export function urlOf(folder: string, database: string): string {
  return `postgres://postgres@localhost/${database}?host=${encodeURIComponent(folder)}&port=${port}`;
}

/** Connections as that role, without the server's settings. */
export function plainDriver(url: string): PostgresDriver {
  return createPostgresDriver({ ...bounds, url, prepare: () => Promise.resolve() });
}

const bounds = { connectionsMax: 4, waitingMax: 1_000, waitMs: 30_000, answerMs: 60_000 };
const times = { statementMs: 30_000, idleMs: 30_000 };

/** Connections as the server makes them. */
export function serverDriver(url: string): PostgresDriver {
  const prepare = (connection: PostgresConnection) => prepareSession(connection, times);
  return createPostgresDriver({ ...bounds, url, prepare });
}

/** One database, with the tables of a server in it. */
export interface TestDatabase {
  readonly url: string;
  /** As its owner, who is exempt from row-level security here. */
  readonly owner: PostgresDriver;
  /** As the server. */
  readonly server: PostgresDriver;
  open(): ServerStore;
  /** Takes every row away. */
  empty(): Promise<void>;
  close(): Promise<void>;
}

/** Tables of a server, partitions apart. */
export async function tableNames(connection: PostgresConnection): Promise<readonly string[]> {
  const rows = await connection.rows<{ name: string }>(
    `SELECT relname::text AS name FROM pg_class JOIN pg_namespace AS place
       ON place.oid = relnamespace
     WHERE nspname = 'holdfast' AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1`,
  );
  return rows.map(({ name }) => name);
}

/** The cluster of this run. */
async function sharedCluster(): Promise<string> {
  const folder = join(tmpdir(), `holdfast-postgres-${run}`);
  await startCluster(folder);
  return folder;
}

let made = 0;

/** Address of a new, empty database of the run's cluster. */
export async function createEmpty(): Promise<string> {
  const folder = await sharedCluster();
  made += 1;
  const name = `test_${process.pid}_${made}`;
  const main = plainDriver(urlOf(folder, "postgres"));
  await main.lend((connection) => connection.exec(`CREATE DATABASE ${name}`));
  await main.close();
  return urlOf(folder, name);
}

/** A store over a database that is there. */
export function openDatabase(url: string): ServerStore {
  return createPostgresServerStore({ crypto, driver: serverDriver(url) });
}

/** Address of a copy of a database that nobody is connected to. */
export async function copyDatabase(url: string): Promise<string> {
  const folder = await sharedCluster();
  made += 1;
  const name = `test_${process.pid}_${made}`;
  const from = new URL(url).pathname.slice(1);
  const main = plainDriver(urlOf(folder, "postgres"));
  await main.lend((connection) => connection.exec(`CREATE DATABASE ${name} TEMPLATE ${from}`));
  await main.close();
  return urlOf(folder, name);
}

/** Puts a database in the place of another one, to which nobody is connected; that one is dropped. */
export async function replaceDatabase(url: string, by: string): Promise<void> {
  const main = plainDriver(urlOf(await sharedCluster(), "postgres"));
  const [name, other] = [url, by].map((each) => new URL(each).pathname.slice(1));
  await main.lend((connection) => connection.exec(`DROP DATABASE ${name}`));
  await main.lend((connection) => connection.exec(`ALTER DATABASE ${other} RENAME TO ${name}`));
  await main.close();
}

/** A new database of the run's cluster, with the tables of a server. */
export async function createDatabase(layout: TableLayout = "partitioned"): Promise<TestDatabase> {
  const url = await createEmpty();
  const owner = plainDriver(url);
  await migratePostgres({ crypto, owner, layout });
  const server = serverDriver(url);
  return {
    url,
    owner,
    server,
    open: () => openDatabase(url),
    empty: () =>
      owner.lend(async (connection) => {
        for (const table of await tableNames(connection)) {
          if (table.startsWith("migration")) continue;
          await connection.exec(`DELETE FROM holdfast.${table}`);
        }
      }),
    async close() {
      await server.close();
      await owner.close();
    },
  };
}
