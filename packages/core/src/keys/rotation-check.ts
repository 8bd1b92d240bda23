/**
 * What a rotation proves before it destroys: both copies, read back from the medium, hold every key under the new
 * epoch key, and each opens to the same bytes as the record that counts. In slices.
 */
import { type Bytes, equalBytes, equalSecretBytes, wipe } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import type { Copies } from "./copies.ts";
import { type Epoch, unwrapRecord } from "./epoch.ts";
import { latestOf, wrappedName } from "./record-index.ts";
import { decodeLines, type KeyringRecord, type WrappedRecord } from "./record.ts";

export interface RotationCheck {
  /** One slice; `true`: there is more. */
  step(): boolean;
  /** The verdict, once `step` has said that there is no more. */
  holds(): boolean;
}

const linesOfSlice = 32;

export function createRotationCheck(deps: {
  readonly crypto: Crypto;
  readonly copies: Copies;
  readonly epochs: ReadonlyMap<string, Epoch>;
  /** Id of the epoch that everything must be under. */
  readonly to: string;
  readonly records: { durable(): readonly KeyringRecord[] };
  /** What counts now, by what it is about. */
  readonly latest: ReadonlyMap<string, WrappedRecord>;
  /** Look at whole copies: without it, at what stands behind the record of the new epoch key. */
  readonly whole: boolean;
}): RotationCheck {
  const { crypto, copies, epochs, to } = deps;
  const text = copies.text("store");
  const same = equalBytes(text, copies.text("registered"));
  /** Wraps under the new key as they stand in the file, and former ones as they counted, by what they are about. */
  const found = new Map<string, WrappedRecord>();
  const former = latestOf(
    deps.records.durable().filter((one) => !("epoch" in one && one.epoch === to)),
  );
  const names = [...deps.latest.keys()];
  let at = deps.whole ? 0 : offsetOf(text, deps.records.durable(), to);
  let compared = 0;
  let verdict = same;

  function readSome(): void {
    const from = at;
    for (let lines = 0; lines < linesOfSlice && at < text.length; lines++) {
      const end = text.indexOf(10, at);
      at = end < 0 ? text.length : end + 1;
    }
    for (const line of decodeLines(crypto, text.slice(from, at))) {
      if (line.state !== "record") verdict = false;
      else note(line.record);
    }
  }

  function note(record: KeyringRecord): void {
    const name = wrappedName(record);
    if (name === undefined) return;
    const wrapped = record as WrappedRecord;
    if (wrapped.epoch === to) found.set(name, wrapped);
  }

  function compareSome(): void {
    const end = Math.min(names.length, compared + linesOfSlice / 2);
    for (; compared < end; compared++) {
      const name = names[compared] as string;
      const moved = found.get(name);
      verdict &&= moved !== undefined && opensAlike(moved, former.get(name));
    }
  }

  function opensAlike(moved: WrappedRecord, old: WrappedRecord | undefined): boolean {
    try {
      const key = unwrapRecord(epochs, moved);
      const before = old === undefined ? key : unwrapRecord(epochs, old);
      const alike = equalSecretBytes(key, before);
      wipe(key, before);
      return alike;
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      return false;
    }
  }

  return {
    step() {
      if (!verdict) return false;
      if (at < text.length) readSome();
      else compareSome();
      return verdict && (at < text.length || compared < names.length);
    },
    holds: () => verdict,
  };
}

/** Where the line of the new epoch key begins: nothing before it is under that key. */
function offsetOf(text: Bytes, records: readonly KeyringRecord[], to: string): number {
  const lines = records.findIndex((one) => one.kind === "epoch" && one.id === to);
  let at = 0;
  for (let line = 0; line < lines; line++) {
    const end = text.indexOf(10, at);
    if (end < 0) return 0;
    at = end + 1;
  }
  return at;
}
