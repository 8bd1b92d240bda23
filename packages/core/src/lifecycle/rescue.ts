/**
 * Rescue bundles: what of a store no server holds, readable without the store's keys.
 *
 * A bundle is an archive as a backup is (manifest of kind `rescue`, digest, the device's signature), with the events
 * that were not delivered: their headers, their sections in the open (salt and plaintext, so that they are compared
 * with the commitments in the headers), the notes of their logs, and all leaves of these logs, from which the root in
 * the note follows. So it proves by itself what was recorded, after store and keyring are gone. It is personal data in
 * plaintext: whoever calls encrypts it before it touches a medium.
 */
import type { Header } from "../event/event.ts";
import type { Keyring } from "../keys/keyring.ts";
import { deviceLogOrigin, parseCheckpoint } from "../proof/checkpoint.ts";
import { createNoteVerifier, openNote } from "../proof/note.ts";
import { verifySignature } from "../proof/signature.ts";
import { createTreeBuilder, hashBytes } from "../proof/tree.ts";
import { commitSection, frameGeneration, openFrame, saltBytes } from "../seal/frame.ts";
import { base64, base64url, type Bytes, concat, fromBase64url, utf8 } from "../std/bytes.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { SqliteDriver, SqlValue } from "../store/sqlite-driver.ts";
import { readAccess } from "../sync/access-table.ts";
import {
  type Archive,
  type BackUpDeps,
  createArchive,
  logsOf,
  manifestOf,
  signerOf,
} from "./back-up.ts";
import {
  altered,
  createGatherer,
  entryName,
  formatRow,
  parseRows,
  unsound,
} from "./backup-rows.ts";
import {
  type InterlockDeps,
  makeRelease,
  noteAt,
  type RescueProof,
  undeliveredCount,
  undeliveredPositions,
} from "./interlock.ts";
import { headerOf, orAltered } from "./load-events.ts";
import { accountShreds } from "./shred-account.ts";
import { type BackedUpLog, formatManifest, manifestName } from "./manifest.ts";
import type { TarEntry } from "./tar.ts";

/** Columns of the lines of each kind of entry. */
const columns: Readonly<Record<string, number>> = {
  logs: ["device", "incarnation", "size", "note"].length,
  leaves: ["device", "incarnation", "first index", "hashes"].length,
  rescued: ["device", "incarnation", "index", "header"].length,
  sections: ["leaf", "section", "salt and plaintext"].length,
};

const leavesRead = 4_096;
const eventsRead = 32;

/** What a bundle needs: a connection of its own, in no transaction, and the keyring that opens sections. */
export interface RescueDeps extends BackUpDeps {
  readonly keyring: Pick<Keyring, "storeId" | "tenant" | "signer" | "dataKey" | "shreds">;
}

/** The archive of what was not delivered. Throws `backup_unsound` where a section does not open. */
export async function* rescueStore(deps: RescueDeps): AsyncGenerator<Bytes> {
  const { driver } = deps;
  driver.exec("BEGIN");
  try {
    const logs = logsOf(driver).filter(({ own }) => own);
    const events = undeliveredCount(driver);
    const manifest = manifestOf(deps, "rescue", logs, { rescued: events });
    const archive = createArchive(deps, manifest);
    yield* archive.put(manifestName, formatManifest(manifest));
    yield* putLogs(deps, logs, archive);
    yield* putUndelivered(deps, archive);
    yield* archive.finish(await signerOf(deps, manifest));
  } finally {
    driver.exec("ROLLBACK");
  }
}

function* putLogs(
  { driver }: RescueDeps,
  logs: readonly BackedUpLog[],
  archive: Archive,
): Generator<Bytes> {
  const rows = logs.map((log) => {
    return formatRow([log.device, log.incarnation, log.size, noteAt(driver, log) ?? ""]);
  });
  yield* archive.put(entryName("logs", 1), concat(...rows));
  const leaves = driver.prepare(
    `SELECT leaf FROM events JOIN incarnations ON incarnations.number = events.incarnation
     WHERE device = ? AND incarnations.incarnation = ? AND sequence > ?
     ORDER BY sequence LIMIT ${leavesRead}`,
  );
  let number = 0;
  for (const { device, incarnation } of logs) {
    for (let first = 0; ;) {
      const read = leaves.all<{ leaf: string }>(device, incarnation, first);
      if (read.length === 0) break;
      const hashes = concat(...read.map(({ leaf }) => fromBase64url(leaf) ?? new Uint8Array(0)));
      const row = formatRow([device, incarnation, first, hashes]);
      yield* archive.put(entryName("leaves", ++number), row);
      first += read.length;
    }
  }
}

