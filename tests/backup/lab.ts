/** What the backup suites share: keys of age, a filled store, its rows, and stock tools on a backup. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SqliteDriver } from "@holdfast/core";
import { openSqlite } from "@holdfast/node";
import { generateX25519Identity, identityToRecipient } from "age-encryption";
import {
  draftOf,
  importOf,
  makeStore,
  open,
  openKeyringIn,
  placeIn,
  promiseOf,
} from "../store/lab.ts";

export interface AgeKeys {
  readonly identity: string;
  readonly recipient: string;
}

export async function ageKeys(): Promise<AgeKeys> {
  const identity = await generateX25519Identity();
  return { identity, recipient: await identityToRecipient(identity) };
}

/** A store with events of both kinds; what it promises. */
export async function filledStore(folder: string, events: number): Promise<readonly string[]> {
  await makeStore(folder);
  return fill(folder, 0, events);
}

/** Records events from that number on. */
export async function fill(
  folder: string,
  from: number,
  count: number,
  name = "store",
): Promise<readonly string[]> {
  const store = await open(folder, name);
  const numbers = Array.from({ length: count }, (_, at) => from + at);
  const drafts = numbers.map((n) => (n % 7 === 3 ? importOf(n) : draftOf(n)));
  const result = await store.append(drafts);
  await store.close();
  if (result.status !== "appended") throw new Error(result.status);
  return result.events.map(({ id }, at) => promiseOf(id, numbers[at] as number));
}

/** The database of a store of the lab, for reading. */
export async function rowsIn(
  folder: string,
  name = "store",
): Promise<{ all(sql: string): readonly unknown[]; readonly driver: SqliteDriver }> {
  const { keyring } = await openKeyringIn(folder, name);
  const pageKey = keyring.pageKey();
  keyring[Symbol.dispose]();
  const path = join(placeIn(folder, name).directory, "store.db");
  const driver = openSqlite({ path, pageKey, readOnly: true, create: false });
  return { driver, all: (sql) => driver.prepare(sql).all() };
}

/** Why stock tools cannot be used here; `undefined`: they can. */
export function stockToolsMissing(): string | undefined {
  const missing = ["age", "zstd", "tar"].filter(
    (tool) => spawnSync(tool, ["--version"]).status !== 0,
  );
  return missing.length === 0 ? undefined : `${missing.join(", ")} not installed`;
}

/** A backup unpacked by stock age, zstd and tar: names and contents. */
export function unpack(folder: string, file: string, keys: AgeKeys): ReadonlyMap<string, Buffer> {
  const identity = join(folder, "identity");
  writeFileSync(identity, `${keys.identity}\n`, { mode: 0o600 });
  const options = { maxBuffer: 2 ** 28 } as const;
  const sealed = execFileSync("age", ["-d", "-i", identity, file], options);
  const archive = execFileSync("zstd", ["-dc"], { ...options, input: sealed });
  const names = execFileSync("tar", ["-t"], { ...options, input: archive })
    .toString("utf8")
    .trim()
    .split("\n");
  return new Map(
    names.map((name) => [name, execFileSync("tar", ["-xO", name], { ...options, input: archive })]),
  );
}

/** Names in a folder that no finished act leaves there. */
export function leftovers(folder: string): readonly string[] {
  const names = existsSync(folder) ? readdirSync(folder) : [];
  return names.filter((name) => /\.(restoring|partial)$/.test(name));
}
