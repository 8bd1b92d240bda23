/**
 * Which absent content a shred accounts for: by the log, whose access events put it in force, or by a record of this
 * keyring, which only a holder of the epoch key can have written. The table `shreds` alone accounts for nothing:
 * whoever may write rows could hide with it what was taken out.
 */
import type { KeyringShreds } from "../keys/keyring-shreds.ts";
import { HoldfastError } from "../std/errors.ts";
import { contentKey, everySection, shreddedBy, shredKey, type ShredName } from "../store/shreds.ts";
import type { AccessState } from "../sync/access-fold.ts";
import { shredsOf } from "../sync/access-table.ts";

declare const ordered: unique symbol;

/** A shred that was shown to be in force: what destroying asks for (interlock.ts says why a type alone is not enough). */
export type ShredOrder = ShredName & { readonly [ordered]: true };

const made = new WeakSet<ShredName>();

function order(name: ShredName): ShredOrder {
  const shown = Object.freeze({ ...name }) as ShredOrder;
  made.add(shown);
  return shown;
}

/** Throws `interlock_unproven` for anything that no account has made. */
export function assertOrdered(given: ShredOrder): void {
  if (typeof given !== "object" || given === null || !made.has(given)) {
    throw new HoldfastError("interlock_unproven");
  }
}

/** What is accounted for. */
export interface ShredAccount {
  /** Every shred that log or keyring know to have been in force. */
  readonly orders: readonly ShredOrder[];
  isShredded(scope: string, section: string): boolean;
}

/** From the fold of the log and the keyring. Throws `keyring_corrupt`. */
export function accountShreds(
  access: Pick<AccessState, "shreds">,
  keyring: Pick<KeyringShreds, "list">,
): ShredAccount {
  const remembered = keyring.list().map(({ scope, section = everySection, shred, leaf }) => {
    return { scope, section, shred, leaf };
  });
  // One for each scope and section: a second shred of the same content has nothing of its own to show.
  const byKey = new Map<string, ShredName>();
  for (const name of [...remembered, ...shredsOf(access)]) byKey.set(contentKey(name), name);
  const orders = [...byKey.values()].map(order);
  const isMeant = shreddedBy(orders);
  return { orders, isShredded: (scope, section) => isMeant({ scope, section }) };
}

/** Rows of the table that nothing accounts for. */
export function unaccounted(
  { orders }: ShredAccount,
  rows: readonly ShredName[],
): readonly string[] {
  const known = new Set(orders.map(contentKey));
  return rows.filter((row) => !known.has(contentKey(row))).map(shredKey);
}
