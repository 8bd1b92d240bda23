/**
 * Model of a disk behind a page cache: what is certainly on it, and what is still on the way.
 *
 * - A file has durable bytes (as of its last fsync) and changes since then in order.
 * - A failed fsync loses the changes before it although the process goes on reading them (Linux marks the
 *   pages clean; a later successful fsync does not write them).
 * - A folder has durable entries; changes of names wait until the name mode says that they are durable.
 */
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { LogRecord } from "./log.ts";

/**
 * When a change of a name survives a power loss:
 * - `instant`: at once.
 * - `ext4`: names are journaled in order; an fsync of a file commits the journal up to the file's own latest
 *   name change, an fsync of a folder up to the folder's latest one.
 * - `strict`: only by an fsync of the folder itself (POSIX promises no more).
 */
export type NameMode = "instant" | "ext4" | "strict";

export type FileChange =
  | {
      readonly kind: "write";
      readonly step: number;
      readonly offset: number;
      readonly data: Uint8Array;
    }
  | { readonly kind: "resize"; readonly step: number; readonly size: number };

/** Bytes that grow without a copy per write. */
export interface Content {
  bytes: Buffer;
  size: number;
}

export interface FileNode {
  readonly kind: "file";
  readonly durable: Content;
  pending: FileChange[];
}

export interface FolderNode {
  readonly kind: "folder";
  /** What the running process sees. */
  readonly entries: Map<string, Node>;
  /** What is certainly on the disk. */
  readonly durable: Map<string, Node>;
}

export type Node = FileNode | FolderNode;

/** One change of names: all its edits or none (rename is atomic). `undefined` removes the entry. */
export interface NameChange {
  readonly nodes: readonly Node[];
  readonly edits: readonly {
    readonly folder: FolderNode;
    readonly name: string;
    readonly node: Node | undefined;
  }[];
}

export interface Disk {
  /** Plays one record of the log. */
  apply(record: LogRecord): void;
  readonly root: FolderNode;
  /** Every file with changes that are not durable. */
  dirtyFiles(): readonly FileNode[];
  readonly pendingNames: readonly NameChange[];
}

const newFolder = (): FolderNode => ({ kind: "folder", entries: new Map(), durable: new Map() });
const newFile = (bytes: Buffer = Buffer.alloc(0)): FileNode => ({
  kind: "file",
  durable: { bytes, size: bytes.length },
  pending: [],
});

export function resize(content: Content, size: number): void {
  if (size > content.bytes.length) {
    const grown = Buffer.alloc(Math.max(size, content.bytes.length * 2, 65_536));
    content.bytes.copy(grown, 0, 0, content.size);
    content.bytes = grown;
  } else if (size < content.size) {
    content.bytes.fill(0, size, content.size);
  }
  content.size = size;
}

export function put(content: Content, offset: number, data: Uint8Array): void {
  if (offset + data.length > content.size) resize(content, offset + data.length);
  content.bytes.set(data, offset);
}

export function applyChange(content: Content, change: FileChange): void {
  if (change.kind === "resize") resize(content, change.size);
  else put(content, change.offset, change.data);
}

/** What lies below `path` now, all of it durable: the state before the recording. */
function readNode(path: string): Node {
  if (!lstatSync(path).isDirectory()) return newFile(Buffer.from(readFileSync(path)));
  const folder = newFolder();
  for (const name of readdirSync(path)) {
    if (name.endsWith("-shm")) continue;
    const node = readNode(join(path, name));
    folder.entries.set(name, node);
    folder.durable.set(name, node);
  }
  return folder;
}

/** Creates the model of the folder `rootPath` as it is now; it must exist. */
export function createDisk(rootPath: string, nameMode: NameMode): Disk {
  const root = readNode(rootPath);
  if (root.kind !== "folder") throw new Error("the root of a recording is a folder");
  return diskOver(rootPath, root, nameMode);
}

