/** A server's data folder: who holds it, its database, and the engine over it. */
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import type { Observer } from "@holdfast/core";
import {
  createNodeCrypto,
  openSqlite,
  systemClock,
  systemRandom,
  systemTimers,
} from "@holdfast/node";
import type { ServerConfig } from "./config.ts";
import { createSyncServer } from "./engine/create-sync-server.ts";
import type { ServerStore } from "./engine/server-store.ts";
import { createSqliteServerStore } from "./engine/sqlite-server-store.ts";
import type { SyncServer } from "./engine/sync-server.ts";
import { nodeFor } from "./node-files.ts";
import { withNodes } from "./place-node.ts";
import { databaseFile, type ServerKeys } from "./server-keys.ts";

export const platform = { crypto: createNodeCrypto(), random: systemRandom, clock: systemClock };

/** One server a folder: the lock is the system's, so that a killed server leaves none. Throws `store_busy`. */
export function holdFolder(folder: string): { release(): void } {
  const path = join(folder, "server.lock");
  closeSync(openSync(path, "a", 0o600));
  const lock = openSqlite({ path, pageKey: undefined, readOnly: false, create: true });
  try {
    lock.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    lock.close();
    throw error;
  }
  return {
    release() {
      lock.close();
    },
  };
}

/** The database of a data folder. */
export function openStore(folder: string, { pageKey }: ServerKeys): ServerStore {
  const path = join(folder, databaseFile);
  // SQLite makes files that others may read; what it makes beside this one has this one's mode.
  closeSync(openSync(path, "a", 0o600));
  const driver = openSqlite({ path, pageKey, readOnly: false, create: true });
  try {
    return createSqliteServerStore({ crypto: platform.crypto, driver });
  } catch (error) {
    driver.close();
    throw error;
  }
}

/** The engine over a data folder, which places its nodes. */
export function createEngine(
  config: ServerConfig,
  observer: Observer,
  keys: ServerKeys,
  store: ServerStore,
): SyncServer {
  const nodes = { ...platform, folder: join(config.data, "nodes") };
  const makeNode = async (tenant: string) => nodeFor(nodes, tenant);
  const server = createSyncServer({
    ...platform,
    store,
    timers: systemTimers,
    observer,
    host: keys.name,
    key: keys.checkpoint,
    reads: config.reads,
    nodeFor: makeNode,
  });
  return withNodes(server, makeNode);
}
