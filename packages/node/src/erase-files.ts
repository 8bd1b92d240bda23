/**
 * The files of a store: which there are, their destruction, and what is left of them.
 *
 * In the store's folder only names that Holdfast gives are removed; what somebody else put there is named as left. Its
 * entry in the state folder, and unfinished restores and quarantined copies beside it, are Holdfast's alone and go
 * whole. Links are removed, never followed.
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  unlinkSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import {
  decodeLines,
  type ErasedFile,
  type EraseLeft,
  type ErasePlace,
  type ErasePlan,
} from "@holdfast/core";
import { createNodeCrypto } from "./crypto.ts";
import { erasePlanName } from "./erase-plan-file.ts";
import { syncFolder, writeAll } from "./files.ts";
import { keyringFileName } from "./keyring-files.ts";

const crypto = createNodeCrypto();

/** Names that Holdfast gives in a store's folder: the database with its copies and journals, the keyring. */
const ownNames = /^(store\.db([.-][a-z-]+)*|keyring|\.keyring\.[0-9a-f]+\.tmp)$/;
const keyringNames = /^(keyring|keyring\.registered|\.keyring\.[0-9a-f]+\.tmp)$/;

/** A file, or an emptied folder, and where it lies. */
interface Found {
  readonly place: ErasePlace;
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
  readonly isFolder: boolean;
}

/** Where an erase looks. */
export interface EraseGround {
  readonly plan: Pick<ErasePlan, "store" | "directory" | "files" | "copies">;
  readonly state: string;
  /** Codes of what could not be removed, by path. */
  readonly denied: Map<string, string>;
}

function systemCode(error: unknown): string {
  const { code } = error as { readonly code?: unknown };
  if (typeof code !== "string") throw error;
  return code;
}

/** Everything below a folder, its folders after what is in them; the folder itself is not among it. */
function below(place: ErasePlace, folder: string, inner = ""): readonly Found[] {
  let names: readonly string[] = [];
  try {
    if (!lstatSync(join(folder, inner)).isDirectory()) return [];
    names = readdirSync(join(folder, inner)).toSorted();
  } catch (error) {
    // A folder that nobody may look into is met when it is to be removed.
    if (!["ENOENT", "ENOTDIR", "EACCES"].includes(systemCode(error))) throw error;
  }
  return names.flatMap((entry) => {
    const name = join(inner, entry);
    const path = join(folder, name);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return [];
    const isFolder = stat.isDirectory();
    const found = { place, name, path, bytes: isFolder ? 0 : stat.size, isFolder };
    return isFolder ? [...below(place, folder, name), found] : [found];
  });
}

function named(place: ErasePlace, folder: string, pattern: RegExp): readonly Found[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => pattern.test(name))
    .toSorted()
    .flatMap((name) => {
      const path = join(folder, name);
      const stat = lstatSync(path, { throwIfNoEntry: false });
      if (stat === undefined) return [];
      const isFolder = stat.isDirectory();
      const inside = isFolder
        ? below(place, path).map((one) => ({ ...one, name: join(name, one.name) }))
        : [];
      return [...inside, { place, name, path, bytes: isFolder ? 0 : stat.size, isFolder }];
    });
}

const quoted = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);

/** What is of the store, or lies where only its own should be. */
function everything({ plan, state }: Omit<EraseGround, "denied">): readonly Found[] {
  const { store, directory } = plan;
  const entry = join(state, store);
  const name = quoted(basename(directory));
  const aside = new RegExp(String.raw`^(\.${name}\.\d+\.restoring|${name}\.quarantine-\d+)$`);
  const planParts = new RegExp(String.raw`^\.${quoted(erasePlanName(store))}\.[0-9a-f]+\.tmp$`);
  return [
    ...below("store", directory),
    ...named("beside", dirname(directory), aside),
    ...named("beside", state, planParts),
    ...below("state", entry),
    ...named("beside", state, new RegExp(`^${quoted(store)}$`)).filter(
      ({ path }) => path === entry,
    ),
  ];
}

/** What Holdfast made: everything but strange names in the store's folder. */
function isOwn({ place, name }: Found): boolean {
  return place !== "store" || ownNames.test(name);
}

/** Is that file a keyring of this store, or what overwriting left of one? */
function isKeyringOf(path: string, store: string): boolean {
  try {
    if (!lstatSync(path).isFile()) return false;
    const content = readFileSync(path);
    if (content.every((byte) => byte === 0)) return true;
    return decodeLines(crypto, content).some(
      (line) =>
        line.state === "record" && line.record.kind === "keyring" && line.record.store === store,
    );
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes(systemCode(error))) return false;
    throw error;
  }
}

/** Is one of the copies of the keyring what the store's own is now? */
export function hasCurrentCopy(directory: string, copies: readonly string[]): boolean {
  const own = readFileSync(join(directory, keyringFileName));
  return copies.some((path) => existsSync(path) && own.equals(readFileSync(path)));
}

