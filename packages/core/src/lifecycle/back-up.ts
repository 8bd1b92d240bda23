/**
 * Writing a backup: a consistent snapshot of a store as an archive, in pieces.
 *
 * The snapshot is a read transaction on a connection of its own: appends go on beside it. The manifest comes first,
 * then the rows, table by table, at last the digest of it all, signed by the device. No keys and nothing that can be
 * made again from the events is inside (`backup-rows.ts`). The archive is plaintext in its headers: whoever calls
 * encrypts it before it touches a medium.
 */
import type { Keyring } from "../keys/keyring.ts";
import { base64, type Bytes, utf8 } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock, Crypto } from "../std/ports.ts";
import { storeFormat } from "../store/schema.ts";
import type { SqliteDriver, SqlValue } from "../store/sqlite-driver.ts";
import {
  type BackedUpFrame,
  type BackedUpTable,
  createGatherer,
  entryName,
  frameParts,
  formatRow,
  tablesAfter,
  tablesBefore,
} from "./backup-rows.ts";
import {
  type BackedUpLog,
  backupFormat,
  type BackupKind,
  type BackupManifest,
  createRunningDigest,
  digestName,
  digestStatement,
  formatDigest,
  formatManifest,
  manifestName,
} from "./manifest.ts";
import { tarEnd, tarHeader, tarPadding } from "./tar.ts";

/** What a backup needs: a connection of its own, in no transaction, and the keyring of the store. */
export interface BackUpDeps {
  readonly crypto: Crypto;
  readonly clock: Clock;
  readonly driver: SqliteDriver;
  readonly keyring: Pick<Keyring, "storeId" | "tenant" | "signer">;
  /** Build id of the software. */
  readonly app: string;
}

/** Rows that are read at once: few, because a row may have the size of the largest event. */
const rowsRead = 64;

/** The archive of a whole store, piece by piece. Throws the storage codes. */
export async function* backUpStore(deps: BackUpDeps): AsyncGenerator<Bytes> {
  const { driver } = deps;
  driver.exec("BEGIN");
  try {
    const manifest = describe(deps);
    const entries = createArchive(deps, manifest);
    yield* entries.put(manifestName, formatManifest(manifest));
    for (const table of tablesBefore) yield* putTable(driver, table, entries);
    yield* putEvents(driver, entries);
    for (const table of tablesAfter) yield* putTable(driver, table, entries);
    yield* entries.finish(await signerOf(deps, manifest));
  } finally {
    driver.exec("ROLLBACK");
  }
}

/** What a backup says of itself before everything else. */
export function manifestOf(
  deps: Pick<BackUpDeps, "clock" | "keyring" | "app">,
  kind: BackupKind,
  logs: readonly BackedUpLog[],
  rows: Readonly<Record<string, number>>,
): BackupManifest {
  return {
    format: backupFormat,
    kind,
    store: deps.keyring.storeId,
    tenant: deps.keyring.tenant,
    createdAt: deps.clock.now(),
    storeFormat,
    app: deps.app,
    logs,
    rows,
  };
}

function describe(deps: BackUpDeps): BackupManifest {
  const { driver } = deps;
  const rows: Record<string, number> = {};
  const count = (name: string, where = "1"): void => {
    const row = driver.prepare(`SELECT count(*) AS n FROM ${name} WHERE ${where}`);
    rows[name] = row.get<{ n: number }>()?.n ?? 0;
  };
  for (const { name, where } of [...tablesBefore, ...tablesAfter]) count(name, where);
  count("events");
  count("frames");
  return manifestOf(deps, "store", logsOf(driver), rows);
}

/** Every device log with its newest note. */
export function logsOf(driver: SqliteDriver): readonly BackedUpLog[] {
  return driver
    .prepare(
      `SELECT device, incarnations.incarnation AS incarnation, own,
              coalesce(size, 0) AS size, coalesce(root, '') AS root
       FROM incarnations LEFT JOIN commits ON commits.incarnation = incarnations.number
         AND size = (SELECT max(size) FROM commits AS newest
           WHERE newest.incarnation = incarnations.number)
       ORDER BY incarnations.number`,
    )
    .all<Omit<BackedUpLog, "own"> & { readonly own: number }>()
    .map((row) => ({ ...row, own: row.own === 1 }));
}

