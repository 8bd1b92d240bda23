/**
 * What the process suites share: a store in a scratch folder whose passphrase costs little, the events that
 * workloads record, and the question what is wrong with a store after something happened to it.
 *
 * A record's content follows from its number, so that a promise is one line: `ID NUMBER`.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import {
  base64url,
  type Clock,
  createKeyring,
  createRegistry,
  createSoftwareProvider,
  createStore,
  defineEvent,
  defineProjection,
  type Draft,
  type Holdfast,
  type Keyring,
  type Observer,
  openHoldfast,
  openKeyring,
  openSoftwareProvider,
  type Projection,
  silentObserver,
  type SqliteDriver,
  utf8,
} from "@holdfast/core";
import {
  createNodeCrypto,
  createProcessIdentity,
  createStoreMedium,
  keyringFiles,
  openStore,
  storeIdOf,
  systemClock,
  systemRandom,
  systemTimers,
} from "@holdfast/node";
import { z } from "zod";

export const full = process.env["HOLDFAST_FULL"] === "1";
/** Given to children by environment, as a user would. */
export const passphrase = process.env["HOLDFAST_PASSPHRASE"] ?? "correct horse battery staple";
/** What opens the stores of a suite now: suites of rotation change it. */
export const secret = { passphrase };
export const childSecrets = { HOLDFAST_PASSPHRASE: passphrase } as const;

const crypto = createNodeCrypto();

/** Where the store of a scratch folder lies; `name` is another place in the same scratch folder. */
export function placeIn(
  folder: string,
  name = "store",
): { readonly directory: string; readonly stateDirectory: string } {
  return { directory: join(folder, name), stateDirectory: join(folder, "state") };
}

const noted = defineEvent({
  type: "NoteRecorded",
  concurrency: "independent",
  schema: z.object({ n: z.number(), text: z.string() }),
});
/** Text that must come back byte by byte, as imported resources are recorded. */
const imported = defineEvent({
  type: "TextImported",
  concurrency: "exclusive",
  encoding: "text",
  schema: z.object({ n: z.number(), text: z.string() }),
});
const registry = createRegistry([noted, imported]);

const notes = defineProjection<{ readonly count: number; readonly last: number }>({
  name: "notes",
  version: 1,
  types: ["NoteRecorded", "TextImported"],
  columns: { last: "integer" },
  fold: (state, event) => ({
    count: (state?.count ?? 0) + 1,
    last: (event.data as { readonly n: number }).n,
  }),
  row: (state) => ({ last: state.last }),
});

const projections = [notes];

function textOf(n: number, characters: number): string {
  return `record ${n} `.repeat(Math.ceil(characters / 12)).slice(0, characters);
}

function contentOf(n: number): { readonly n: number; readonly text: string } {
  return { n, text: textOf(n, 40 + ((n * 7_919) % 900)) };
}

/** Draft number `n`; every 25th number is about somebody new, which makes a data key. */
export function draftOf(n: number): Draft {
  const subject = `subject/${Math.floor(n / 25)}`;
  const stream = `${subject}/diary`;
  return { type: "NoteRecorded", stream, scope: subject, actor: "nurse/7", data: contentOf(n) };
}

/** The text of import number `n`, about 2 KB, with a decimal that JSON.parse would not give back. */
function importedText(n: number): string {
  return `{ "n": ${n}, "dose": 1.50,\n  "text": ${JSON.stringify(textOf(n, 2_000))} }`;
}

export function importOf(n: number): Draft {
  const subject = `subject/${Math.floor(n / 25)}`;
  return {
    type: "TextImported",
    stream: `resource/${n}`,
    scope: subject,
    actor: "importer",
    data: undefined,
    text: importedText(n),
  };
}

