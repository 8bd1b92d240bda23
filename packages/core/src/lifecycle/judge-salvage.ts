/**
 * What of gathered events makes a store again, and what is missing, by whose proof.
 *
 * An own log has no gaps and ends at a note that its key signed. It is cut at the last such note before the first
 * event that nobody has: its *base*. What stands behind the cut and was not with the server is a *survivor*: it is
 * recorded anew in the incarnation that goes on, under its id.
 */
import { noPrevious } from "../event/event.ts";
import type { Keyring } from "../keys/keyring.ts";
import { deviceLogOrigin, formatCheckpoint, parseCheckpoint } from "../proof/checkpoint.ts";
import { derFromP1363 } from "../proof/ecdsa-der.ts";
import { createNoteVerifier, formatNote, noteKeyId, openNote, parseNote } from "../proof/note.ts";
import { verifySignature } from "../proof/signature.ts";
import { createTreeBuilder } from "../proof/tree.ts";
import { base64, fromBase64url, utf8 } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Crypto } from "../std/ports.ts";
import { type Mark, readMark } from "../store/mark.ts";
import type { MarksDeps } from "../store/restored.ts";
import { type Gathered, readHeader } from "./gather.ts";

/** Who says that an own log reaches a size. */
export type Attestor = "note" | "mark" | "receipt";

/** A run of own events that no source had. */
export interface MissingEvents {
  readonly incarnation: string;
  /** Sequence numbers, both ends included. */
  readonly from: number;
  readonly to: number;
  /** Who proves that they were recorded. */
  readonly by: Attestor;
  /** The server has them: the next sync brings them back. */
  readonly withServer: boolean;
}

/** What becomes of one own log. */
export interface SalvagedLog {
  readonly number: number;
  readonly device: string;
  readonly incarnation: string;
  /** Events up to here make the log of the new store. */
  readonly base: number;
  /** No note of the base was left; the mark attests it, and the own key signs it again. */
  readonly unsigned: boolean;
  /** Size that the mark attests: 0 without one. */
  readonly marked: number;
  /** The size that somebody proves, at least `base`. */
  readonly attested: number;
  /** Behind the base up to here the next sync fetches from the server; at most the base: nothing to fetch. */
  readonly receipted: number;
  /** Events behind the base that are recorded anew. */
  readonly survivors: number;
  readonly missing: readonly MissingEvents[];
}

/** What the server was known to hold of an own log: its receipted size, and owed indices as half-open ranges. */
export interface KnownReceipt {
  readonly size: number;
  readonly owed: readonly (readonly [number, number])[];
}

/** Ports of judging: the keyring whose own logs are judged, and the marks that attest them. */
export interface JudgeSalvageDeps extends MarksDeps {
  readonly crypto: Crypto;
  readonly keyring: Pick<Keyring, "tenant" | "signingKeys" | "markMac">;
}

interface LogRow {
  readonly number: number;
  readonly device: string;
  readonly incarnation: string;
}

/** Judges every own log; receipts by number of the log. */
export function judgeOwnLogs(
  deps: JudgeSalvageDeps,
  gathered: Gathered,
  receipts: ReadonlyMap<number, KnownReceipt>,
): readonly SalvagedLog[] {
  // A log of which nothing is left is known by its key, and by its mark.
  for (const { device, incarnation } of deps.keyring.signingKeys())
    gathered.log(device, incarnation);
  return gathered.driver
    .prepare("SELECT number, device, incarnation FROM logs WHERE own = 1 ORDER BY number")
    .all<LogRow>()
    .map((log) => judgeLog(deps, gathered, log, receipts.get(log.number)));
}

function judgeLog(
  deps: JudgeSalvageDeps,
  gathered: Gathered,
  log: LogRow,
  receipt: KnownReceipt = { size: 0, owed: [] },
): SalvagedLog {
  const { driver } = gathered;
  const highest = (sql: string): number =>
    driver.prepare(sql).get<{ n: number | null }>(log.number)?.n ?? 0;
  const noted = highest("SELECT max(size) AS n FROM notes WHERE log = ?");
  const seen = highest("SELECT max(sequence) AS n FROM events WHERE log = ?");
  const { mark } = readMark(deps.keyring.markMac(), deps.medium.markFile(log.incarnation));
  const { base, unsigned } = baseOf(deps, gathered, log, mark);
  const claims: readonly (readonly [Attestor, number])[] = [
    ["note", Math.max(noted, seen)],
    ["mark", mark?.size ?? 0],
    ["receipt", receipt.size],
  ];
  const attested = Math.max(base, ...claims.map(([, size]) => size));
  const by = (sequence: number): Attestor =>
    claims.find(([, size]) => size >= sequence)?.[0] ?? "note";
  const held = (sequence: number): boolean =>
    sequence <= receipt.size &&
    !receipt.owed.some(([from, to]) => sequence > from && sequence <= to);
  // The server gives back what it holds whole, up to a limit; else everything that is here is recorded anew.
  const joins =
    receipt.size - base <= limits.ownEventsTakenMax && !receipt.owed.some(([, to]) => to > base);
  const receipted = joins ? receipt.size : base;
  const missing: MissingEvents[] = [];
  let survivors = 0;
  const has = driver.prepare("SELECT 1 AS n FROM events WHERE log = ? AND sequence = ?");
  for (let sequence = base + 1; sequence <= attested; sequence++) {
    const withServer = held(sequence);
    if (sequence > receipted && has.get(log.number, sequence) !== undefined) {
      survivors += 1;
      continue;
    }
    const last = missing.at(-1);
    const run = { incarnation: log.incarnation, by: by(sequence), withServer };
    const follows =
      last?.to === sequence - 1 && last.by === run.by && last.withServer === withServer;
    if (follows) missing[missing.length - 1] = { ...last, to: sequence };
    else missing.push({ ...run, from: sequence, to: sequence });
  }
  return {
    ...log,
    base,
    unsigned,
    marked: mark?.size ?? 0,
    attested,
    receipted,
    survivors,
    missing,
  };
}

