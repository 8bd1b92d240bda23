/** The store that the configuration names: SQLite in the data folder, or PostgreSQL. */
import { closeSync, existsSync, openSync } from "node:fs";
import { join } from "node:path";
import { hex, HoldfastError, utf8 } from "@holdfast/core";
import { createNodeCrypto, openSqlite, systemTimers } from "@holdfast/node";
import type { ServerConfig } from "./config.ts";
import { checkStandby, showStandbys } from "./engine/postgres-durability.ts";
import type { PostgresConnection, PostgresDriver } from "./engine/postgres-driver.ts";
import { claimDatabase, type ServerIdentity } from "./engine/postgres-identity.ts";
import { migratePostgres } from "./engine/postgres-migrations.ts";
import { createPostgresReplayMemory } from "./engine/postgres-replay-memory.ts";
import { createPostgresServerStore } from "./engine/postgres-server-store.ts";
import { prepareSession } from "./engine/postgres-session.ts";
import { createReplayMemory, type ReplayMemory } from "./engine/replay-memory.ts";
import type { ServerStore } from "./engine/server-store.ts";
import { createSqliteServerStore } from "./engine/sqlite-server-store.ts";
import { createPostgresDriver } from "./postgres-driver.ts";
import { databaseFile, type ServerKeys } from "./server-keys.ts";

const crypto = createNodeCrypto();

/** What a server keeps things in. */
export interface OpenStore {
  readonly store: ServerStore;
  readonly replay: ReplayMemory;
}

/** Opens it. Throws the storage codes, `database_*`, `server_keys_foreign` and `durability_unmet`. */
export function openStore(config: ServerConfig, keys: ServerKeys): Promise<OpenStore> {
  return config.database_url === undefined
    ? openFolder(config.data, keys)
    : openDatabase(config, config.database_url, keys);
}

function openFolder(folder: string, keys: ServerKeys): Promise<OpenStore> {
  const path = join(folder, databaseFile);
  if (existsSync(restoringOf(path))) throw new HoldfastError("server_restore_unfinished");
  return Promise.resolve({ store: openFile(path, keys), replay: createReplayMemory() });
}

/** Where a backup lies while it is being put in place of a database. */
export function restoringOf(path: string): string {
  return `${path}.restoring`;
}

/** The store in a file. Throws the storage codes. */
export function openFile(path: string, { pageKey }: Pick<ServerKeys, "pageKey">): ServerStore {
  // SQLite makes files that others may read; what it makes beside this one has this one's mode.
  closeSync(openSync(path, "a", 0o600));
  const driver = openSqlite({ path, pageKey, readOnly: false, create: true });
  try {
    return createSqliteServerStore({ crypto, driver });
  } catch (error) {
    driver.close();
    throw error;
  }
}

/** Bringing tables up to date may rewrite a large one. */
const migrationMs = 3_600_000;
/** How long a hint to other nodes waits for further ones. */
const gatherMs = 10;

async function openDatabase(
  config: ServerConfig,
  url: string,
  keys: ServerKeys,
): Promise<OpenStore> {
  const owner = createPostgresDriver({
    url: config.database_owner_url ?? url,
    connectionsMax: 1,
    waitingMax: 1,
    waitMs: config.database_wait_seconds * 1_000,
    answerMs: migrationMs,
    prepare: () => Promise.resolve(),
  });
  try {
    await migratePostgres({ crypto, owner, layout: config.database_layout });
    if (config.durability === "replicated") await showStandbys(owner);
  } finally {
    await owner.close();
  }
  const driver = workingDriver(config, url, config.database_connections);
  const { database_read_url: readUrl, database_read_connections: readers } = config;
  const replica = readUrl === undefined ? undefined : workingDriver(config, readUrl, readers);
  const store = createPostgresServerStore({
    crypto,
    driver,
    ...(replica === undefined ? {} : { replica }),
    ...(config.durability === "replicated" ? { guard: checkStandby } : {}),
    hints: {
      timers: systemTimers,
      times: { gatherMs, pollMs: config.database_poll_seconds * 1_000 },
    },
  });
  try {
    await claimDatabase(driver, identityOf(keys));
  } catch (error) {
    await store.close();
    throw error;
  }
  return { store, replay: createPostgresReplayMemory(driver) };
}

function identityOf({ name, checkpoint, token, nodes }: ServerKeys): ServerIdentity {
  const digest = (bytes: Uint8Array): string => hex(crypto.sha256(bytes));
  return {
    checkpointKey: digest(checkpoint.spki),
    name: digest(utf8(name)),
    tokenKey: digest(token.publicKey.export({ format: "der", type: "spki" })),
    nodeKey: digest(nodes),
  };
}

function workingDriver(config: ServerConfig, url: string, connectionsMax: number): PostgresDriver {
  const statementMs = config.database_statement_seconds * 1_000;
  const prepare = (connection: PostgresConnection): Promise<void> =>
    prepareSession(connection, { statementMs, idleMs: config.database_stall_seconds * 1_000 });
  return createPostgresDriver({
    url,
    connectionsMax,
    waitingMax: config.database_waiting,
    waitMs: config.database_wait_seconds * 1_000,
    // Longer than the database's own bound: what it answers then says what happened.
    answerMs: 2 * statementMs,
    prepare,
  });
}