/** The newest own log signs. */
export async function signerOf(
  { keyring }: Pick<BackUpDeps, "keyring">,
  manifest: BackupManifest,
): Promise<{ readonly incarnation: string; sign(message: Uint8Array): Promise<Bytes> }> {
  const own = manifest.logs.findLast((log) => log.own);
  if (own === undefined) throw new HoldfastError("keyring_record_missing", { record: "signing" });
  const sign = await keyring.signer(own.incarnation);
  return {
    incarnation: own.incarnation,
    sign: async (message) => Uint8Array.from(await sign(message)),
  };
}

/** An archive under way. */
export function createArchive(deps: Pick<BackUpDeps, "crypto">, manifest: BackupManifest) {
  const seconds = Math.floor(manifest.createdAt / 1_000);
  const digest = createRunningDigest(deps.crypto);

  function* put(name: string, content: Uint8Array): Generator<Bytes> {
    digest.add(name, content);
    yield* entryPieces(name, content, seconds);
  }

  return {
    put,
    async *finish(signer: {
      readonly incarnation: string;
      sign(message: Uint8Array): Promise<Bytes>;
    }): AsyncGenerator<Bytes> {
      const said = {
        entries: digest.count(),
        digest: digest.value(),
        signer: signer.incarnation,
      };
      const signature = base64(await signer.sign(digestStatement(said)));
      yield* entryPieces(digestName, formatDigest({ ...said, signature }), seconds);
      yield tarEnd();
    },
  };
}

/** The pieces of one archive, in their order. */
export type Archive = ReturnType<typeof createArchive>;

function* entryPieces(name: string, content: Uint8Array, seconds: number): Generator<Bytes> {
  yield tarHeader(name, content.length, seconds);
  yield content as Bytes;
  yield tarPadding(content.length);
}

function* putTable(
  driver: SqliteDriver,
  { name, columns, values, where = "1" }: BackedUpTable,
  archive: Archive,
): Generator<Bytes> {
  const named = values.map((value, at) => `${value} AS c${at}`).join(", ");
  const page = driver.prepare(
    `SELECT rowid AS place, ${named} FROM ${name} WHERE ${where} AND rowid > ?
     ORDER BY rowid LIMIT ${rowsRead}`,
  );
  const rows = createGatherer(limits.backupEntryBytes);
  let number = 0;
  for (let after = Number.MIN_SAFE_INTEGER; ;) {
    const read = page.all<Readonly<Record<string, SqlValue>>>(after);
    for (const row of read) {
      rows.add(formatRow(columns.map((_, at) => row[`c${at}`] ?? null)));
      if (rows.isFull()) yield* archive.put(entryName(name, ++number), rows.take());
    }
    const last = read.at(-1)?.["place"];
    if (typeof last !== "number") break;
    after = last;
  }
  if (!rows.isEmpty()) yield* archive.put(entryName(name, ++number), rows.take());
}

interface EventRow {
  readonly position: number;
  readonly header: string;
}

/** Events, each entry of headers followed by the entry of their frames. */
function* putEvents(driver: SqliteDriver, archive: Archive): Generator<Bytes> {
  const events = driver.prepare(
    `SELECT position, header FROM events WHERE position > ? ORDER BY position LIMIT ${rowsRead}`,
  );
  const frames = driver.prepare(
    `SELECT position, section, key, state, bytes FROM frames
     WHERE position > ? AND position <= ? ORDER BY position, section`,
  );
  const headers = createGatherer(limits.backupEntryBytes);
  const bodies = createGatherer(limits.backupEntryBytes);
  let number = 0;
  for (let after = 0; ;) {
    const read = events.all<EventRow>(after);
    const last = read.at(-1)?.position;
    if (last !== undefined) {
      headers.add(utf8(read.map(({ header }) => `${header}\n`).join("")));
      for (const frame of frames.all<BackedUpFrame>(after, last)) {
        for (const part of frameParts(frame)) bodies.add(part);
      }
      after = last;
    }
    const full = headers.isFull() || bodies.isFull();
    if (full || (last === undefined && !headers.isEmpty())) {
      number += 1;
      yield* archive.put(entryName("events", number), headers.take());
      yield* archive.put(entryName("frames", number), bodies.take());
    }
    if (last === undefined) return;
  }
}
