/**
 * The high-water mark: what this installation last knew of its store, kept outside the store's folder.
 *
 * Page authentication and signatures cannot see an older copy of the whole store. The mark can: it says how
 * many events the store held, under which root, in which folder. Two slots are written in turn, after COMMIT
 * and before the answer, without fsync: the mark may lag, it never leads.
 */
import { equalSecretBytes, fromBase64, base64, type Bytes, fromUtf8, utf8 } from "../std/bytes.ts";
import { canonicalJson } from "../std/jcs.ts";
import type { Mac } from "../std/ports.ts";

/** Bytes of one slot; the text is padded with spaces. */
export const markSlotBytes = 2048;

/** A type, not an interface: it is plain JSON. */
export type Mark = {
  readonly v: 1;
  readonly store: string;
  /** Path of the store's folder. */
  readonly folder: string;
  /** Identity of the folder on its file system; a copy of it has another. */
  readonly identity: string;
  readonly device: string;
  readonly incarnation: string;
  readonly size: number;
  /** Root hash of the device log at that size, base64. */
  readonly root: string;
  /** Running hash over the leaves that were pulled, base64; empty before the first. */
  readonly pulled: string;
  /** Raised by every write: tells the newer slot. */
  readonly count: number;
};

/** Two slots on a medium outside the store's folder. */
export interface MarkFile {
  /** Both slots; `undefined` when there is no file. */
  read(): readonly [Bytes, Bytes] | undefined;
  /** Not fsynced. */
  write(slot: 0 | 1, bytes: Bytes): void;
}

/** What was read of a high-water mark. */
export interface MarkReading {
  /** The newest slot that is authentic. */
  readonly mark: Mark | undefined;
  /** Slots that hold something else than a mark of this keyring. */
  readonly damaged: number;
  /** Was there a file at all? */
  readonly present: boolean;
}

function encodeSlot(mac: Mac, mark: Mark): Bytes {
  const text = utf8(canonicalJson(mark));
  const slot = new Uint8Array(markSlotBytes).fill(0x20);
  slot.set(text);
  slot.set(utf8(` ${base64(mac.mac(text))}\n`), text.length);
  return slot;
}

/** Nothing but spaces, or zeros, from there to the end? A loop: every opening asks of thousands of bytes. */
function isBlank(slot: Bytes, from: number, orZero: boolean): boolean {
  for (let at = from; at < slot.length; at++) {
    const byte = slot[at];
    if (byte !== 0x20 && !(orZero && byte === 0)) return false;
  }
  return true;
}

function decodeSlot(mac: Mac, slot: Bytes): Mark | "empty" | undefined {
  if (isBlank(slot, 0, true)) return "empty";
  try {
    const end = slot.indexOf(0x0a);
    if (!isBlank(slot, end + 1, false)) return undefined;
    const line = fromUtf8(slot.subarray(0, end));
    const split = line.lastIndexOf(" ");
    const text = line.slice(0, split);
    const sum = fromBase64(line.slice(split + 1));
    if (sum === undefined || !equalSecretBytes(sum, mac.mac(utf8(text)))) return undefined;
    return JSON.parse(text) as Mark;
  } catch {
    return undefined;
  }
}

/** Reads the mark; what is not authentic counts as damaged. */
export function readMark(mac: Mac, file: MarkFile): MarkReading {
  const slots = file.read();
  if (slots === undefined) return { mark: undefined, damaged: 0, present: false };
  const read = slots.map((slot) => decodeSlot(mac, slot));
  const marks = read.filter((slot): slot is Mark => slot !== undefined && slot !== "empty");
  const newest = marks.toSorted((a, b) => b.count - a.count)[0];
  return {
    mark: newest,
    damaged: read.filter((slot) => slot === undefined).length,
    present: true,
  };
}

/** Writes marks in turn into the two slots, the older one first. */
export function writeMark(mac: Mac, file: MarkFile, mark: Mark): void {
  file.write((mark.count & 1) as 0 | 1, encodeSlot(mac, mark));
}
