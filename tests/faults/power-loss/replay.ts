/**
 * Crash states from a log: what a disk may hold when the power goes at some point of a recorded run.
 *
 * A state is a crash point, a choice of the file changes that reached the disk since the last fsync of each
 * file, and a choice of the name changes that reached it. One seed gives the same states from the same log.
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createChance, type Chance } from "../random.ts";
import {
  applyChange,
  put,
  resize,
  type Content,
  type Disk,
  type FileChange,
  type FileNode,
  type FolderNode,
  type NameMode,
  type Node,
} from "./disk.ts";
import type { LogRecord } from "./log.ts";

/**
 * Which file changes after the last fsync are on the disk:
 * - `all`: every one. `none`: not one.
 * - `prefix`: those up to some moment, over all files together; the last one torn at a sector.
 * - `subset`: any sectors of any writes in any order, lengths apart from contents.
 */
export type WriteMode = "all" | "none" | "prefix" | "subset";

/** Unit that a disk writes whole. */
const SECTOR_BYTES = 512;

export interface CrashState {
  readonly index: number;
  /** Number of log records before the crash. */
  readonly point: number;
  readonly writeMode: WriteMode;
  readonly nameMode: NameMode;
  /** Complete lines acknowledged before the crash, in order. */
  readonly acknowledged: readonly string[];
  /** Makes `folder` hold this state and nothing else. Only valid until the next state is taken. */
  writeTo(folder: string): void;
}

export interface ReplayOptions {
  readonly states: number;
  readonly seed: number;
  readonly nameMode: NameMode;
  readonly writeModes: readonly WriteMode[];
  /** Model of the disk before the first record, for `nameMode`. */
  readonly disk: Disk;
}

/** The crash states of a log in the order of their crash points. */
export function* crashStates(
  log: readonly LogRecord[],
  options: ReplayOptions,
): Generator<CrashState> {
  const points = crashPoints(log, options.states, createChance(options.seed));
  const acknowledged: string[] = [];
  let partial = "";
  let played = 0;
  for (const [index, point] of points.entries()) {
    for (; played < point; played += 1) {
      const record = log[played] as LogRecord;
      options.disk.apply(record);
      if (record.type !== "ack") continue;
      const lines = (partial + record.text).split("\n");
      partial = lines.pop() as string;
      acknowledged.push(...lines);
    }
    const chance = createChance(options.seed ^ Math.imul(index + 1, 0x9e3779b1));
    const writeMode = chance.pick(options.writeModes);
    yield {
      index,
      point,
      writeMode,
      nameMode: options.nameMode,
      acknowledged: [...acknowledged],
      writeTo: (folder) => writeState(options.disk, writeMode, options.nameMode, chance, folder),
    };
  }
}

/** Half of the points anywhere, half right behind an acknowledgement, where a lie would show. */
function crashPoints(log: readonly LogRecord[], states: number, chance: Chance): readonly number[] {
  const behindAck: number[] = [];
  for (const [at, record] of log.entries()) if (record.type === "ack") behindAck.push(at + 1);
  const points: number[] = [];
  for (let i = 0; i < states; i += 1) {
    const anywhere = i % 2 === 0 || behindAck.length === 0;
    points.push(anywhere ? 1 + chance.below(log.length) : chance.pick(behindAck));
  }
  return points.sort((a, b) => a - b);
}

function writeState(
  disk: Disk,
  writeMode: WriteMode,
  nameMode: NameMode,
  chance: Chance,
  folder: string,
): void {
  const entriesOf = chooseNames(disk, nameMode, chance);
  const cutoff = chooseCutoff(disk, chance);
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(folder)) {
    rmSync(join(folder, name), { recursive: true, force: true });
  }
  const writeFolder = (node: FolderNode, path: string): void => {
    for (const [name, child] of entriesOf(node)) {
      const target = join(path, name);
      if (child.kind === "folder") {
        mkdirSync(target, { mode: 0o700 });
        writeFolder(child, target);
      } else {
        writeFileSync(target, contentAfterCrash(child, writeMode, cutoff, chance), { mode: 0o600 });
      }
    }
  };
  writeFolder(disk.root, folder);
}

