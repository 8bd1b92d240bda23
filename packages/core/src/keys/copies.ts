/**
 * The two copies of the keyring file: read, merged, written.
 *
 * Every line carries the generation of the file it was written for; a rewrite (shred, rotation) raises it.
 * Copies of one generation are merged line by line, so what is damaged in one comes from the other; of two
 * generations the higher counts alone, or a shredded key would come back. Reading never writes. A write
 * first brings a copy that is missing, stale, torn or short to the merged content, by replacing it.
 */
import { type Bytes, concat, fromUtf8, utf8 } from "../std/bytes.ts";
import { HoldfastError, isMediumFailure } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Crypto } from "../std/ports.ts";
import { type HeaderRecord, type KeyringRecord, decodeLines, keyringFormat } from "./record.ts";

/** One copy of the keyring on its medium, whose failures have the codes of {@link isMediumFailure}. */
export interface RecordFile {
  /** The whole content, or `undefined` when there is no such file. */
  read(): Bytes | undefined;
  /** Changes whenever the content does (file identity, size, time); `undefined` without a file. Cheap. */
  version(): string | undefined;
  /** Adds at the end; durable when it returns. The file must exist. */
  append(bytes: Uint8Array): void;
  /** Puts this content in place of the old one or of nothing, atomically; durable when it returns. */
  replace(bytes: Uint8Array): void;
  /** Makes durable what stands there, whoever wrote it; nothing to do without a file. */
  sync(): void;
}

/** Which copy of the keyring. */
export type CopyName = "store" | "registered";

/** The copy in the store's folder, and the registered one outside it. */
export type KeyringFiles = Readonly<Record<CopyName, RecordFile>>;

/** Kinds of findings about the copies of a keyring. */
export type KeyringFindingCode =
  /** A copy is not there; the next write restores it. */
  | "keyring_copy_missing"
  /** A copy is of an older generation than the other; the next write replaces it. */
  | "keyring_copy_stale"
  /** A line fails its checksum. */
  | "keyring_line_damaged"
  /** The last line is unfinished, as a crash while appending leaves it. */
  | "keyring_line_torn"
  /** A record stands in the other copy only; the next write adds it. */
  | "keyring_line_missing"
  /** A record's checksum fits and its fields are not those of its kind. */
  | "keyring_record_invalid";

/** Something wrong with one copy of a keyring. */
export interface KeyringFinding {
  readonly code: KeyringFindingCode;
  readonly copy: CopyName;
  /** Line number from 1; 0 for the copy as a whole. */
  readonly line: number;
}

/** Both copies, the store's own first. */
export const copyNames = ["store", "registered"] as const;

/** What both copies say together. */
export interface Merged {
  readonly header: HeaderRecord;
  /** In file order, header included, unknown kinds left out. */
  readonly records: readonly KeyringRecord[];
  readonly findings: readonly KeyringFinding[];
  /** Was any line damaged or torn? Then what is absent may be lost rather than never written. */
  readonly damaged: boolean;
  /** Lines of kinds that this release does not know. */
  readonly unknown: number;
}

/** Both copies of a keyring, read and written as one. */
export interface Copies {
  /** Throws `keyring_missing`, `keyring_corrupt`, `keyring_newer`, `keyring_foreign`, `keyring_too_large`. */
  load(): Merged;
  /** Has a copy changed since it was last read or written here? */
  changed(): boolean;
  /** Adds lines to both copies and repairs what can be repaired; durable when it returns. */
  write(lines: readonly Bytes[]): void;
  /** Puts these lines, of a higher generation, in place of both copies; durable when it returns. */
  replace(lines: readonly Bytes[]): void;
  /** The text of one copy as it lies on the medium. */
  text(name: CopyName): Bytes;
  /**
   * Makes durable what was read, in both copies where that can be: a process that was killed, or whose sync
   * failed, leaves lines that are there to read and gone after a power cut, or in one copy only. Nothing may
   * be sealed with them before this.
   */
  settle(): void;
}

interface Copy {
  readonly name: CopyName;
  readonly present: boolean;
  readonly ended: boolean;
  readonly generation: number;
  readonly header: HeaderRecord | undefined;
  readonly records: ReadonlyMap<string, { readonly record: KeyringRecord; readonly line: number }>;
  readonly damaged: readonly Bytes[];
  readonly findings: readonly KeyringFinding[];
}

const newline = Uint8Array.of(10);

function readCopy(crypto: Crypto, name: CopyName, file: RecordFile): Copy {
  const content = file.read();
  if (content !== undefined && content.length > limits.keyringBytesMax) {
    throw new HoldfastError("keyring_too_large", { copy: name, bytes: content.length });
  }
  const lines = content === undefined ? [] : decodeLines(crypto, content);
  let generation = 0;
  let header: HeaderRecord | undefined;
  for (const line of lines) {
    if (line.state !== "record") continue;
    generation = Math.max(generation, line.record.file);
    if (line.record.kind === "keyring") header = line.record;
  }
  const records = new Map<string, { readonly record: KeyringRecord; readonly line: number }>();
  const damaged: Bytes[] = [];
  const findings: KeyringFinding[] = [];
  if (content === undefined) findings.push({ code: "keyring_copy_missing", copy: name, line: 0 });
  for (const [index, line] of lines.entries()) {
    const at = index + 1;
    if (line.state === "record" && line.record.file === generation) {
      records.set(fromUtf8(line.raw), { record: line.record, line: at });
      continue;
    }
    const code =
      line.state === "torn"
        ? "keyring_line_torn"
        : line.state === "damaged"
          ? "keyring_line_damaged"
          : "keyring_record_invalid";
    findings.push({ code, copy: name, line: at });
    if (line.state !== "torn") damaged.push(line.raw);
  }
  const ended = content === undefined || content.length === 0 || content.at(-1) === 10;
  const present = content !== undefined;
  return { name, present, ended, generation, header, records, damaged, findings };
}

