/**
 * The operator's view of a server's shards, on its data folder. Listing reads beside a running server; moving a
 * tenant needs the folder, which a running server holds: SQLite has one writer, and there is no other way in yet.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { HoldfastError, isHoldfastError, silentObserver } from "@holdfast/core";
import { openSqlite } from "@holdfast/node";
import type { ServerConfig } from "./config.ts";
import { createEngine, holdFolder, openStore, platform } from "./held-folder.ts";
import type { MoveAnswer, MoveRequest } from "./engine/admin/move-tenant.ts";
import type { ShardRow } from "./engine/server-store.ts";
import { createSqliteReads } from "./engine/sqlite-reads.ts";
import { ensureServerSchema } from "./engine/sqlite-schema.ts";
import { databaseFile, openServerKeys, type ServerKeys } from "./server-keys.ts";

/** What an operator does with the shards of one data folder. */
export interface Shards {
  /** Every shard, sealed ones included, in the order in which they were begun. */
  list(): Promise<readonly ShardRow[]>;
  /** Moves a tenant to a shard of its own. Throws `server_running`, `tenant_unknown`, `shard_taken`. */
  split(request: MoveRequest): Promise<MoveAnswer>;
}

/** Throws `store_missing` for a folder without a server's database, and what keys and database throw. */
export function openShards(config: ServerConfig): Shards {
  const path = join(config.data, databaseFile);
  if (!existsSync(path)) throw new HoldfastError("store_missing");
  const keys = openServerKeys(platform, config.data, config.name, "");
  return {
    list: async () => listIn(path, keys),
    split: (request) => splitIn(config, keys, request),
  };
}

function listIn(path: string, { pageKey }: ServerKeys): readonly ShardRow[] {
  const driver = openSqlite({ path, pageKey, readOnly: true, create: false });
  try {
    ensureServerSchema(driver);
    return createSqliteReads(driver).shards();
  } finally {
    driver.close();
  }
}

async function splitIn(
  config: ServerConfig,
  keys: ServerKeys,
  request: MoveRequest,
): Promise<MoveAnswer> {
  const folder = held(config.data);
  try {
    const store = openStore(config.data, keys);
    const server = createEngine(config, silentObserver, keys, store);
    try {
      return await server.moveTenant(request);
    } finally {
      await server.close();
      await store.close();
    }
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