/**
 * The size of the last signed note that whole events stand under; or that of the mark, which is authenticated by a key
 * of the keyring, where the events give its root.
 */
function baseOf(
  deps: JudgeSalvageDeps,
  gathered: Gathered,
  log: LogRow,
  mark: Mark | undefined,
): { readonly base: number; readonly unsigned: boolean } {
  const { crypto } = deps;
  const { driver } = gathered;
  const page = driver.prepare(
    `SELECT sequence, leaf, header FROM events WHERE log = ? AND sequence > ?
     ORDER BY sequence LIMIT 256`,
  );
  const noteAt = driver.prepare("SELECT root, note FROM notes WHERE log = ? AND size = ?");
  const drop = driver.prepare("DELETE FROM notes WHERE log = ? AND size = ?");
  const tree = createTreeBuilder(crypto);
  const fitting: number[] = [];
  let marked = 0;
  let previous = noPrevious;
  for (let whole = true; whole;) {
    const after = tree.size;
    const rows = page.all<{ sequence: number; leaf: string; header: string }>(log.number, after);
    whole = rows.length > 0;
    for (const { sequence, leaf, header } of rows) {
      whole &&= sequence === tree.size + 1 && readHeader(header)?.prev === previous;
      if (!whole) break;
      tree.append(fromBase64url(leaf) as Uint8Array<ArrayBuffer>);
      previous = leaf;
      const note = noteAt.get<{ root: string; note: string }>(log.number, sequence);
      const isMarked = mark?.size === sequence;
      if (note === undefined && !isMarked) continue;
      const root = base64(tree.root());
      if (isMarked && mark.root === root) marked = sequence;
      if (note?.root === root) fitting.push(sequence);
      else if (note !== undefined) drop.run(log.number, sequence);
    }
  }
  // The newest signature covers every earlier root.
  const signed = fitting.findLast((size) => isSigned(deps, gathered, log, size)) ?? 0;
  return signed >= marked ? { base: signed, unsigned: false } : { base: marked, unsigned: true };
}

/** Signs again what the marks attest where the note was lost: the same statement, by the same key. */
export async function signAttested(
  {
    crypto,
    keyring,
  }: Pick<JudgeSalvageDeps, "crypto"> & {
    readonly keyring: Pick<Keyring, "tenant" | "signingKeys" | "signer">;
  },
  gathered: Gathered,
  logs: readonly SalvagedLog[],
): Promise<void> {
  const leaves = gathered.driver.prepare(
    "SELECT leaf FROM events WHERE log = ? AND sequence > ? ORDER BY sequence LIMIT 256",
  );
  for (const { number, device, incarnation, base } of logs.filter(({ unsigned }) => unsigned)) {
    const key = keyring.signingKeys().find((one) => one.incarnation === incarnation);
    if (key === undefined) continue;
    const tree = createTreeBuilder(crypto);
    while (tree.size < base) {
      for (const { leaf } of leaves.all<{ leaf: string }>(number, tree.size)) {
        if (tree.size < base) tree.append(fromBase64url(leaf) as Uint8Array<ArrayBuffer>);
      }
    }
    const name = deviceLogOrigin({ tenant: keyring.tenant, device, incarnation });
    const statement = formatCheckpoint({ origin: name, size: base, root: tree.root() });
    const sign = await keyring.signer(incarnation);
    const made = await sign(utf8(statement));
    const { algorithm } = key;
    const signature = algorithm === "ecdsa-p256" ? derFromP1363(made) : made;
    const keyId = noteKeyId(crypto, { name, ...key });
    const note = formatNote(statement, [{ name, keyId, signature }]);
    const root = base64(tree.root());
    gathered.note(number, { size: base, root, note, number: Number.MAX_SAFE_INTEGER });
  }
}

function isSigned(
  { crypto, keyring }: JudgeSalvageDeps,
  { driver }: Gathered,
  log: LogRow,
  size: number,
): boolean {
  const key = keyring.signingKeys().find(({ incarnation }) => incarnation === log.incarnation);
  const row = driver
    .prepare("SELECT root, note FROM notes WHERE log = ? AND size = ?")
    .get<{ root: string; note: string }>(log.number, size);
  if (key === undefined || row === undefined) return false;
  const name = deviceLogOrigin({ tenant: keyring.tenant, ...log });
  try {
    const verifier = createNoteVerifier(crypto, { name, ...key });
    const opened = openNote(row.note, [verifier], (...signed) =>
      verifySignature(crypto, ...signed),
    );
    const said = parseCheckpoint(parseNote(row.note).text);
    return opened.status === "verified" && said.size === size && base64(said.root) === row.root;
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return false;
  }
}
