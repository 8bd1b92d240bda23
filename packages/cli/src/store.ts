/** Opening the store that a command names, and closing it whatever happens. */
import { createRegistry, type Holdfast, type Projection, type Registry } from "@holdfast/core";
import { openStore } from "@holdfast/node";
import { packEvents, packProjections } from "@holdfast/packs";
import { readPassphrase } from "./secrets.ts";

/** Options that every command takes. */
export interface StoreOptions {
  readonly store?: string;
  readonly json?: boolean;
  readonly passphraseFile?: string;
  readonly acceptRollback?: boolean;
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
    passphrase: passphrase ?? (await readPassphrase(options)),
    registry,
    projections,
    readOnly: mode === "read",
    app: "holdfast-cli",
    acceptRollback: options.acceptRollback === true,
  });
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}