/** The files that will go, and those of the registered copies of the keyring that can be reached. */
export function filesToErase(
  ground: Omit<EraseGround, "denied">,
  copies: readonly string[],
): readonly ErasedFile[] {
  const files = everything(ground).filter((found) => isOwn(found) && !found.isFolder);
  return [
    ...files.map(({ place, name, bytes }) => ({ place, name, bytes })),
    ...copies
      .flatMap((path) => [path, ...partsOf(path)])
      .filter((path) => isKeyringOf(path, ground.plan.store))
      .map((path) => ({ place: "copy" as const, name: path, bytes: lstatSync(path).size })),
  ];
}

/** What a killed process left beside a copy that it was bringing up to date. */
function partsOf(path: string): readonly string[] {
  try {
    const part = new RegExp(String.raw`^\.${quoted(basename(path))}\.\d+\.partial$`);
    return readdirSync(dirname(path))
      .filter((name) => part.test(name))
      .map((name) => join(dirname(path), name));
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes(systemCode(error))) return [];
    throw error;
  }
}

/**
 * Copies that were to be destroyed and are not where they were: gone with their medium, or moved. Where the erase goes
 * on after an interruption, one may have been destroyed before it, if its folder is there.
 */
export function copiesNotReached(ground: EraseGround, isResumed: boolean): readonly string[] {
  return copiesIn(ground).filter(
    (path) => !isKeyringOf(path, ground.plan.store) && !(isResumed && isAbsent(path)),
  );
}

function isAbsent(path: string): boolean {
  try {
    return !readdirSync(dirname(path)).includes(basename(path));
  } catch (error) {
    systemCode(error);
    return false;
  }
}

/** Runs one removal; what the system refuses is remembered for the scan. */
function attempt({ denied }: EraseGround, path: string, act: () => void): void {
  try {
    act();
    denied.delete(path);
  } catch (error) {
    const code = systemCode(error);
    if (code !== "ENOENT") denied.set(path, code);
  }
}

/** Overwrites a keyring, then removes it; its name is gone for good when this returns. */
function destroyKeyring(path: string): void {
  if (lstatSync(path).isFile()) {
    const flags = constants.O_RDWR | (constants.O_NOFOLLOW ?? 0);
    const descriptor = openSync(path, flags);
    try {
      writeAll(descriptor, new Uint8Array(fstatSync(descriptor).size), 0);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }
  unlinkSync(path);
  syncFolder(dirname(path));
}

/** Destroys every copy of the keyring that can be reached. */
export function destroyKeys(ground: EraseGround): void {
  const keyrings = everything(ground).filter(
    (found) => !found.isFolder && isOwn(found) && keyringNames.test(basename(found.path)),
  );
  const copies = copiesIn(ground).filter((path) => isKeyringOf(path, ground.plan.store));
  for (const path of [...keyrings.map((found) => found.path), ...copies]) {
    attempt(ground, path, () => {
      destroyKeyring(path);
    });
  }
}

function copiesIn({ plan }: EraseGround): readonly string[] {
  return plan.files.filter(({ place }) => place === "copy").map(({ name }) => name);
}

/** Removes every file of the store, its folder where nothing else is in it, and its entry in the state folder. */
export function removeFiles(ground: EraseGround): void {
  const { plan, state } = ground;
  for (const { path, isFolder } of everything(ground).filter(isOwn)) {
    attempt(ground, path, () => {
      if (isFolder) removeFolder(path);
      else unlinkSync(path);
    });
  }
  const { directory } = plan;
  try {
    if (existsSync(directory)) rmdirSync(directory);
  } catch (error) {
    // An empty folder that may not be removed holds nothing; what is in one that is not empty is named by the scan.
    systemCode(error);
  }
  for (const folder of [directory, dirname(directory), state]) syncNames(folder);
}

/** Of a folder that is not empty, it matters whether one may look into it. */
function removeFolder(path: string): void {
  readdirSync(path);
  rmdirSync(path);
}

/** A folder that one may pass through and not read cannot be synced by this process. */
function syncNames(folder: string): void {
  try {
    if (existsSync(folder)) syncFolder(folder);
  } catch (error) {
    if (!["EACCES", "EPERM"].includes(systemCode(error))) throw error;
  }
}

/** What is there of the store, and of its folders. */
export function leftOf(ground: EraseGround): readonly EraseLeft[] {
  const left = everything(ground).map(({ place, name, path }) => {
    const code = ground.denied.get(path);
    return { place, name, ...(code !== undefined && { code }) };
  });
  const copies = copiesIn(ground).filter((path) => isKeyringOf(path, ground.plan.store));
  return [
    ...left,
    ...copies.map((path) => {
      const code = ground.denied.get(path);
      return { place: "copy" as const, name: path, ...(code !== undefined && { code }) };
    }),
    ...unseen(ground),
  ];
}

/** Folders that this process may not look into: what is in them, nobody can say. */
function unseen({ plan, state }: EraseGround): readonly EraseLeft[] {
  const folders = [
    ["store", plan.directory],
    ["state", join(state, plan.store)],
  ] as const;
  return folders.flatMap(([place, folder]) => {
    try {
      readdirSync(folder);
      return [];
    } catch (error) {
      const code = systemCode(error);
      return code === "ENOENT" ? [] : [{ place, name: ".", code }];
    }
  });
}