function diskOver(rootPath: string, root: FolderNode, nameMode: NameMode): Disk {
  const byInode = new Map<number, Node>();
  const dirty = new Set<FileNode>();
  let pendingNames: NameChange[] = [];
  let step = 0;

  const find = (path: string): Node | undefined => {
    if (path === rootPath) return root;
    const parent = find(dirname(path));
    return parent?.kind === "folder" ? parent.entries.get(basename(path)) : undefined;
  };
  const place = (path: string): { readonly folder: FolderNode; readonly name: string } => {
    const folder = find(dirname(path));
    if (folder?.kind !== "folder") throw new Error("the log names a folder that it never made");
    return { folder, name: basename(path) };
  };
  const commitNames = (chosen: (change: NameChange) => boolean): void => {
    const rest: NameChange[] = [];
    for (const change of pendingNames) {
      if (!chosen(change)) rest.push(change);
      else for (const edit of change.edits) setEntry(edit.folder.durable, edit.name, edit.node);
    }
    pendingNames = rest;
  };
  const changeNames = (nodes: readonly Node[], edits: NameChange["edits"]): void => {
    for (const edit of edits) setEntry(edit.folder.entries, edit.name, edit.node);
    pendingNames.push({ nodes, edits });
    if (nameMode === "instant") commitNames(() => true);
  };
  const commitJournalTo = (touches: (change: NameChange) => boolean): void => {
    const last = pendingNames.findLastIndex(touches);
    const committed = new Set(pendingNames.slice(0, last + 1));
    commitNames((change) => committed.has(change));
  };
  const sync = (node: Node, failed: boolean): void => {
    if (node.kind === "folder") {
      if (failed) return;
      const inFolder = (change: NameChange): boolean =>
        change.edits.some((edit) => edit.folder === node);
      if (nameMode === "ext4") commitJournalTo(inFolder);
      else commitNames(inFolder);
      return;
    }
    if (!failed) {
      for (const change of node.pending) applyChange(node.durable, change);
      if (nameMode === "ext4") commitJournalTo((change) => change.nodes.includes(node));
    }
    node.pending = [];
    dirty.delete(node);
  };
  const change = (inode: number, next: FileChange): void => {
    const node = byInode.get(inode);
    if (node?.kind !== "file") throw new Error("the log changes a file that it never opened");
    node.pending.push(next);
    dirty.add(node);
  };
  const open = (record: LogRecord & { readonly type: "open" }): void => {
    let node = find(record.path);
    if (node === undefined || record.created) {
      if (record.directory) throw new Error("the log opens a folder that it never made");
      if (!record.created) throw new Error("the log opens a file that it never made");
      node = newFile();
      changeNames([node], [{ ...place(record.path), node }]);
    }
    byInode.set(record.inode, node);
    if (record.truncated) change(record.inode, { kind: "resize", step, size: 0 });
  };
  const rename = (from: string, to: string): void => {
    const node = find(from);
    if (node === undefined) throw new Error("the log renames what it never made");
    if (node === find(to)) return;
    changeNames(
      [node],
      [
        { ...place(from), node: undefined },
        { ...place(to), node },
      ],
    );
  };
  const link = (from: string, to: string): void => {
    const node = find(from);
    if (node === undefined) throw new Error("the log links what it never made");
    changeNames([node], [{ ...place(to), node }]);
  };
  const mkdir = (path: string, inode: number): void => {
    const node = path === rootPath ? root : newFolder();
    byInode.set(inode, node);
    if (node !== root) changeNames([node], [{ ...place(path), node }]);
  };

  return {
    root,
    dirtyFiles: () => [...dirty],
    get pendingNames() {
      return pendingNames;
    },
    apply(record) {
      step += 1;
      if (record.type === "open") open(record);
      else if (record.type === "write") {
        const { inode, offset, data } = record;
        change(inode, { kind: "write", step, offset, data });
      } else if (record.type === "truncate") {
        change(record.inode, { kind: "resize", step, size: record.size });
      } else if (record.type === "sync") {
        const node = byInode.get(record.inode);
        if (node !== undefined) sync(node, record.failed);
      } else if (record.type === "rename") rename(record.from, record.to);
      else if (record.type === "link") link(record.from, record.to);
      else if (record.type === "mkdir") mkdir(record.path, record.inode);
      else if (record.type === "unlink" || record.type === "rmdir") {
        changeNames([], [{ ...place(record.path), node: undefined }]);
      }
    },
  };
}

function setEntry(entries: Map<string, Node>, name: string, node: Node | undefined): void {
  if (node === undefined) entries.delete(name);
  else entries.set(name, node);
}