interface UndeliveredRow {
  readonly leaf: string;
  readonly device: string;
  readonly incarnation: string;
  readonly sequence: number;
  readonly header: string;
}

function* putUndelivered(deps: RescueDeps, archive: Archive): Generator<Bytes> {
  const { driver } = deps;
  const select = driver.prepare(
    `SELECT leaf, device, incarnations.incarnation AS incarnation, sequence, header
     FROM events JOIN incarnations ON incarnations.number = events.incarnation
     WHERE position = ?`,
  );
  const frames = driver.prepare(
    "SELECT section, key, bytes FROM frames WHERE position = ? ORDER BY section",
  );
  const headers = createGatherer(limits.backupEntryBytes);
  const sections = createGatherer(limits.backupEntryBytes);
  const { isShredded } = accountOf(deps);
  let number = 0;
  for (let after = 0; ;) {
    const positions = undeliveredPositions(driver, after, eventsRead);
    for (const position of positions) {
      const row = select.get<UndeliveredRow>(position) as UndeliveredRow;
      headers.add(formatRow([row.device, row.incarnation, row.sequence - 1, row.header]));
      const { scope } = JSON.parse(row.header) as Header;
      const rows = frames
        .all<SectionRow>(position)
        .filter(({ section }) => !isShredded(scope, section));
      for (const [section, salted] of openSections(deps, position, row, rows)) {
        sections.add(formatRow([row.leaf, section, salted]));
      }
    }
    const last = positions.at(-1);
    const full = headers.isFull() || sections.isFull();
    if (full || (last === undefined && !headers.isEmpty())) {
      number += 1;
      yield* archive.put(entryName("rescued", number), headers.take());
      yield* archive.put(entryName("sections", number), sections.take());
    }
    if (last === undefined) return;
    after = last;
  }
}

interface SectionRow {
  readonly section: string;
  readonly key: string;
  readonly bytes: Uint8Array | null;
}

function openSections(
  { crypto, keyring }: RescueDeps,
  position: number,
  { leaf, header }: UndeliveredRow,
  frames: readonly SectionRow[],
): readonly (readonly [section: string, salted: Bytes])[] {
  const { sec } = JSON.parse(header) as Header;
  return frames.map(({ section, key: id, bytes }) => {
    const generation = bytes === null ? undefined : frameGeneration(bytes);
    const key = generation === undefined ? undefined : keyring.dataKey(id, generation);
    const commitment = fromBase64url(sec[section]?.c ?? "");
    const name = fromBase64url(leaf);
    const opened =
      key && bytes && commitment && name
        ? openFrame(crypto, key, section, name, bytes, commitment)
        : undefined;
    if (opened === undefined) throw unsound("section_closed", `event ${position}`);
    return [section, concat(opened.salt, opened.plaintext)] as const;
  });
}

/** What has no content because it was shredded, as log and keyring of the store say. */
function accountOf({
  driver,
  keyring,
}: {
  readonly driver: SqliteDriver;
  readonly keyring: Pick<Keyring, "shreds">;
}) {
  return accountShreds(readAccess(driver), keyring.shreds);
}

/** Verifies a bundle, entry by entry, against the store that it is to release. */
export interface RescueVerifier {
  /** Throws `backup_altered`, `backup_unsound`. */
  entry(entry: TarEntry): void;
  /**
   * Once the digest was signed: throws `backup_unsound` where the bundle does not prove itself, `interlock_stale`
   * where an undelivered event of the store is not in it.
   */
  finish(): RescueProof;
}

interface NeededSection {
  readonly scope: string;
  readonly section: string;
  /** As sections name themselves: their name and commitment. */
  readonly said: string;
}

interface BundledLog {
  readonly size: number;
  readonly note: string;
  readonly leaves: string[];
}

