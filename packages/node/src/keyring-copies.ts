/**
 * Copies of a keyring that were made for safe keeping: which there are is kept in `<state>/<store id>/copies`, a line
 * of JSON each, so that they follow the keyring: a copy opens what it was made for and nothing younger, and after a
 * shred an old one would still open what is to be gone.
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { fromUtf8, HoldfastError, isHoldfastError, utf8 } from "@holdfast/core";
import { publish } from "./backup-file.ts";
import { keyringFileName } from "./keyring-files.ts";
import { createRecordFile } from "./record-file.ts";
import { stateOf, storeIdIn, type StoreLocation } from "./store-place.ts";

/** What became of the registered copies. */
export interface KeyringCopies {
  /** Paths of those that are as the keyring is now. */
  readonly current: readonly string[];
  /** Paths of those that could not be written: gone, or on a medium that is not here. */
  readonly unreachable: readonly string[];
}

/** Paths of the registered copies of that store's keyring. */
export function registeredCopies(state: string, storeId: string): readonly string[] {
  const file = createRecordFile(join(state, storeId, "copies"));
  return fromUtf8(file.read() ?? new Uint8Array(0))
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as string);
}

function registerOf(location: StoreLocation) {
  const directory = resolve(location.directory);
  const state = stateOf(location);
  const storeId = storeIdIn(directory, state);
  const file = createRecordFile(join(state, storeId, "copies"));
  const paths = (): readonly string[] => registeredCopies(state, storeId);
  return {
    paths,
    add(path: string): void {
      const all = [...new Set([...paths(), path])];
      file.replace(utf8(all.map((one) => `${JSON.stringify(one)}\n`).join("")));
    },
  };
}

function contentOf(location: StoreLocation): Uint8Array {
  const content = createRecordFile(join(resolve(location.directory), keyringFileName)).read();
  if (content === undefined) throw new HoldfastError("keyring_missing");
  return content;
}

async function writeCopy(path: string, content: Uint8Array, replace: boolean): Promise<void> {
  await publish(path, (file) => file.writeFile(content), replace);
}

/**
 * Copies the keyring of a store into a new file, as it is: its keys are wrapped; and registers the copy. Throws
 * `store_missing`, `output_exists`, `keyring_missing`, the storage codes.
 */
export async function backUpKeyring(
  options: StoreLocation & { readonly out: string },
): Promise<{ readonly bytes: number }> {
  if (!existsSync(resolve(options.directory))) throw new HoldfastError("store_missing");
  const content = contentOf(options);
  const path = resolve(options.out);
  // Registered first: a copy that nobody knows of is worse than an entry without a copy.
  if (existsSync(path)) throw new HoldfastError("output_exists");
  registerOf(options).add(path);
  await writeCopy(path, content, false);
  return { bytes: content.length };
}

/** Brings every registered copy that is there to what the keyring is now; each by one rename. */
export async function renewKeyringCopies(location: StoreLocation): Promise<KeyringCopies> {
  const content = contentOf(location);
  const current: string[] = [];
  const unreachable: string[] = [];
  for (const path of registerOf(location).paths()) {
    try {
      // Where the file is gone, its medium may be: nothing is made in a place that only looks like it.
      if (!existsSync(path)) throw new HoldfastError("input_unreadable");
      await writeCopy(path, content, true);
      current.push(path);
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      unreachable.push(path);
    }
  }
  return { current, unreachable };
}
