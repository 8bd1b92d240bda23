/** Where a store lies: its folder, the state folder outside it, and which store a folder holds. */
import { existsSync, lstatSync, readdirSync, realpathSync } from "node:fs";
import { join, resolve } from "node:path";
import { HoldfastError, isHoldfastError } from "@holdfast/core";
import { createNodeCrypto } from "./crypto.ts";
import { refuseErased, refuseErasedStore } from "./erase-plan-file.ts";
import { keyringFileName, stateFolder, storeIdOf } from "./keyring-files.ts";
import { createMarkFile } from "./mark-file.ts";

/** Where a store lies. */
export interface StoreLocation {
  /** The store's folder. */
  readonly directory: string;
  /** Default: `HOLDFAST_STATE`, else the XDG state folder. */
  readonly stateDirectory?: string;
}

const databaseFileName = "store.db";
const crypto = createNodeCrypto();

/** The database in a store's folder. */
export function databasePath(directory: string): string {
  return join(directory, databaseFileName);
}

/** The state folder of that location. */
export function stateOf(location: StoreLocation): string {
  return resolve(location.stateDirectory ?? stateFolder(process.env));
}

/** SQLite follows links: neither the folder nor the database nor what SQLite keeps beside it may be one. */
export function checkFolder(directory: string): void {
  let safe = lstatSync(directory).isDirectory();
  for (const suffix of ["", "-wal", "-shm", "-journal"]) {
    const stat = lstatSync(databasePath(directory) + suffix, { throwIfNoEntry: false });
    safe &&= stat === undefined || stat.isFile();
  }
  if (!safe) throw new HoldfastError("store_unsafe_path");
}

/**
 * The store id from the folder's keyring, else from the mark that names the folder. Throws `erase_unfinished` where an
 * erase of that store was begun.
 */
export function storeIdIn(directory: string, state: string): string {
  refuseErased(directory, state);
  const storeId = namedIn(directory, state);
  refuseErasedStore(storeId, state);
  return storeId;
}

function namedIn(directory: string, state: string): string {
  try {
    return storeIdOf(crypto, directory, state);
  } catch (error) {
    if (!isHoldfastError(error, "keyring_missing")) throw error;
    if (!existsSync(databasePath(directory))) throw new HoldfastError("store_missing");
    const [named] = registeredFor(directory, state);
    if (named === undefined) throw error;
    return named;
  }
}

/** Which registered stores had that folder, as their marks say; the keyring then proves or refuses it. */
export function registeredFor(directory: string, state: string): readonly string[] {
  const folder = `"folder":${JSON.stringify(realpathSync(directory))}`;
  const ids = existsSync(state) ? readdirSync(state).toSorted() : [];
  return ids.filter((id) => {
    if (!existsSync(join(state, id, keyringFileName))) return false;
    const marks = readdirSync(join(state, id)).filter((name) => name.startsWith("mark-"));
    return marks.some((mark) => {
      const slots = createMarkFile(join(state, id, mark)).read() ?? [];
      return slots.some((slot) => Buffer.from(slot).toString("utf8").includes(folder));
    });
  });
}