/** A verifier for a bundle of that store. */
export function createRescueVerifier(
  deps: InterlockDeps & {
    readonly keyring: Pick<Keyring, "storeId" | "tenant" | "signingKeys" | "shreds">;
  },
): RescueVerifier {
  const { crypto, driver } = deps;
  const logs = new Map<string, BundledLog>();
  const events = new Map<string, ReadonlySet<string>>();
  const needed = new Map<string, readonly NeededSection[]>();
  const opened = new Set<string>();

  const takers: Readonly<Record<string, (entry: string, row: readonly SqlValue[]) => void>> = {
    logs(entry, [device, incarnation, size, note]) {
      if (typeof size !== "number" || typeof note !== "string") throw altered(entry);
      logs.set(`${String(device)}/${String(incarnation)}`, { size, note, leaves: [] });
    },
    leaves(entry, [device, incarnation, first, hashes]) {
      const log = logs.get(`${String(device)}/${String(incarnation)}`);
      const whole = hashes instanceof Uint8Array && hashes.length % hashBytes === 0;
      if (log === undefined || first !== log.leaves.length || !whole) throw altered(entry);
      for (let at = 0; at < hashes.length; at += hashBytes) {
        log.leaves.push(base64url(hashes.subarray(at, at + hashBytes)));
      }
    },
    rescued(entry, [device, incarnation, index, header]) {
      if (typeof header !== "string" || typeof index !== "number") throw altered(entry);
      const leaf = base64url(crypto.sha256(utf8(`\u0000${header}`)));
      const log = logs.get(`${String(device)}/${String(incarnation)}`);
      if (log?.leaves[index] !== leaf) throw unsound("leaf_wrong", entry);
      const { sec, scope } = headerOf(entry, header);
      // Not signed yet: what its header holds may be anything.
      orAltered(entry, () => {
        const named = Object.entries(sec).map(([name, { c }]) => [name, `${name} ${c}`] as const);
        events.set(leaf, new Set(named.map(([, said]) => said)));
        needed.set(
          leaf,
          named.map(([section, said]) => ({ scope, section, said })),
        );
      });
    },
    sections(entry, [leaf, section, salted]) {
      if (!(salted instanceof Uint8Array) || salted.length < saltBytes) throw altered(entry);
      const [salt, plaintext] = [salted.subarray(0, saltBytes), salted.subarray(saltBytes)];
      const said = `${String(section)} ${base64url(commitSection(crypto, salt, plaintext))}`;
      if (events.get(String(leaf))?.has(said) !== true) throw unsound("commitment_wrong", entry);
      opened.add(`${String(leaf)} ${said}`);
    },
  };

  return {
    entry({ name, content }) {
      const kind = name.split("/")[0] ?? "";
      const take = takers[kind];
      if (take === undefined) throw altered(name);
      for (const row of parseRows(name, content, columns[kind] ?? 0)) take(name, row);
    },
    finish() {
      for (const [name, log] of logs) checkRoot(deps, name, log);
      const { isShredded } = accountOf(deps);
      for (const [leaf, sections] of needed) {
        for (const { scope, section, said } of sections) {
          // What was shredded need not be in it.
          if (opened.has(`${leaf} ${said}`) || isShredded(scope, section)) continue;
          throw unsound("section_missing", `leaf ${leaf}`);
        }
      }
      const leafOf = driver.prepare("SELECT leaf FROM events WHERE position = ?");
      for (let after = 0; ;) {
        const positions = undeliveredPositions(driver, after, leavesRead);
        for (const position of positions) {
          const leaf = leafOf.get<{ leaf: string }>(position)?.leaf ?? "";
          if (!events.has(leaf)) throw new HoldfastError("interlock_stale", { position });
        }
        const last = positions.at(-1);
        if (last === undefined) break;
        after = last;
      }
      return makeRelease("rescued", deps);
    },
  };
}

/** The leaves give the root of the note, which the key of that log signed. */
function checkRoot(
  { crypto, keyring }: Parameters<typeof createRescueVerifier>[0],
  name: string,
  log: BundledLog,
): void {
  const [device = "", incarnation = ""] = name.split("/");
  const key = keyring.signingKeys().find((record) => record.incarnation === incarnation);
  const tree = createTreeBuilder(crypto);
  for (const leaf of log.leaves) tree.append(fromBase64url(leaf) ?? new Uint8Array(0));
  try {
    const origin = deviceLogOrigin({ tenant: keyring.tenant, device, incarnation });
    const verifier = key && createNoteVerifier(crypto, { name: origin, ...key });
    const opened = openNote(log.note, verifier === undefined ? [] : [verifier], (...signed) =>
      verifySignature(crypto, ...signed),
    );
    const said = opened.status === "verified" ? parseCheckpoint(opened.text) : undefined;
    const agrees =
      said?.origin === origin &&
      said.size === tree.size &&
      base64(said.root) === base64(tree.root());
    if (agrees && tree.size === log.size) return;
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
  }
  throw unsound("note_wrong", `log ${incarnation}`);
}
