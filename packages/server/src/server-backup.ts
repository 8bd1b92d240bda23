/**
 * Backups of a server's database, and putting one back: acts of the operator.
 *
 * In a data folder a backup is a copy of the database that SQLite makes beside a running server, under the same page
 * key; the keys are not in it. Beside it lies a manifest: digest, and how far every shard had come. On PostgreSQL the
 * tools of the database do both, and what is left to do here is what follows any restore: every log goes on in the next
 * one (`engine/admin/restore-logs.ts`).
 *
 * A backup is put in place in one rename, after its logs went on; what it replaces is kept in a folder beside. While
 * that is under way no server starts, so that none ever runs on a half of it; whoever was interrupted does it again.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { hex, HoldfastError } from "@holdfast/core";
import { openSqlite } from "@holdfast/node";
import type { ServerConfig } from "./config.ts";
import type { RestoredLog } from "./engine/admin/restore-logs.ts";
import type { ExaminedShard } from "./engine/reading/examine.ts";
import type { LostLog } from "./engine/reading/lost.ts";
import { createSqliteReads } from "./engine/sqlite-reads.ts";
import { ensureServerSchema } from "./engine/sqlite-schema.ts";
import { platform } from "./platform.ts";
import { databaseFile, type ServerKeys } from "./server-keys.ts";
import { checkKeysThere, holding, withEngine, withKeys } from "./shards.ts";
import { openFile, restoringOf } from "./stores.ts";

/** What lies beside a backup, as JSON. */
export interface ServerManifest {
  readonly format: 1;
  /** ISO 8601. */
  readonly made: string;
  /** Name of the server. */
  readonly name: string;
  /** SHA-256 of its checkpoint key, hex. */
  readonly checkpointKey: string;
  readonly bytes: number;
  /** SHA-256 of the file, hex. */
  readonly digest: string;
  readonly shards: readonly {
    readonly tenant: string;
    readonly shard: string;
    readonly log: number;
    readonly leaves: number;
    readonly events: number;
  }[];
}

/** What a drill found. */
export interface DrillReport {
  /** The file is what its manifest says; `undefined`: there is no manifest, or no file. */
  readonly manifest: ServerManifest | undefined;
  readonly shards: readonly ExaminedShard[];
  /** How the logs of the copy went on; none where nothing was copied. */
  readonly restored: readonly RestoredLog[];
  readonly milliseconds: number;
}

/** What an operator does with backups of one server. */
export interface ServerBackups {
  /** Of the server: what is typed back. */
  name(): Promise<string>;
  /** Throws `output_exists`, `config_invalid` on PostgreSQL. */
  backUp(out: string): Promise<ServerManifest>;
  /**
   * Lets every log go on in the next one, in the database that is there, or in that backup, which then takes its place.
   * Throws `server_running`, `server_backup_wrong`, `server_restore_unfinished`, `server_log_unproven`.
   */
  restore(from?: string): Promise<readonly RestoredLog[]>;
  /** What devices have shown to be lost by a restore, and what of it is back. */
  lost(): Promise<readonly LostLog[]>;
  /** Looks the database over, or a copy of that backup in a folder of its own, which it restores and throws away. */
  drill(from?: string): Promise<DrillReport>;
}

/** Throws `store_missing` for a folder without a database, `server_keys_missing` without keys; its acts, what both throw. */
export function openServerBackups(config: ServerConfig): ServerBackups {
  checkKeysThere(config);
  const path = join(config.data, databaseFile);
  const inFolder = config.database_url === undefined;
  const checkFolder = (): void => {
    if (!inFolder)
      throw new HoldfastError("config_invalid", { setting: "database_url", source: "server" });
  };
  const checkThere = (): void => {
    if (inFolder && !existsSync(path)) throw new HoldfastError("store_missing");
  };
  return {
    name: () => withKeys(config, ({ name }) => name),
    backUp: async (out) => {
      checkFolder();
      checkThere();
      return withKeys(config, (keys) => backUpTo(path, out, keys));
    },
    async restore(from) {
      if (from === undefined) {
        checkThere();
        const begin = () => withEngine(config, (server) => server.restoreLogs());
        return inFolder ? holding(config.data, begin) : begin();
      }
      checkFolder();
      return holding(config.data, () => putInPlace(config, path, from));
    },
    async lost() {
      checkThere();
      const list = () => withEngine(config, (server) => server.lost());
      return list();
    },
    drill: async (from) => {
      if (from !== undefined) checkFolder();
      else checkThere();
      const began = performance.now();
      const found = from === undefined ? await lookOver(config) : await lookOverCopy(config, from);
      return { ...found, milliseconds: Math.round(performance.now() - began) };
    },
  };
}