/** A new store with a cheap key derivation (crash suites open thousands of times). */
export async function makeStore(folder: string): Promise<void> {
  const { directory, stateDirectory } = placeIn(folder);
  mkdirSync(directory, { mode: 0o700 });
  const storeId = base64url(systemRandom.bytes(16));
  const keyring = await createKeyring({
    crypto,
    random: systemRandom,
    files: keyringFiles(directory, stateDirectory, storeId),
    provider: createSoftwareProvider({
      crypto,
      random: systemRandom,
      passphrase,
      parameters: undefined,
      cost: { memoryKib: 8, passes: 1, lanes: 1 },
    }),
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
  await (await open(folder)).close();
}

/** The store through the product's own door. */
export function open(folder: string, name = "store", readOnly = false): Promise<Holdfast> {
  const { passphrase: words } = secret;
  const place = placeIn(folder, name);
  return openStore({ ...place, passphrase: words, registry, projections, readOnly });
}

export interface Instead {
  readonly observer?: Observer;
  readonly clock?: Clock;
  readonly driver?: (driver: SqliteDriver) => SqliteDriver;
  readonly projections?: readonly Projection[];
  readonly readOnly?: boolean;
}

/** The keyring of a store, opened by the passphrase; whoever asks disposes of it. */
export async function openKeyringIn(
  folder: string,
  name = "store",
): Promise<{ readonly storeId: string; readonly keyring: Keyring }> {
  const { directory, stateDirectory } = placeIn(folder, name);
  const storeId = storeIdOf(crypto, directory, stateDirectory);
  const ports = { crypto, random: systemRandom };
  const openProvider = openSoftwareProvider({ ...ports, passphrase: utf8(passphrase) });
  const files = keyringFiles(directory, stateDirectory, storeId);
  return { storeId, keyring: await openKeyring({ ...ports, files, openProvider, storeId }) };
}

/** The store with a port of the test's own instead of the product's. */
export async function openWith(folder: string, instead: Instead): Promise<Holdfast> {
  const { directory, stateDirectory } = placeIn(folder);
  const { storeId, keyring } = await openKeyringIn(folder);
  const medium = createStoreMedium(directory, stateDirectory, storeId, false);
  const { driver = (same: SqliteDriver): SqliteDriver => same } = instead;
  return openHoldfast({
    crypto,
    random: systemRandom,
    clock: instead.clock ?? systemClock,
    timers: systemTimers,
    observer: instead.observer ?? silentObserver,
    process: createProcessIdentity(),
    keyring,
    medium: { ...medium, openDriver: (key, options) => driver(medium.openDriver(key, options)) },
    registry,
    projections: instead.projections ?? projections,
    app: "store-suites",
    readOnly: instead.readOnly ?? false,
    acceptRollback: false,
  });
}

/** One promise: the event is durable. */
export function promiseOf(id: string, n: number): string {
  return `${id} ${n}`;
}

/** Promises that the store does not keep: absent, or with other content than was promised. */
export function broken(store: Holdfast, promises: readonly string[]): readonly string[] {
  const problems: string[] = [];
  for (const promise of promises) {
    const [id = "", number = ""] = promise.split(" ");
    const n = Number(number);
    const event = store.get(id);
    if (event === undefined) problems.push(`lost ${promise}`);
    else if (event.type === "TextImported") {
      if (event.text !== importedText(n)) problems.push(`other text ${promise}`);
    } else {
      const expected = contentOf(n);
      const found = event.data as typeof expected | undefined;
      if (found?.n !== expected.n || found.text !== expected.text)
        problems.push(`other content ${promise}`);
    }
  }
  if (problems.length > 5) return [...problems.slice(0, 5), `lost ${problems.length} in all`];
  return problems;
}

/** Lines that are promises. */
export function promisesIn(lines: readonly string[]): readonly string[] {
  return lines.filter((line) => /^[0-9a-f-]{36} \d+$/.test(line));
}

/** Lines that are failures told with a code of ours. */
export function codesIn(lines: readonly string[]): readonly string[] {
  return lines.filter((line) => line.startsWith("error ")).map((line) => line.slice(6));
}

/** Own incarnations of the store. */
export function incarnationsOf(store: Holdfast): number {
  return store.read({ type: "IncarnationOpened", limit: 10_000, headersOnly: true }).length;
}

/** Events that the store records of its own accord: openings of its logs, audit events. */
export function ownRecordsOf(store: Holdfast): number {
  return store.audit.read({ limit: 100_000 }).length;
}

let marker = 900_000_000;

export interface CheckOptions {
  readonly name?: string;
  /** Codes that verify may name before the first write; afterwards it has to be ok. */
  readonly tolerated?: ReadonlySet<string>;
}

/** A kill between the writes to the two keyring copies leaves one of them short or torn until the next write. */
const copyLags: ReadonlySet<string> = new Set([
  "keyring_line_missing",
  "keyring_line_torn",
  "keyring_copy_missing",
]);
/**
 * The mark is written without fsync: a power loss may take it back or away. A line that a copy of the keyring
 * was just being given may be there in parts, its end before its beginning; the other copy has it whole.
 */
export const markLags: ReadonlySet<string> = new Set([
  ...copyLags,
  "keyring_line_damaged",
  "mark_missing",
  "mark_damaged",
  "store_moved",
]);

/**
 * What is wrong with a store: promises broken, findings of verify, an append about somebody new refused, and
 * all of it again after that append, with both copies of the keyring whole.
 */
export async function problemsOf(
  folder: string,
  promises: readonly string[],
  options: CheckOptions = {},
): Promise<readonly string[]> {
  const problems: string[] = [];
  const tolerated = options.tolerated ?? copyLags;
  const store = await open(folder, options.name);
  try {
    problems.push(...broken(store, promises));
    for (const { code, object, message } of store.verify().problems) {
      if (!tolerated.has(code)) problems.push(`verify: ${code} ${object} ${message}`);
    }
    marker += 25;
    const result = await store.append(draftOf(marker));
    const id = result.status === "appended" ? (result.events[0]?.id ?? "") : result.status;
    problems.push(...broken(store, [promiseOf(id, marker)]));
    const rows = store.count("notes");
    const events = store.status().events - ownRecordsOf(store);
    const folded = store
      .query<{ readonly count: number }>("notes", { limit: 1_000_000 })
      .reduce((sum, { state }) => sum + state.count, 0);
    if (rows === 0 || folded !== events) problems.push(`read model: ${folded} of ${events} events`);
  } finally {
    await store.close();
  }
  const again = await open(folder, options.name);
  try {
    for (const { code, object } of again.verify().problems)
      problems.push(`verify after an append: ${code} ${object}`);
  } finally {
    await again.close();
  }
  return problems;
}
