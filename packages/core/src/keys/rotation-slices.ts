/** The work of a rotation that needs no lease, in slices of about a millisecond: records to move, lines to write. */
import type { Bytes } from "../std/bytes.ts";
import { invariant } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { rewrapRecord } from "./epoch.ts";
import { latestOf } from "./record-index.ts";
import { encodeRecord, type KeyringRecord, type WrappedRecord } from "./record.ts";
import type { RotationGround } from "./rotation-ground.ts";
import { remainingRecords } from "./rotation-records.ts";
import type { RotationState } from "./rotation.ts";

/** A record, and the same key under the new epoch key. */
export interface MovedRecord {
  readonly from: WrappedRecord;
  readonly to: WrappedRecord;
}

export interface RotationSlices {
  /** Looks anew for what is not under the new key; how much there is. */
  count(of: RotationState): number;
  /** Wraps some more; `true`: the chunk is not full and the queue not empty. Nothing before `count`. */
  move(of: RotationState): boolean;
  /** What was wrapped since, and how much is left; `undefined`: nothing was counted by this process. */
  take(): { readonly moved: readonly MovedRecord[]; readonly left: number } | undefined;
  /** Writes some more lines of the next generation; `true`: there are more. */
  lines(of: RotationState): boolean;
  /** The line of a record in that generation, from those that were written ahead where it is among them. */
  lineOf(record: KeyringRecord, file: number): Bytes;
  forget(): void;
}

const sliceRecords = 16;

/** Over the records of one open keyring. */
export function createRotationSlices(ground: RotationGround): RotationSlices {
  const { crypto, random, records, epochs } = ground;
  let queue: readonly WrappedRecord[] | undefined;
  let next = 0;
  let moved: MovedRecord[] = [];
  let kept: readonly KeyringRecord[] = [];
  const lines = new Map<KeyringRecord, Bytes>();

  return {
    count(of) {
      const to = of.key === "epoch" ? of.to : records.epoch().id;
      queue = [...latestOf(records.durable()).values()].filter(({ epoch }) => epoch !== to);
      next = 0;
      moved = [];
      return queue.length;
    },
    move(of) {
      if (queue === undefined) return false;
      const to = records.epoch();
      invariant(to.id === of.to, "records move once the new epoch key is current");
      const { file } = records.merged().header;
      const end = Math.min(queue.length, next + sliceRecords);
      for (; next < end; next++) {
        const from = queue[next] as WrappedRecord;
        moved.push({ from, to: rewrapRecord(random, epochs, to, { ...from, file }) });
      }
      return next < queue.length && moved.length < limits.rotationChunkRecords;
    },
    take() {
      if (queue === undefined) return undefined;
      const taken = moved;
      moved = [];
      return { moved: taken, left: queue.length - next };
    },
    lines(of) {
      const file = records.merged().header.file + 1;
      if (lines.size === 0) kept = remainingRecords(records.durable(), of);
      for (let made = 0; lines.size < kept.length && made < sliceRecords * 2; made++) {
        const record = kept[lines.size] as KeyringRecord;
        lines.set(record, encodeRecord(crypto, { ...record, file }));
      }
      return lines.size < kept.length;
    },
    lineOf: (record, file) => lines.get(record) ?? encodeRecord(crypto, { ...record, file }),
    forget() {
      queue = undefined;
      moved = [];
      kept = [];
      lines.clear();
    },
  };
}
