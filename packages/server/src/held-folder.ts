/** A server's data folder: who holds it, where its keys lie, and the engine over its store. */
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { HoldfastError, type MaybePromise, type Observer } from "@holdfast/core";
import { openSqlite, readKeySettings, systemTimers } from "@holdfast/node";
import type { ServerConfig } from "./config.ts";
import { createSyncServer } from "./engine/create-sync-server.ts";
import type { ServerStore } from "./engine/server-store.ts";
import type { SyncServer } from "./engine/sync-server.ts";
import { createNodeKeys } from "./node-keys.ts";
import { withNodes } from "./place-node.ts";
import { platform } from "./platform.ts";
import { hasServerKeyring, openServerKeyring } from "./server-keyring.ts";
import { type KeySources, openServerKeys, type ServerKeys } from "./server-keys.ts";

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

/** Where the keys of a server lie that is configured so. */
export function keySources({ data, keys, name }: ServerConfig): KeySources {
  return { folder: data, file: keys, name };
}

/**
 * The keys of a server: behind the key providers of the settings where they are named, else those of the key file.
 * Throws what either throws, and `key_provider_unavailable` for a keyring without settings.
 */
export function serverKeys(
  config: ServerConfig,
  usualName: string,
  observer: Observer,
): MaybePromise<ServerKeys> {
  const sources = keySources(config);
  const path = config.key_settings;
  if (path !== undefined) {
    return openServerKeyring(sources, usualName, readKeySettings(path), observer);
  }
  if (config.keys === undefined && hasServerKeyring(sources)) {
    throw new HoldfastError("key_provider_unavailable", { setting: "key_settings" });
  }
  return openServerKeys(platform, sources, usualName);
}

/** The engine over a store, which places its nodes. */
export function createEngine(
  config: ServerConfig,
  observer: Observer,
  keys: ServerKeys,
  store: ServerStore,
): SyncServer {
  const nodes = createNodeKeys({ ...platform, secret: keys.nodes, name: config.node });
  const server = createSyncServer({
    ...platform,
    store,
    timers: systemTimers,
    observer,
    host: keys.name,
    key: keys.checkpoint,
    reads: config.reads,
    nodeFor: async (tenant) => nodes.nodeFor(tenant),
  });
  return withNodes(server, store, nodes);
}
