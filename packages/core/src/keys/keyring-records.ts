/**
 * The records of one keyring in memory: what the copies hold, what is pending, and an index over both. Looks
 * at the copies again when another process has written.
 */
import { type Bytes } from "../std/bytes.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import type { Crypto, Random } from "../std/ports.ts";
import type { Copies, Merged } from "./copies.ts";
import { type Epoch, type WithoutWrapped, wrapRecord } from "./epoch.ts";
import { addToIndex, type Index, indexOf } from "./record-index.ts";
import {
  encodeRecord,
  type HeaderRecord,
  type KeyringRecord,
  type WrappedRecord,
} from "./record.ts";
import { isSwitched } from "./rotation.ts";

export interface KeyringRecords {
  /** The copies as they were last read. */
  merged(): Merged;
  /** The index; an assertion once the keyring is closed. */
  index(): Index;
  /** The current epoch; `keyring_record_missing` when another process has changed it. */
  epoch(): Epoch;
  /** Looks, and looks again if another process has written since. */
  find<T>(look: (index: Index) => T | undefined): T | undefined;
  refresh(): void;
  /** Looks at the copies once, and not again before `work` has ended: nobody else writes while it runs. */
  steadily<T>(work: () => T): T;
  /** Wraps a secret into a record that is pending until it is written. */
  stage(fields: WithoutWrapped<WrappedRecord>, secret: Uint8Array): WrappedRecord;
  /** Stages and writes; durable when it returns. */
  add(fields: WithoutWrapped<WrappedRecord>, secret: Uint8Array): void;
  /** Writes what is pending, if anything is; what was read is durable as well when it returns. */
  flush(): void;
  /** Writes what is pending, and mends the copies. */
  write(): void;
  /** Every record, in file order: what was read, and what was written since. */
  durable(): readonly KeyringRecord[];
  /** Writes records as they are; durable when it returns. */
  append(records: readonly KeyringRecord[]): void;
  /**
   * Puts these records in place of all, as a new generation of the file; `lineOf` gives their lines. What is
   * pending is written first. Durable when it returns.
   */
  replace(records: readonly KeyringRecord[], lineOf: (record: KeyringRecord) => Bytes): void;
  /** Forgets what is pending; answers the wrapped keys of it. */
  release(): readonly string[];
  /** `false` when it was closed before. */
  close(): boolean;
}

interface Pending {
  readonly record: WrappedRecord;
  readonly line: Bytes;
}

export function createKeyringRecords(parts: {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly copies: Copies;
  readonly merged: Merged;
  readonly epochs: ReadonlyMap<string, Epoch>;
  /** Told of what was read anew, before anybody looks at it. */
  readonly read?: (merged: Merged) => void;
}): KeyringRecords {
  const { copies, epochs } = parts;
  let merged = parts.merged;
  // What the copies hold: as read, and what was written since.
  let durable = [...merged.records];
  let current = indexOf(durable);
  let pending: Pending[] = [];
  let closed = false;
  let steady = false;

  function index(): Index {
    invariant(!closed, "a keyring is not used after it was disposed of");
    return current;
  }

  function epoch(): Epoch {
    const { rotation, epoch: newest } = index();
    // A new epoch key wraps nothing before it is known to be in both copies.
    const early = rotation?.key === "epoch" && !isSwitched(rotation.phase);
    const id = early ? rotation.from : newest?.id;
    const found = id === undefined ? undefined : epochs.get(id);
    if (found === undefined) throw new HoldfastError("keyring_record_missing", { record: "epoch" });
    return found;
  }

  function refresh(): void {
    index();
    if (!copies.changed()) return;
    merged = copies.load();
    checkSame(parts.merged.header, merged.header);
    parts.read?.(merged);
    durable = [...merged.records];
    current = indexOf(durable);
    for (const { record } of pending) addToIndex(current, record);
  }

  function steadily<T>(work: () => T): T {
    refresh();
    const before = steady;
    steady = true;
    try {
      return work();
    } finally {
      steady = before;
    }
  }

  function stage(fields: WithoutWrapped<WrappedRecord>, secret: Uint8Array): WrappedRecord {
    const record = wrapRecord(parts.random, epoch(), fields, secret);
    pending.push({ record, line: encodeRecord(parts.crypto, record) });
    addToIndex(index(), record);
    return record;
  }

  function write(): void {
    refresh();
    const { file } = merged.header;
    // A rotation may have replaced the file since: a line of an older generation would not count.
    pending = pending.map((each) => {
      if (each.record.file === file) return each;
      const record = { ...each.record, file };
      return { record, line: encodeRecord(parts.crypto, record) };
    });
    copies.write(pending.map(({ line }) => line));
    for (const { record } of pending) durable.push(record);
    pending = [];
  }

  return {
    merged: () => merged,
    index,
    epoch,
    find(look) {
      const found = look(index());
      if (found !== undefined || steady || !copies.changed()) return found;
      refresh();
      return look(current);
    },
    refresh,
    steadily,
    stage,
    add(fields, secret) {
      refresh();
      stage(fields, secret);
      write();
    },
    flush() {
      index();
      if (pending.length > 0) write();
      copies.settle();
    },
    write,
    durable: () => durable,
    append(records) {
      refresh();
      copies.write(records.map((record) => encodeRecord(parts.crypto, record)));
      for (const record of records) {
        durable.push(record);
        addToIndex(current, record);
      }
    },
    replace(records, lineOf) {
      invariant(pending.length === 0, "what is pending is written before a keyring is replaced");
      copies.replace(records.map(lineOf));
      durable = [...records];
      current = indexOf(durable);
      const header = records.find((record) => record.kind === "keyring");
      invariant(header !== undefined, "a keyring has its header");
      merged = { header, records: durable, findings: [], damaged: false, unknown: 0 };
    },
    release() {
      index();
      const released = pending.map(({ record }) => record.wrapped);
      if (pending.length === 0) return released;
      pending = [];
      // A failed write may have left some in a copy: what the next reading finds there is a key like any other.
      current = indexOf(durable);
      return released;
    },
    close() {
      if (closed) return false;
      closed = true;
      pending = [];
      return true;
    },
  };
}

function checkSame(before: HeaderRecord, after: HeaderRecord): void {
  if (before.store === after.store && before.tenant === after.tenant) return;
  throw new HoldfastError("keyring_foreign", { expected: before.store, found: after.store });
}
