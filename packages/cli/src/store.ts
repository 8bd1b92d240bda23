/** Opening the store that a command names, and closing it whatever happens. */
import {
  type AuditEntry,
  createRegistry,
  type Holdfast,
  type Projection,
  type Registry,
} from "@holdfast/core";
import {
  followKeySettings,
  type KeySettingsFile,
  openStore,
  readKeySettings,
} from "@holdfast/node";
import { packEvents, packProjections } from "@holdfast/packs";
import { givenPassphrase, readPassphrase } from "./secrets.ts";

/** Options that every command takes. */
export interface StoreOptions {
  readonly store?: string;
  readonly json?: boolean;
  readonly passphraseFile?: string;
  readonly acceptRollback?: boolean;
  readonly keySettings?: string;
}

/** The command line is wrong: exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The event types that the command knows out of the box. */
export const registry: Registry = createRegistry(packEvents);
export const projections: readonly Projection[] = packProjections;

/** The folder of the store: `--store`, else `HOLDFAST_STORE`. */
export function storeDirectory(options: StoreOptions): string {
  const directory = options.store ?? process.env["HOLDFAST_STORE"];
  if (directory === undefined || directory === "") {
    throw new UsageError("Name the store: --store DIR, or HOLDFAST_STORE.");
  }
  return directory;
}

/** The file of key-provider settings: `--key-settings`, else `HOLDFAST_KEY_SETTINGS`. */
function keySettingsPath({ keySettings }: Pick<StoreOptions, "keySettings">): string | undefined {
  const path = keySettings ?? process.env["HOLDFAST_KEY_SETTINGS"];
  return path === "" ? undefined : path;
}

/** What opens a store: the settings of key providers, and the passphrase where there is one. */
export async function storeAccess(
  options: StoreOptions,
  confirm?: "ask twice",
  /** Where the command knows it already. */
  known?: string,
): Promise<Partial<KeySettingsFile> & { readonly passphrase?: string }> {
  const path = keySettingsPath(options);
  if (path === undefined) return { passphrase: known ?? (await readPassphrase(options, confirm)) };
  const settings = readKeySettings(path);
  const passphrase = known ?? (await givenPassphrase(options));
  return { ...settings, ...(passphrase === undefined ? {} : { passphrase }) };
}

/** Records what was done to the store in its audit trail; the act itself stands whatever becomes of that. */
export function recordAct(options: StoreOptions, entry: AuditEntry): Promise<void> {
  return withStore(options, "write", (store) => store.audit.record(entry));
}

export async function withStore<T>(
  options: StoreOptions,
  mode: "read" | "write",
  use: (store: Holdfast) => Promise<T>,
  /** Where the command knows it already. */
  passphrase?: string,
): Promise<T> {
  const directory = storeDirectory(options);
  const store = await openStore({
    directory,
    ...(await storeAccess(options, undefined, passphrase)),
    registry,
    projections,
    readOnly: mode === "read",
    app: "holdfast-cli",
    acceptRollback: options.acceptRollback === true,
  });
  const path = keySettingsPath(options);
  const unfollow = path === undefined ? undefined : followKeySettings(path, store);
  try {
    return await use(store);
  } finally {
    unfollow?.();
    await store.close();
  }
}
