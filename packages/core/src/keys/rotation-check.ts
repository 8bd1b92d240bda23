/**
 * What a rotation proves before it destroys: both copies, read back from the medium, hold every key under the new
 * epoch key, and each opens to the same bytes as the record that counts. In slices.
 */
import { equalBytes, equalSecretBytes, wipe } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import type { Copies } from "./copies.ts";
import { type Epoch, unwrapRecord } from "./epoch.ts";
import { wrappedName } from "./record-index.ts";
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
}): RotationCheck {
  const { crypto, copies, epochs, to } = deps;
  const text = copies.text("store");
  const same = equalBytes(text, copies.text("registered"));
  /** Every wrap that stands in the file, by what it is about: under the new key, and under others. */
  const found = new Map<string, { moved?: WrappedRecord; former?: WrappedRecord }>();
  const names = [...deps.latest.keys()];
  let at = 0;
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
    const entry = found.get(name) ?? {};
    if (wrapped.epoch === to) entry.moved = wrapped;
    else entry.former = wrapped;
    found.set(name, entry);
  }

  function compareSome(): void {
    const end = Math.min(names.length, compared + linesOfSlice / 2);
    for (; compared < end; compared++) {
      const { moved, former } = found.get(names[compared] as string) ?? {};
      verdict &&= moved !== undefined && opensAlike(moved, former);
    }
  }

  function opensAlike(moved: WrappedRecord, former: WrappedRecord | undefined): boolean {
    try {
      const key = unwrapRecord(epochs, moved);
      const before = former === undefined ? key : unwrapRecord(epochs, former);
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
