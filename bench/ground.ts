/**
 * What the subjects measure on: a store with everything on (a registry validated by zod, a projection with
 * two columns, outbox, tree, signatures, high-water mark) and events with 1 KB of payload.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createRegistry,
  defineEvent,
  defineProjection,
  type Draft,
  type Holdfast,
  type Keyring,
  type Observer,
  openKeyring,
  openSoftwareProvider,
  type SqliteDriver,
  utf8,
} from "@holdfast/core";
import {
  createNodeCrypto,
  initStore,
  keyringFiles,
  openSqlite,
  openStore,
  stateFolder,
  storeIdOf,
  systemRandom,
} from "@holdfast/node";
import { z } from "zod";

export const passphrase = "a passphrase for measuring only";
const payloadBytes = 1_024;
const scopeCount = 50;

interface Nosebleed {
  readonly minutes: number;
  readonly side: string;
  readonly notes: string;
}

const nosebleed = defineEvent<Nosebleed>({
  type: "NosebleedRecorded",
  schema: z.object({
    minutes: z.number().int().min(0),
    side: z.enum(["left", "right", "both"]),
    notes: z.string(),
  }),
});

interface DiaryState {
  readonly count: number;
  readonly minutes: number;
  readonly side: string;
}

const diary = defineProjection<DiaryState>({
  name: "diary",
  version: 1,
  types: [nosebleed.type],
  columns: { minutes: "integer", side: "text" },
  fold(state, event) {
    const { minutes, side } = event.data as Nosebleed;
    return { count: (state?.count ?? 0) + 1, minutes: (state?.minutes ?? 0) + minutes, side };
  },
  row: ({ minutes, side }) => ({ minutes, side }),
});

/** The read model of the projection. */
export const model = diary.name;

/** Where one bench keeps its files; removed at the end. */
export interface Ground {
  readonly folder: string;
  readonly directory: string;
  readonly stateDirectory: string;
  remove(): void;
}

/** A fresh folder below `parent` (default: the system's folder for temporary files). */
export function createGround(parent: string = tmpdir()): Ground {
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(join(parent, "holdfast-bench-"));
  return {
    folder,
    directory: join(folder, "store"),
    stateDirectory: join(folder, "state"),
    remove() {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export type Place = Pick<Ground, "directory" | "stateDirectory">;

/** A new store at that place; `joins`: the tenant of an enrolment code. */
export async function makeStore(
  place: Place,
  joins?: { readonly tenant: string; readonly founder: string },
): Promise<void> {
  const { directory, stateDirectory } = place;
  const joining = joins === undefined ? {} : { joins };
  await initStore({ directory, stateDirectory, passphrase, tenant: "bench", ...joining });
}

export function openBenchStore(
  place: Place,
  options: { readonly observer?: Observer } = {},
): Promise<Holdfast> {
  const { directory, stateDirectory } = place;
  return openStore({
    directory,
    stateDirectory,
    passphrase,
    registry: createRegistry([nosebleed]),
    projections: [diary],
    ...options,
  });
}

/** The keyring as `openStore` opens it; Argon2id is nearly all of its time. */
export async function openBenchKeyring(place: Place): Promise<Keyring> {
  const crypto = createNodeCrypto();
  const state = place.stateDirectory ?? stateFolder(process.env);
  const storeId = storeIdOf(crypto, place.directory, state);
  return openKeyring({
    crypto,
    random: systemRandom,
    files: keyringFiles(place.directory, state, storeId),
    openProvider: openSoftwareProvider({
      crypto,
      random: systemRandom,
      passphrase: utf8(passphrase),
    }),
    storeId,
  });
}

/** The store's own database through a connection for reading, to see what its rows look like. */
export function peek(place: Place): ReturnType<typeof connect> {
  return connect(place, true);
}

/** A connection to the store's own database. */
export async function connect(
  place: Place,
  readOnly: boolean,
): Promise<{ readonly driver: SqliteDriver; readonly pageKey: Uint8Array }> {
  const keyring = await openBenchKeyring(place);
  const pageKey = keyring.pageKey();
  keyring[Symbol.dispose]();
  const path = databasePath(place);
  return { driver: openSqlite({ path, pageKey, readOnly, create: false }), pageKey };
}

/** The table of the read model's present build. */
export function modelTable(driver: SqliteDriver): string {
  const found = driver
    .prepare(
      `SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB ?
       ORDER BY rowid DESC LIMIT 1`,
    )
    .get<{ readonly name: string }>(`model_${model}_[0-9]*`);
  if (found === undefined) throw new Error("the sample store has no read model");
  return found.name;
}

export function databasePath(place: Place): string {
  return join(place.directory, "store.db");
}

const alphabet = "abcdefghijklmnopqrstuvwxyz .,";

/** Drafts number `from` to `from + count`, spread over `streams` streams in turn. */
export function makeDrafts(
  from: number,
  count: number,
  streams: number,
  bytes = payloadBytes,
): readonly Draft[] {
  return Array.from({ length: count }, (_, at) => makeDraft(from + at, streams, bytes));
}

function makeDraft(number: number, streams: number, bytes: number): Draft {
  const stream = number % streams;
  // Flat text from a cheap sequence: a string that grew by `+=` would be flattened on the store's account.
  const notes = Buffer.alloc(bytes - 60);
  for (let at = 0, seed = number * 7_919 + 1; at < notes.length; at++) {
    seed = (seed * 48_271) % 2_147_483_647;
    notes[at] = alphabet.charCodeAt(seed % alphabet.length);
  }
  return {
    type: nosebleed.type,
    stream: `diary/${stream}`,
    scope: `patient/${stream % scopeCount}`,
    actor: "nurse/7",
    occurredAt: 1_790_000_000_000 + number,
    data: {
      minutes: number % 60,
      side: number % 2 === 0 ? "left" : "right",
      notes: notes.toString("latin1"),
    },
  };
}

/** What is appended before something is measured. */
interface Load {
  /** Number of the first; default 0. */
  readonly from?: number;
  readonly count: number;
  readonly each: number;
  readonly streams: number;
  /** Of one event; default 1 KB. */
  readonly payloadBytes?: number;
}

/** A new store at that place, open, with that in it. */
export async function makeLoadedStore(place: Place, events: Load): Promise<Holdfast> {
  await makeStore(place);
  const store = await openBenchStore(place);
  await load(store, events);
  return store;
}

/** Appends `count` events in calls of `each`; the data keys of all scopes exist afterwards. */
export async function load(store: Holdfast, options: Load): Promise<void> {
  const { from = 0, count, each, streams, payloadBytes: bytes } = options;
  for (let done = 0; done < count; done += each) {
    await store.append(makeDrafts(from + done, Math.min(each, count - done), streams, bytes));
  }
}