function backUpTo(path: string, out: string, keys: ServerKeys): ServerManifest {
  if (existsSync(out)) throw new HoldfastError("output_exists");
  const part = `${out}.part`;
  removeFile(part);
  const live = openSqlite({ path, pageKey: keys.pageKey, readOnly: true, create: false });
  try {
    closeSync(openSync(part, "wx", 0o600));
    live.prepare("VACUUM INTO ?").run(part);
  } finally {
    live.close();
  }
  syncPath(part);
  const manifest = manifestOf(part, keys);
  writeFileSync(manifestPath(out), `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600 });
  syncPath(manifestPath(out));
  // Whoever finds the file finds all of it.
  renameSync(part, out);
  syncPath(dirname(out));
  return manifest;
}

const manifestPath = (file: string): string => `${file}.manifest.json`;

function manifestOf(file: string, keys: ServerKeys): ServerManifest {
  const copy = openSqlite({ path: file, pageKey: keys.pageKey, readOnly: true, create: false });
  try {
    ensureServerSchema(copy);
    const shards = createSqliteReads(platform.crypto, copy)
      .shards()
      .filter(({ sealed }) => !sealed)
      .map(({ tenant, shard, log, leaves, events }) => ({ tenant, shard, log, leaves, events }));
    return {
      format: 1,
      made: new Date(platform.clock.now()).toISOString(),
      name: keys.name,
      checkpointKey: keyDigest(keys),
      bytes: statSync(file).size,
      digest: digestOf(file),
      shards,
    };
  } finally {
    copy.close();
  }
}

function keyDigest({ checkpoint }: ServerKeys): string {
  return hex(platform.crypto.sha256(checkpoint.spki));
}

function digestOf(file: string): string {
  const hash = createHash("sha256");
  const buffer = Buffer.alloc(1024 * 1024);
  const descriptor = openSync(file, constants.O_RDONLY);
  try {
    for (let read = 1; read > 0;) {
      read = readSync(descriptor, buffer, 0, buffer.length, null);
      hash.update(buffer.subarray(0, read));
    }
  } finally {
    closeSync(descriptor);
  }
  return hash.digest("hex");
}

/** The manifest beside a backup, when the file is what it says. Throws `server_backup_wrong`. */
function checkedManifest(file: string, keys: ServerKeys): ServerManifest | undefined {
  if (!existsSync(file)) throw new HoldfastError("input_unreadable", { argument: "from" });
  if (!existsSync(manifestPath(file))) return undefined;
  let manifest: ServerManifest;
  try {
    manifest = JSON.parse(readFileSync(manifestPath(file), "utf8")) as ServerManifest;
  } catch (cause) {
    throw new HoldfastError("server_backup_wrong", { part: "manifest" }, { cause });
  }
  if (manifest.checkpointKey !== keyDigest(keys)) {
    throw new HoldfastError("server_backup_wrong", { part: "key" });
  }
  if (manifest.bytes !== statSync(file).size || manifest.digest !== digestOf(file)) {
    throw new HoldfastError("server_backup_wrong", { part: "file" });
  }
  return manifest;
}

/** A copy of a backup, of which nothing is left but this file. Throws `server_backup_wrong`. */
function copyOf(from: string, to: string, keys: ServerKeys): ServerManifest | undefined {
  const manifest = checkedManifest(from, keys);
  for (const suffix of ["", ...beside]) removeFile(`${to}${suffix}`);
  copyFileSync(from, to, constants.COPYFILE_EXCL);
  syncPath(to);
  return manifest;
}

/** What SQLite makes beside a database. */
const beside = ["-wal", "-shm", "-journal"] as const;

async function putInPlace(
  config: ServerConfig,
  path: string,
  from: string,
): Promise<readonly RestoredLog[]> {
  const fresh = restoringOf(path);
  const restored = await withEngine(
    config,
    (server) => server.restoreLogs(),
    (keys) => {
      copyOf(from, fresh, keys);
      return openFile(fresh, keys);
    },
  );
  const left = beside.filter((suffix) => existsSync(`${fresh}${suffix}`));
  if (left.length > 0) throw new HoldfastError("store_busy");
  syncPath(fresh);
  const replaced = join(config.data, `replaced-${platform.clock.now()}`);
  for (const suffix of [...beside, ""]) {
    if (!existsSync(`${path}${suffix}`)) continue;
    mkdirSync(replaced, { recursive: true, mode: 0o700 });
    renameSync(`${path}${suffix}`, join(replaced, `${databaseFile}${suffix}`));
  }
  renameSync(fresh, path);
  syncPath(config.data);
  return restored;
}

type LookedOver = Omit<DrillReport, "milliseconds">;

async function lookOver(config: ServerConfig): Promise<LookedOver> {
  const shards = await withEngine(config, (server) => server.examine());
  return { manifest: undefined, shards, restored: [] };
}

async function lookOverCopy(config: ServerConfig, from: string): Promise<LookedOver> {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-drill-"));
  let manifest: ServerManifest | undefined;
  try {
    const copy = join(folder, databaseFile);
    return await withEngine(
      config,
      async (server) => {
        const shards = await server.examine();
        const proven = shards.every(({ problems }) => problems.length === 0);
        // A log that cannot be proven does not go on.
        const restored = proven ? await server.restoreLogs() : [];
        return { manifest, shards, restored };
      },
      (keys) => {
        manifest = copyOf(from, copy, keys);
        return openFile(copy, keys);
      },
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function removeFile(path: string): void {
  rmSync(path, { force: true });
}

/** Makes a file, or the names in a folder, durable. */
function syncPath(path: string): void {
  if (process.platform === "win32") return;
  const descriptor = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
