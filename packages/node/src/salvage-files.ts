/**
 * The files of a salvage. What was built takes the place of the damaged database in one step: the rename of
 * `store.db.salvaged` into the store's folder. From then on it is the store, whatever still lies there; whoever opens
 * the store next finishes what a crash left of the rest.
 */
import {
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { HoldfastError } from "@holdfast/core";
import { guardedFile, syncFolder } from "./files.ts";
import { keyringFileName } from "./keyring-files.ts";
import { syncFile } from "./migration-files.ts";
import { openSqlite } from "./sqlite-driver.ts";

/** What SQLite keeps of a database, the file itself first. */
const suffixes = ["", "-wal", "-shm", "-journal"];

/** Built and verified, in the folder of the store: it is the store from then on. */
export function salvagedPath(database: string): string {
  return `${database}.salvaged`;
}

/** Events that are still to be recorded anew, and what is to be told of the salvage. */
export function survivorsPath(database: string): string {
  return `${database}.survivors`;
}

/** Are there events that a salvage left to be recorded anew? */
export function hasSurvivors(database: string): boolean {
  return isThere(survivorsPath(database));
}

/** The same before the switch: without the built database beside it, it counts for nothing. */
export function pendingPath(database: string): string {
  return `${survivorsPath(database)}-pending`;
}

/** Was a switch decided and not finished? */
export function isSalvageOpen(database: string): boolean {
  return isThere(salvagedPath(database));
}

/**
 * Finishes a switch that was decided; nothing to do without one. One process at a time: to whoever comes second, the
 * write-ahead log beside the database may be that of the new one. Throws `store_busy`.
 */
export function finishSwitch(database: string): void {
  if (!isSalvageOpen(database)) return;
  const path = `${database}.switching`;
  guardedFile(() => {
    closeSync(openSync(path, "a", 0o600));
  });
  // The lock is the system's, so that a process that is killed leaves none.
  const lock = openSqlite({ path, pageKey: undefined, readOnly: false, create: true });
  try {
    lock.exec("BEGIN EXCLUSIVE");
    if (isSalvageOpen(database)) guardedFile(() => takePlace(database));
    guardedFile(() => rmSync(path, { force: true }));
  } finally {
    lock.close();
  }
}

function takePlace(database: string): void {
  // They belong to the damaged database: SQLite would play them into the new one.
  for (const suffix of suffixes.slice(1)) rmSync(database + suffix, { force: true });
  if (isThere(pendingPath(database))) renameSync(pendingPath(database), survivorsPath(database));
  syncFolder(dirname(database));
  renameSync(salvagedPath(database), database);
  syncFolder(dirname(database));
}

/** A failure of the medium is thrown: it is no answer. */
function isThere(path: string): boolean {
  return guardedFile(() => lstatSync(path, { throwIfNoEntry: false }) !== undefined);
}

/** Copies a database with what belongs to it, durably; into a folder that is made for it. */
export function copyDatabase(database: string, folder: string): void {
  guardedFile(() => {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const copy = join(folder, "store.db");
    for (const suffix of suffixes) copyInto(database + suffix, copy + suffix);
    copyInto(survivorsPath(database), survivorsPath(copy));
    syncFolder(folder);
  });
}

/** Copies both copies of a keyring, under names of their own. */
export function copyKeyrings(directory: string, registered: string, folder: string): void {
  guardedFile(() => {
    copyInto(join(directory, keyringFileName), join(folder, keyringFileName));
    copyInto(registered, join(folder, `${keyringFileName}.registered`));
    syncFolder(folder);
    syncFolder(dirname(folder));
  });
}

function copyInto(from: string, to: string): void {
  if (!existsSync(from)) return;
  copyFileSync(from, to);
  syncFile(to);
}

/** Is the database, with its write-ahead log, byte by byte what is in that folder? Throws the storage codes. */
export function isSameDatabase(database: string, folder: string): boolean {
  return guardedFile(() =>
    ["", "-wal", "-journal"].every((suffix) =>
      isSameFile(database + suffix, join(folder, `store.db${suffix}`)),
    ),
  );
}

const pieceBytes = 1 << 20;

function isSameFile(one: string, other: string): boolean {
  if (!existsSync(one) || !existsSync(other)) return existsSync(one) === existsSync(other);
  if (statSync(one).size !== statSync(other).size) return false;
  const files = [openSync(one, "r"), openSync(other, "r")] as const;
  const pieces = [Buffer.alloc(pieceBytes), Buffer.alloc(pieceBytes)] as const;
  try {
    for (let at = 0; ; at += pieceBytes) {
      const [a, b] = files.map((file, which) =>
        readSync(file, pieces[which] as Buffer, 0, pieceBytes, at),
      );
      if (a !== b || !pieces[0].subarray(0, a).equals(pieces[1].subarray(0, b))) return false;
      if (a === 0) return true;
    }
  } finally {
    for (const file of files) closeSync(file);
  }
}

/** What can change of a database while others write to it; opening it makes a write-ahead log that is empty. */
export function stampOf(database: string): string {
  const paths = [database, `${database}-wal`, `${database}-journal`, survivorsPath(database)];
  return guardedFile(() =>
    paths
      .map((path) => {
        const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
        const isEmpty = stat === undefined || stat.size === 0n;
        return isEmpty ? "-" : `${stat.ino}:${stat.size}:${stat.mtimeNs}`;
      })
      .join(" "),
  );
}

/**
 * Puts a file under a name in the store's folder, durably: by a rename, or, where that folder is a file system of its
 * own, by a copy that is renamed when it is whole.
 */
export function moveInto(from: string, to: string): void {
  guardedFile(() => {
    try {
      renameSync(from, to);
    } catch (error) {
      if ((error as { readonly code?: unknown }).code !== "EXDEV") throw error;
      const partial = `${to}-copying`;
      try {
        copyFileSync(from, partial);
        syncFile(partial);
        renameSync(partial, to);
      } catch (failure) {
        rmSync(partial, { force: true });
        throw failure;
      }
    }
    syncFolder(dirname(to));
  });
}

/** A new folder beside the store for the damaged one, which nobody removes but a person. */
export function quarantineFolder(directory: string): string {
  for (let number = 1; number < 1_000; number++) {
    const folder = `${directory}.quarantine-${number}`;
    if (!existsSync(folder)) return folder;
  }
  throw new HoldfastError("output_exists", { argument: "quarantine" });
}

/** Makes the content of a file and its name durable. */
export function makeDurable(path: string): void {
  guardedFile(() => {
    const descriptor = openSync(path, "r+");
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    syncFolder(dirname(path));
  });
}
