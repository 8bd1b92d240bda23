/**
 * A small store that is hurt again and again: made once, kept as bytes in memory, written out for each try.
 * The keyring's key derivation is cheap, so that a try costs milliseconds; everything else is as it ships.
 */
import {
  chmodSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import {
  base64url,
  createKeyring,
  createRegistry,
  createSoftwareProvider,
  createStore,
  defineEvent,
  defineProjection,
  type Draft,
  type Holdfast,
  type Keyring,
  type ModelRow,
  openKeyring,
  openSoftwareProvider,
  type RecordedEvent,
  type SqliteDriver,
} from "@holdfast/core";
import {
  createNodeCrypto,
  createProcessIdentity,
  createStoreMedium,
  keyringFiles,
  openSqlite,
  openStore,
  type OpenStoreOptions,
  systemClock,
  systemRandom,
} from "@holdfast/node";
import type { StandardSchemaV1 } from "./schema.ts";
import { anything } from "./schema.ts";

export const passphrase = "correct horse battery staple";
export const crypto = createNodeCrypto();
const cost = { memoryKib: 8, passes: 1, lanes: 1 };

const note = defineEvent({
  type: "NoteWritten",
  schema: anything as StandardSchemaV1<unknown, { readonly text: string; readonly n: number }>,
  sections: { identity: ["name"] },
});
const measured = defineEvent({
  type: "Measured",
  concurrency: "independent",
  schema: anything,
});
const document = defineEvent({ type: "Document", encoding: "text", schema: anything });
export const registry = createRegistry([note, measured, document]);

/** What the last event of a stream said. */
const latest = defineProjection<{ readonly n: number; readonly text: string }>({
  name: "latest",
  version: 1,
  types: ["NoteWritten"],
  columns: { n: "integer", text: "text" },
  fold: (_state, event) => event.data as { readonly n: number; readonly text: string },
  row: ({ n, text }) => ({ n, text }),
});

/** Where a store lies. */
export interface Place {
  readonly directory: string;
  readonly stateDirectory: string;
}

export function placeIn(folder: string, name = "store"): Place {
  return { directory: join(folder, name), stateDirectory: join(folder, "state") };
}

/** A new store, as `initStore` makes it, but for the cost of the key derivation. */
export async function makeStore(place: Place, words = passphrase): Promise<string> {
  const { directory, stateDirectory } = place;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const storeId = base64url(systemRandom.bytes(16));
  const provider = createSoftwareProvider({
    crypto,
    random: systemRandom,
    passphrase: words,
    parameters: undefined,
    cost,
  });
  const keyring = await createKeyring({
    crypto,
    random: systemRandom,
    files: keyringFiles(directory, stateDirectory, storeId),
    provider,
    tenant: base64url(systemRandom.bytes(16)),
    storeId,
  });
  const medium = createStoreMedium(directory, stateDirectory, storeId, true);
  createStore({
    crypto,
    clock: systemClock,
    process: createProcessIdentity(),
    keyring,
    medium,
  });
  keyring[Symbol.dispose]();
  return storeId;
}

export function open(
  place: Place,
  options: Partial<Omit<OpenStoreOptions, keyof Place>> = {},
): Promise<Holdfast> {
  return openStore({ ...place, passphrase, registry, projections: [latest], ...options });
}

/** The n-th draft of a store's workload. */
export function draftOf(n: number): Draft {
  const subject = `subject-${n % 7}`;
  const common = { stream: `stream-${n % 12}`, scope: `subject-${n % 12}`, actor: "nurse/7" };
  if (n % 3 === 0) {
    const data = { n, text: `note ${n}`, name: subject };
    return { ...common, type: "NoteWritten", data, occurredAt: n, reason: `because ${n}` };
  }
  if (n % 3 === 1) return { ...common, type: "Measured", data: { n, value: n / 8 } };
  return { ...common, type: "Document", data: undefined, text: `{ "n": ${n}.0 }` };
}

/** Everything that a store answers: the measure of "no wrong answer". */
export interface Answers {
  readonly events: readonly RecordedEvent[];
  readonly rows: readonly ModelRow[];
  readonly size: number;
}

export function answersOf(store: Holdfast): Answers {
  const events = store.read({ limit: 10_000 });
  const rows = store.query("latest", { order: ["n"], limit: 10_000 });
  return { events, rows, size: store.status().events };
}

/** Regular files below a folder, by relative path. */
export type Image = ReadonlyMap<string, Buffer>;

export function takeImage(folder: string): Image {
  const image = new Map<string, Buffer>();
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const path = join(folder, name);
    if (!lstatSync(path).isFile() || name.endsWith("-shm")) continue;
    image.set(name, readFileSync(path));
  }
  return image;
}

/** Puts an image in place: folders stay what they are, so that the store is not seen as moved. */
export function putImage(folder: string, image: Image): void {
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const path = join(folder, name);
    if (lstatSync(path).isDirectory() || image.has(name)) continue;
    rmSync(path);
  }
  for (const [name, bytes] of image) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeFileSync(path, bytes, { mode: 0o600 });
  }
}

/** Copies the files of a store's folder into another folder. */
export function copyFolder(from: string, to: string): void {
  mkdirSync(to, { recursive: true, mode: 0o700 });
  for (const name of readdirSync(from)) {
    if (name.endsWith("-shm")) continue;
    copyFileSync(join(from, name), join(to, name));
    chmodSync(join(to, name), 0o600);
  }
}

/** The keyring of a store, as an attacker has it who knows the passphrase or reads the memory. */
async function keyringOf(place: Place): Promise<Keyring> {
  return openKeyring({
    crypto,
    random: systemRandom,
    files: keyringFiles(place.directory, place.stateDirectory, storeIdOf(place)),
    openProvider: openSoftwareProvider({ crypto, random: systemRandom, passphrase }),
  });
}

/** The only store whose state lies in that folder. */
export function storeIdOf(place: Place): string {
  const [id, ...others] = readdirSync(place.stateDirectory);
  if (id === undefined || others.length > 0) throw new Error("one store a state folder");
  return id;
}

/** Runs an attacker who has the page key: raw SQL on the store's database. */
export async function withPageKey<T>(
  place: Place,
  attack: (driver: SqliteDriver, keyring: Keyring) => T,
): Promise<T> {
  const keyring = await keyringOf(place);
  const pageKey = keyring.pageKey();
  const path = join(place.directory, "store.db");
  const driver = openSqlite({ path, pageKey, readOnly: false, create: false });
  pageKey.fill(0);
  try {
    return attack(driver, keyring);
  } finally {
    driver.close();
    keyring[Symbol.dispose]();
  }
}

/** Drops every trigger, lets the attacker work, and makes the triggers again as they were. */
export function withoutTriggers(driver: SqliteDriver, work: () => void): void {
  const triggers = driver
    .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
    .all<{ name: string; sql: string }>();
  driver.exec("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;");
  for (const { name } of triggers) driver.exec(`DROP TRIGGER ${name}`);
  work();
  for (const { sql } of triggers) driver.exec(sql);
}

/** Kind of a file in an image, for the figures of a run. */
export function kindOf(name: string): "database" | "wal" | "keyring" | "mark" {
  const file = relative(dirname(name), name) || name;
  if (file.endsWith("-wal")) return "wal";
  if (file === "keyring") return "keyring";
  if (file.startsWith("mark-")) return "mark";
  return "database";
}