/** Entries of each folder after the crash: the durable ones and some of the changes under way. */
function chooseNames(
  disk: Disk,
  nameMode: NameMode,
  chance: Chance,
): (folder: FolderNode) => ReadonlyMap<string, Node> {
  const pending = disk.pendingNames;
  const keepNone = chance.next() < 0.5;
  const journal = chance.below(pending.length + 1);
  const overlay = new Map<FolderNode, Map<string, Node>>();
  for (const [i, change] of pending.entries()) {
    const kept = nameMode === "ext4" ? i < journal : chance.next() < 0.5;
    if (keepNone || !kept) continue;
    for (const edit of change.edits) {
      const entries = overlay.get(edit.folder) ?? new Map(edit.folder.durable);
      overlay.set(edit.folder, entries);
      if (edit.node === undefined) entries.delete(edit.name);
      else entries.set(edit.name, edit.node);
    }
  }
  return (folder) => overlay.get(folder) ?? folder.durable;
}

function chooseCutoff(disk: Disk, chance: Chance): number {
  const steps = disk.dirtyFiles().flatMap((file) => file.pending.map((change) => change.step));
  return steps.length === 0 ? 0 : chance.pick(steps);
}

function contentAfterCrash(
  file: FileNode,
  mode: WriteMode,
  cutoff: number,
  chance: Chance,
): Uint8Array {
  const durable = file.durable.bytes.subarray(0, file.durable.size);
  if (file.pending.length === 0 || mode === "none") return durable;
  const content: Content = { bytes: Buffer.from(durable), size: durable.length };
  if (mode === "subset") applySubset(content, file.pending, chance);
  else {
    for (const change of file.pending) {
      if (mode === "prefix" && change.step > cutoff) break;
      applyChange(
        content,
        mode === "prefix" && change.step === cutoff ? torn(change, chance) : change,
      );
    }
  }
  return content.bytes.subarray(0, content.size);
}

/** The first sectors of a write, perhaps all of them. */
function torn(change: FileChange, chance: Chance): FileChange {
  if (change.kind === "resize") return change;
  const sectors = chance.below(Math.ceil(change.data.length / SECTOR_BYTES) + 1);
  return { ...change, data: change.data.subarray(0, sectors * SECTOR_BYTES) };
}

/**
 * Any sectors in any order. Changes of length stay in order among the writes: a file system journals them.
 * The length may run ahead of the data, the gap then reads as zeros.
 */
function applySubset(content: Content, pending: readonly FileChange[], chance: Chance): void {
  const rate = chance.pick([0.05, 0.5, 0.95]);
  let group: { readonly offset: number; readonly data: Uint8Array }[] = [];
  let reach = content.size;
  const flush = (): void => {
    for (const piece of chance.shuffle(group)) {
      if (chance.next() < rate) put(content, piece.offset, piece.data);
    }
    group = [];
  };
  for (const change of pending) {
    if (change.kind === "write") {
      group.push(...sectorsOf(change.offset, change.data));
      reach = Math.max(reach, change.offset + change.data.length);
      continue;
    }
    flush();
    if (chance.next() < rate) {
      resize(content, change.size);
      reach = change.size;
    }
  }
  flush();
  if (chance.next() < 0.25 && reach > content.size) resize(content, reach);
}

/** Cuts a write at the sector borders of the file. */
function sectorsOf(
  offset: number,
  data: Uint8Array,
): { readonly offset: number; readonly data: Uint8Array }[] {
  const pieces: { readonly offset: number; readonly data: Uint8Array }[] = [];
  for (let at = 0; at < data.length;) {
    const size = Math.min(data.length - at, SECTOR_BYTES - ((offset + at) % SECTOR_BYTES));
    pieces.push({ offset: offset + at, data: data.subarray(at, at + size) });
    at += size;
  }
  return pieces;
}
