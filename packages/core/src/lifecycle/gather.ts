/**
 * What of a store could be saved, from wherever it comes: headers by their leaves, frames that open to their
 * commitments, notes. Gathered in a database of its own, so that memory stays bounded; the first comer of a leaf
 * stays, and a frame that is present takes the place of one that is not.
 */
import type { Header } from "../event/event.ts";
import { parseHeader } from "../event/header.ts";
import type { Keyring } from "../keys/keyring.ts";
import { frameGeneration, openFrame } from "../seal/frame.ts";
import { base64url, fromBase64url, utf8 } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import type { BackedUpFrame } from "./backup-rows.ts";

/** Ports of gathering. `driver`: an empty database that is thrown away. */
export interface GatherDeps {
  readonly crypto: Crypto;
  readonly driver: SqliteDriver;
  readonly keyring: Pick<Keyring, "tenant" | "signingKeys" | "dataKey">;
}

/** An event that was gathered. */
export interface GatheredEvent {
  readonly leaf: string;
  readonly position: number;
  readonly header: string;
}

const tables = `
  PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;
  CREATE TABLE logs (number INTEGER PRIMARY KEY, device TEXT NOT NULL, incarnation TEXT NOT NULL,
    own INTEGER NOT NULL, UNIQUE (device, incarnation)) STRICT;
  CREATE TABLE events (leaf TEXT PRIMARY KEY, log INTEGER NOT NULL, sequence INTEGER NOT NULL,
    position INTEGER NOT NULL, header TEXT NOT NULL, UNIQUE (log, sequence)) STRICT;
  CREATE INDEX events_in_order ON events (position, log, sequence);
  CREATE TABLE frames (leaf TEXT NOT NULL, section TEXT NOT NULL, key TEXT NOT NULL,
    state TEXT NOT NULL, bytes BLOB, PRIMARY KEY (leaf, section)) STRICT;
  CREATE TABLE notes (log INTEGER NOT NULL, size INTEGER NOT NULL, root TEXT NOT NULL,
    note TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (log, size)) STRICT;`;

/** What is gathered; see the module header. */
export interface Gathered {
  readonly driver: SqliteDriver;
  /** Number of a device log, known by its names. */
  log(device: string, incarnation: string, number?: number): number;
  /** Takes an event whose header gives a leaf; its leaf, or `undefined` for what is no event of this tenant. */
  event(header: string, position: number, leaf?: string): string | undefined;
  /** Takes a frame of a gathered event, when it opens to its commitment, or its key is not here. */
  frame(leaf: string, frame: Omit<BackedUpFrame, "position">): boolean;
  note(log: number, note: { size: number; root: string; note: string; number: number }): void;
}

/** An empty gathering. */
export function createGathered(deps: GatherDeps): Gathered {
  const { crypto, driver, keyring } = deps;
  driver.exec(tables);
  const ownKeys = new Set(keyring.signingKeys().map(({ incarnation }) => incarnation));
  const findLog = driver.prepare("SELECT number FROM logs WHERE device = ? AND incarnation = ?");
  const putLog = driver.prepare(
    `INSERT INTO logs (number, device, incarnation, own)
     VALUES (coalesce(?, (SELECT coalesce(max(number), 0) + 1 FROM logs)), ?, ?, ?)`,
  );
  const putEvent = driver.prepare("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?)");
  const getHeader = driver.prepare("SELECT header FROM events WHERE leaf = ?");
  const putFrame = driver.prepare(
    `INSERT INTO frames VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
     SET key = excluded.key, state = excluded.state, bytes = excluded.bytes
     WHERE frames.state <> 'present' AND excluded.state = 'present'`,
  );
  const putNote = driver.prepare("INSERT OR IGNORE INTO notes VALUES (?, ?, ?, ?, ?)");

  function log(device: string, incarnation: string, number?: number): number {
    const known = findLog.get<{ number: number }>(device, incarnation);
    if (known !== undefined) return known.number;
    const taken =
      number !== undefined &&
      driver.prepare("SELECT 1 FROM logs WHERE number = ?").get(number) !== undefined;
    const own = ownKeys.has(incarnation) ? 1 : 0;
    putLog.run(taken || number === undefined ? null : number, device, incarnation, own);
    return findLog.get<{ number: number }>(device, incarnation)?.number ?? 0;
  }

  return {
    driver,
    log,
    event(text, position, expected) {
      const leaf = crypto.sha256(utf8(`\u0000${text}`));
      const name = base64url(leaf);
      const header = readHeader(text);
      const right = expected === undefined || expected === name;
      if (header === undefined || !right || header.ten !== keyring.tenant) return undefined;
      putEvent.run(name, log(header.dev, header.inc), header.seq, position, text);
      return getHeader.get(name) === undefined ? undefined : name;
    },
    frame(leaf, { section, key, state, bytes }) {
      const row = getHeader.get<{ header: string }>(leaf);
      const header = row === undefined ? undefined : readHeader(row.header);
      if (header?.sec?.[section] === undefined || header.sec[section].k !== key) return false;
      const sound = state !== "present" || opens(deps, header, leaf, { section, key, bytes });
      if (sound) putFrame.run(leaf, section, key, state, bytes);
      return sound;
    },
    note(number, { size, root, note, number: order }) {
      putNote.run(number, size, root, note, order);
    },
  };
}

/** A header that is one; `undefined` for anything else. */
export function readHeader(text: string): Header | undefined {
  try {
    return parseHeader(text) as Header;
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return undefined;
  }
}

/** Does it open to its commitment? A frame whose key is not here cannot be asked. */
function opens(
  { crypto, keyring }: GatherDeps,
  header: Header,
  leaf: string,
  frame: { readonly section: string; readonly key: string; readonly bytes: Uint8Array | null },
): boolean {
  const { section, bytes } = frame;
  const generation = bytes === null ? undefined : frameGeneration(bytes);
  if (bytes === null || generation === undefined) return false;
  const key = keyring.dataKey(frame.key, generation);
  if (key === undefined) return true;
  const commitment = fromBase64url(header.sec[section]?.c ?? "");
  const name = fromBase64url(leaf);
  if (commitment === undefined || name === undefined) return false;
  return openFrame(crypto, key, section, name, bytes, commitment) !== undefined;
}
