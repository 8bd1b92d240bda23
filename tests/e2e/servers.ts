/**
 * What devices talk to: one `holdfast serve` over SQLite, or two nodes over PostgreSQL behind a load balancer. Tests
 * see the same: a port, a way to kill what listens and to start it again, and what lies in the database.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { SqliteDriver } from "@holdfast/core";
import { openSqlite } from "@holdfast/node";
import type { PostgresConnection } from "@holdfast/server";
import { createDatabase, plainDriver, tableNames } from "../postgres/cluster.ts";
import { startBalancer } from "./balancer.ts";
import { startTalker, type Talker } from "./processes.ts";

const main = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));

/** Long figures instead of samples. */
export const full = process.env["HOLDFAST_FULL"] === "1";

/** Where the server keeps its log. */
export type Backend = "SQLite" | "PostgreSQL";

/** Both worlds, for `test.each`. */
export const backends: readonly { readonly backend: Backend; readonly name: string }[] = [
  { backend: "SQLite", name: "SQLite" },
  { backend: "PostgreSQL", name: "two nodes on PostgreSQL" },
];

/** For what a device does by itself: in both worlds in the long run, on SQLite in the short one. */
export const sampledBackends = full ? backends : backends.slice(0, 1);

export interface ServerOptions {
  readonly reads?: "granted" | "none";
  readonly backend?: Backend;
  /** The database of the nodes; default: a new one. */
  readonly databaseUrl?: string;
  /** More settings, by environment variable. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** The server processes. */
export interface ServerProcess {
  /** Data folder, of the first node where there are several. */
  readonly folder: string;
  /** Code that founded the tenant; of the first start. */
  readonly code: string;
  /** Single processes; where there are several, devices reach them through a balancer. */
  readonly nodes: readonly NodeProcess[];
  port(): number;
  /** Kills the server; of several nodes one, another each time. */
  kill(): Promise<void>;
  /** Starts what was killed, perhaps on another port. */
  start(): Promise<void>;
  /** Of several nodes, stops one in order and starts it again. */
  restart(node: number): Promise<void>;
  /** Changes settings of what is started from now on. */
  settings(changes: Readonly<Record<string, string>>): void;
  /** Kills all, and takes the balancer away. */
  end(): Promise<void>;
  /** Reads the database beside the running server, as an operator could. */
  read(): Promise<ServerTables>;
  /** What somebody has who has the database, and the key to it where there is one. */
  rows(): Promise<ServerRows>;
}

/** Rows that hold what devices have sealed, and all rows of all tables as text where that tells more. */
export interface ServerRows {
  readonly grants: readonly { readonly text: string; readonly tenant: string }[];
  readonly events: readonly { readonly header: string; readonly frames: Uint8Array }[];
  readonly texts: readonly string[];
}

/** What lies in a server's database. */
export interface ServerTables {
  /** How many of those events are there once, never, more often. */
  copiesOf(ids: readonly string[]): {
    readonly once: number;
    readonly never: number;
    readonly more: number;
  };
  /** Text of a leaf of the server log. */
  leaf(index: number): string | undefined;
  /** For each commit note that has a receipt: how many statements say the same of it. */
  receiptsOfNotes(): readonly number[];
  /** How many receipts each node states. */
  receiptsOfNodes(): ReadonlyMap<string, number>;
}

/** Starts the server that the options ask for. */
export function startServer(folder: string, options: ServerOptions): Promise<ServerProcess> {
  return options.backend === "PostgreSQL"
    ? startNodes(folder, options)
    : startSingle(folder, options);
}

/** One process of `holdfast serve`. */
export interface NodeProcess {
  readonly folder: string;
  readonly code: string;
  port(): number;
  talker(): Talker;
  kill(): Promise<void>;
  /** Asks it to stop (SIGTERM), and waits until it has. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

async function startNode(
  folder: string,
  { reads }: ServerOptions,
  settings: Readonly<Record<string, string>>,
  more: readonly string[],
): Promise<NodeProcess> {
  const argv = [main, "serve", "--port", "0", "--data", folder, "--name", "e2e.test", "--json"];
  argv.push(...more, ...(reads === undefined ? [] : ["--reads", reads]));
  const rates = { HOLDFAST_DEVICE_RATE: "100000", HOLDFAST_ADDRESS_RATE: "100000" };
  const start = (): Promise<Talker> => startTalker(argv, { ...rates, ...settings });
  let talker = await start();
  const said = () => talker.said[0] as { readonly url: string; readonly code?: string };
  const { code = "" } = said();
  return {
    folder,
    code,
    port: () => Number(new URL(said().url).port),
    talker: () => talker,
    kill: () => talker.kill(),
    async stop() {
      talker.process.kill("SIGTERM");
      await talker.end();
    },
    async start() {
      talker = await start();
    },
  };
}

async function startSingle(folder: string, options: ServerOptions): Promise<ServerProcess> {
  const settings = { ...options.settings };
  const node = await startNode(folder, options, settings, []);
  return {
    folder,
    code: node.code,
    nodes: [node],
    port: node.port,
    kill: node.kill,
    start: node.start,
    async restart() {
      await node.stop();
      await node.start();
    },
    settings: (changes) => void Object.assign(settings, changes),
    end: node.kill,
    read: () => inFolder(folder, tablesInFolder),
    rows: () => inFolder(folder, rowsInFolder),
  };
}

async function startNodes(folder: string, options: ServerOptions): Promise<ServerProcess> {
  const database = options.databaseUrl === undefined ? await createDatabase() : undefined;
  const url = options.databaseUrl ?? database?.url ?? "";
  const balancer = await startBalancer();
  const nodes: NodeProcess[] = [];
  const point = (): void => {
    balancer.point(nodes.map((node) => node.port()));
  };
  const killed: NodeProcess[] = [];
  const settings = { ...options.settings };
  let next = 0;
  const end = async (): Promise<void> => {
    for (const node of nodes) await node.kill();
    await balancer.close();
    await database?.close();
  };
  try {
    const [a, b] = [join(folder, "a"), join(folder, "b")];
    const common = ["--database-url", url];
    nodes.push(await startNode(a, options, settings, [...common, "--node", "a"]));
    const keys = join(a, "server.keys");
    nodes.push(await startNode(b, options, settings, [...common, "--node", "b", "--keys", keys]));
    point();
  } catch (error) {
    await end();
    throw error;
  }
  return {
    folder,
    code: nodes[0]?.code ?? "",
    nodes,
    port: () => balancer.port,
    async kill() {
      const node = nodes[next++ % nodes.length] as NodeProcess;
      killed.push(node);
      await node.kill();
    },
    async start() {
      for (const node of killed.splice(0)) await node.start();
      point();
    },
    async restart(at) {
      const node = nodes[at % nodes.length] as NodeProcess;
      await node.stop();
      await node.start();
      point();
    },
    settings: (changes) => void Object.assign(settings, changes),
    end,
    read: () => inDatabase(url, tablesInDatabase),
    rows: () => inDatabase(url, rowsInDatabase),
  };
}

/** Opens the database with the key that lies beside it. */
async function inFolder<T>(folder: string, work: (driver: SqliteDriver) => T): Promise<T> {
  const pageKey = await keyOf(folder, "page_key");
  const path = join(folder, "server.db");
  const driver = openSqlite({ path, pageKey, readOnly: true, create: false });
  try {
    return work(driver);
  } finally {
    driver.close();
  }
}

function tablesInFolder(driver: SqliteDriver): ServerTables {
  return tablesOf(
    driver.prepare("SELECT id FROM events").all<{ id: string }>(),
    driver.prepare("SELECT leaf_index, text FROM server_leaves").all<LeafRow>(),
  );
}

function rowsInFolder(driver: SqliteDriver): ServerRows {
  const grants = driver.prepare(
    `SELECT text, tenants.tenant AS tenant FROM grants
     JOIN tenants ON tenants.number = grants.tenant`,
  );
  const events = driver.prepare("SELECT header, frames FROM events");
  return { grants: grants.all(), events: events.all(), texts: [] };
}

async function inDatabase<T>(
  url: string,
  work: (connection: PostgresConnection) => Promise<T>,
): Promise<T> {
  const driver = plainDriver(url);
  try {
    return await driver.lend(work);
  } finally {
    await driver.close();
  }
}

async function tablesInDatabase(connection: PostgresConnection): Promise<ServerTables> {
  return tablesOf(
    await connection.rows<{ id: string }>("SELECT id FROM holdfast.event_ids"),
    await connection.rows<LeafRow>("SELECT leaf_index, text FROM holdfast.server_leaves"),
  );
}

async function rowsInDatabase(connection: PostgresConnection): Promise<ServerRows> {
  const texts: string[] = [];
  for (const name of await tableNames(connection)) {
    const sql = `SELECT one::text AS text FROM holdfast.${name} AS one`;
    for (const { text } of await connection.rows<{ text: string }>(sql)) texts.push(text);
  }
  return {
    grants: await connection.rows("SELECT wrapped AS text, tenant FROM holdfast.grants"),
    events: await connection.rows("SELECT header, frames FROM holdfast.events"),
    texts,
  };
}

interface LeafRow {
  readonly leaf_index: number;
  readonly text: string;
}

function tablesOf(
  events: readonly { readonly id: string }[],
  rows: readonly LeafRow[],
): ServerTables {
  const counts = Map.groupBy(events, ({ id }) => id);
  const leaves = new Map(rows.map(({ leaf_index: index, text }) => [index, text]));
  const receipts = [...leaves.values()]
    .map((text) => JSON.parse(text) as Readonly<Record<string, unknown>>)
    .filter(({ kind }) => kind === "receipt");
  return {
    copiesOf(ids) {
      const found = ids.map((id) => counts.get(id)?.length ?? 0);
      return {
        once: found.filter((count) => count === 1).length,
        never: found.filter((count) => count === 0).length,
        more: found.filter((count) => count > 1).length,
      };
    },
    leaf: (index) => leaves.get(index),
    receiptsOfNotes: () =>
      // Filling owed bodies earns another statement of the same note, which owes less.
      [
        ...Map.groupBy(receipts, ({ origin, note, owed }) => JSON.stringify([origin, note, owed])),
      ].map(([, { length }]) => length),
    receiptsOfNodes: () =>
      new Map(
        [...Map.groupBy(receipts, ({ node }) => String(node))].map(([node, { length }]) => [
          node,
          length,
        ]),
      ),
  };
}

/** One of the keys in a server's key file. */
export async function keyOf(folder: string, name: string): Promise<Uint8Array<ArrayBuffer>> {
  const members = JSON.parse(await readFile(join(folder, "server.keys"), "utf8")) as Readonly<
    Record<string, string>
  >;
  return Uint8Array.from(Buffer.from(members[name] ?? "", "base64"));
}