function checkHeaders(copies: readonly Copy[], generation: number): HeaderRecord {
  const headers = copies.flatMap(({ header }) => (header === undefined ? [] : [header]));
  const newer = headers.find(({ format }) => format > keyringFormat);
  if (newer !== undefined) throw new HoldfastError("keyring_newer", { format: newer.format });
  const header = headers.find(({ file }) => file === generation);
  if (header === undefined) throw new HoldfastError("keyring_corrupt", { record: "keyring" });
  for (const other of headers) {
    if (other.store !== header.store || other.tenant !== header.tenant) {
      throw new HoldfastError("keyring_foreign", { store: header.store, other: other.store });
    }
  }
  return header;
}

interface Plan {
  readonly merged: Merged;
  readonly texts: ReadonlySet<string>;
  /** What to put in place of a copy; a copy without an entry is as it should be. */
  readonly replacements: ReadonlyMap<CopyName, readonly Bytes[]>;
}

function merge(copies: readonly Copy[]): Plan {
  if (copies.every(({ present }) => !present)) throw new HoldfastError("keyring_missing");
  const generation = Math.max(...copies.map((copy) => copy.generation));
  const header = checkHeaders(copies, generation);
  const union = new Map<string, KeyringRecord>();
  // The fuller copy gives the order, so that a repaired copy equals it byte by byte.
  for (const copy of copies.toSorted((a, b) => b.records.size - a.records.size)) {
    if (copy.generation !== generation) continue;
    for (const [text, { record }] of copy.records) if (!union.has(text)) union.set(text, record);
  }
  const lineOf = (text: string): Bytes => concat(utf8(text), newline);
  const replacements = new Map<CopyName, readonly Bytes[]>();
  const findings: KeyringFinding[] = [];
  for (const copy of copies) {
    findings.push(...copy.findings);
    const stale = copy.generation !== generation;
    if (copy.present && stale)
      findings.push({ code: "keyring_copy_stale", copy: copy.name, line: 0 });
    const lacking = stale ? union.size : union.size - copy.records.size;
    if (lacking > 0 && !stale) {
      const other = copies.find(({ name }) => name !== copy.name);
      const first = [...(other?.records ?? [])].find(([text]) => !copy.records.has(text));
      findings.push({ code: "keyring_line_missing", copy: copy.name, line: first?.[1].line ?? 0 });
    }
    const torn = !copy.ended;
    if (lacking === 0 && !torn) continue;
    // A damaged line for which no healthy twin came from the other copy may be all that is left of a key.
    const kept = !stale && copy.damaged.length > lacking ? copy.damaged : [];
    replacements.set(copy.name, [
      ...[...union.keys()].map(lineOf),
      ...kept.map((raw) => concat(raw, newline)),
    ]);
  }
  const damaged = copies.some((copy) => copy.damaged.length > 0 || !copy.ended);
  const records = [...union.values()].filter(({ kind }) => kind !== "unknown");
  return {
    merged: { header, records, findings, damaged, unknown: union.size - records.length },
    texts: new Set(union.keys()),
    replacements,
  };
}

/** The caller syncs what there is, which fails when nothing can be written. */
function unlessUnwritable(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!isMediumFailure(error)) throw error;
  }
}

/** Both copies as one record file. */
export function openCopies(crypto: Crypto, files: KeyringFiles): Copies {
  let versions: Readonly<Record<CopyName, string | undefined>> | undefined;
  let repairable = true;
  let settled = false;
  const versionsNow = (): Record<CopyName, string | undefined> => ({
    store: files.store.version(),
    registered: files.registered.version(),
  });
  const read = (): Plan => {
    // Versions first: a change while reading is seen as one afterwards.
    const before = versionsNow();
    const plan = merge(copyNames.map((name) => readCopy(crypto, name, files[name])));
    versions = before;
    settled = false;
    repairable = plan.replacements.size > 0;
    return plan;
  };
  const changed = (): boolean => {
    const now = versionsNow();
    return versions === undefined || copyNames.some((name) => now[name] !== versions?.[name]);
  };
  const write = (lines: readonly Bytes[]): void => {
    const plan = repairable || changed() ? read() : undefined;
    // Until both copies are written nobody knows what they hold: a failure makes the next call read.
    versions = undefined;
    const fresh = lines.filter((line) => !plan?.texts.has(fromUtf8(line.subarray(0, -1))));
    for (const name of copyNames) {
      const instead = plan?.replacements.get(name);
      if (instead !== undefined) files[name].replace(concat(...instead, ...fresh));
      else if (fresh.length > 0) files[name].append(concat(...fresh));
    }
    versions = versionsNow();
    repairable = false;
  };
  return {
    load: () => read().merged,
    changed,
    write,
    replace(lines) {
      versions = undefined;
      settled = false;
      const content = concat(...lines);
      for (const name of copyNames) files[name].replace(content);
      versions = versionsNow();
      repairable = false;
    },
    text: (name) => files[name].read() ?? new Uint8Array(0),
    settle() {
      if (settled) return;
      // A key in one copy alone is lost with it. Where the other cannot be written now, one must do.
      if (repairable) unlessUnwritable(() => write([]));
      for (const name of copyNames) files[name].sync();
      settled = true;
    },
  };
}
