/**
 * The operator's view of a server's shards. Where the server keeps things in its data folder, listing reads beside a
 * running server, and moving a tenant needs the folder, which a running server holds: SQLite has one writer. On
 * PostgreSQL both go beside running nodes: each of them finds the tenant where it is by then.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { HoldfastError, isHoldfastError, type MaybePromise, silentObserver } from "@holdfast/core";
import { openSqlite } from "@holdfast/node";
import type { ServerConfig } from "./config.ts";
import type { MoveAnswer, MoveRequest } from "./engine/admin/move-tenant.ts";
import type { ServerStore, ShardRow } from "./engine/server-store.ts";
import { createSqliteReads } from "./engine/sqlite-reads.ts";
import { ensureServerSchema } from "./engine/sqlite-schema.ts";
import type { SyncServer } from "./engine/sync-server.ts";
import { createEngine, holdFolder, keySources, serverKeys } from "./held-folder.ts";
import { platform } from "./platform.ts";
import { hasServerKeyring } from "./server-keyring.ts";
import { databaseFile, keyFile, type ServerKeys } from "./server-keys.ts";
import { openStore } from "./stores.ts";

/** What an operator does with the shards of one server. */
export interface Shards {
  /** Every shard, sealed ones included, by tenant, in the order in which they were begun. */
  list(): Promise<readonly ShardRow[]>;
  /** Moves a tenant to a shard of its own. Throws `server_running`, `tenant_unknown`, `shard_taken`. */
  split(request: MoveRequest): Promise<MoveAnswer>;
}

/** Throws `store_missing` for a folder without a database, `server_keys_missing` without keys; its acts, what both throw. */
export function openShards(config: ServerConfig): Shards {
  const inFolder = config.database_url === undefined;
  const path = join(config.data, databaseFile);
  if (inFolder && !existsSync(path)) throw new HoldfastError("store_missing");
  checkKeysThere(config);
  const split = (request: MoveRequest): Promise<MoveAnswer> =>
    withEngine(config, (server) => server.moveTenant(request));
  return {
    list: async () =>
      inFolder
        ? withKeys(config, (keys) => listIn(path, keys))
        : withEngine(config, (server) => server.shards()),
    split: (request) => (inFolder ? holding(config.data, () => split(request)) : split(request)),
  };
}

/** Keys are made by a server that starts, never here. */
export function checkKeysThere(config: ServerConfig): void {
  const sources = keySources(config);
  const file = sources.file ?? join(config.data, keyFile);
  if (!existsSync(file) && !hasServerKeyring(sources)) {
    throw new HoldfastError("server_keys_missing");
  }
}

/** Opened for one act, where somebody waits for what it throws, and given back after it. */
export async function withKeys<T>(
  config: ServerConfig,
  work: (keys: ServerKeys) => MaybePromise<T>,
): Promise<T> {
  const keys = await serverKeys(config, "", silentObserver);
  try {
    return await work(keys);
  } finally {
    keys.close();
  }
}

function listIn(path: string, { pageKey }: ServerKeys): readonly ShardRow[] {
  const driver = openSqlite({ path, pageKey, readOnly: true, create: false });
  try {
    ensureServerSchema(driver);
    return createSqliteReads(platform.crypto, driver).shards();
  } finally {
    driver.close();
  }
}

/** An engine for one act, over the configured store or over another one, which it closes. */
export function withEngine<T>(
  config: ServerConfig,
  work: (server: SyncServer) => Promise<T>,
  open: (keys: ServerKeys) => MaybePromise<ServerStore> = async (keys) =>
    (await openStore(config, keys)).store,
): Promise<T> {
  return withKeys(config, async (keys) => {
    const store = await open(keys);
    const server = createEngine(config, silentObserver, keys, store);
    try {
      return await work(server);
    } finally {
      await server.close();
      await store.close();
    }
  });
}

/** Throws `server_running`. */
export async function holding<T>(data: string, work: () => Promise<T>): Promise<T> {
  const folder = held(data);
  try {
    return await work();
  } finally {
    folder.release();
  }
}

function held(folder: string): { release(): void } {
  try {
    return holdFolder(folder);
  } catch (error) {
    if (isHoldfastError(error, "store_busy")) throw new HoldfastError("server_running");
    throw error;
  }
}
