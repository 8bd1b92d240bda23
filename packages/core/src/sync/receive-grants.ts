/**
 * Receiving: keys that others wrapped to this installation.
 *
 * A grant is taken when it opens, and when an event in the log, of a device that has or had access to the
 * tenant, names its digest. One that opens and is not named yet waits here for its event; one that does
 * not open is refused and forgotten. Nothing that a server makes up is ever taken.
 */
import { base64url, type Bytes, equalBytes, utf8, wipe } from "../std/bytes.ts";
import { type ErrorCode, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { GrantedKey, HpkeKeyPair } from "../keys/grant.ts";
import type { Keyring } from "../keys/keyring.ts";
import { type AccessState, mayVouch } from "./access-fold.ts";
import type { GrantStore } from "./grant-store.ts";
import type { CallOptions, Transport } from "./transport.ts";

const cursorName = "grants/after";
const pendingPrefix = "grants/pending/";

/** What became of a grant. */
type Verdict =
  | { readonly status: "taken"; readonly key: string; readonly generation: number }
  /** The key is here already. */
  | { readonly status: "known"; readonly key: string; readonly generation: number }
  | { readonly status: "pending" }
  | { readonly status: "refused"; readonly code: ErrorCode };

export interface Received {
  readonly received: number;
  readonly refused: number;
  readonly pending: number;
  /** Streams that were folded anew. */
  readonly opened: number;
}

/** Takes what has arrived. Throws what the transport throws. */
export async function receiveGrants(
  store: GrantStore,
  transport: Pick<Transport, "grants">,
  options: CallOptions,
): Promise<Received> {
  const total = { received: 0, refused: 0, pending: 0, opened: 0 };
  const access = store.access();
  const before = store.values.list(pendingPrefix);
  for (const { name, value } of before) {
    await settle(store, access, name, value, total);
  }
  for (;;) {
    const room = limits.pendingGrantsMax - store.values.list(pendingPrefix).length;
    const after = Number(store.values.get(cursorName) ?? "0");
    const page = await transport.grants(after, options);
    for (const { number, grant } of page.grants.slice(0, Math.max(0, room))) {
      const digits = String(number).padStart(16, "0");
      await settle(store, access, pendingPrefix + digits, grant, total, number);
    }
    // What has no room stays at the server.
    if (!page.more || page.grants.length === 0 || page.grants.length > room) break;
  }
  total.pending = store.values.list(pendingPrefix).length;
  return total;
}

async function settle(
  store: GrantStore,
  access: AccessState,
  name: string,
  grant: string,
  total: { received: number; refused: number; opened: number },
  number?: number,
): Promise<void> {
  const verdict = await judge(store, access, grant);
  if (verdict.status === "pending" && number === undefined) return;
  await store.transact((writes) => {
    if (number !== undefined) writes.values.set(cursorName, String(number));
    if (verdict.status === "pending") {
      writes.values.set(name, grant);
      return;
    }
    writes.values.remove(name);
    if (verdict.status === "refused") return;
    const { key, generation } = verdict;
    const at = store.clock.now();
    writes.put({ key, generation, recipient: store.device(), state: "received", at });
    total.opened += writes.opened(key, generation);
  });
  if (verdict.status === "taken") total.received += 1;
  if (verdict.status === "refused") total.refused += 1;
  const result = verdict.status === "refused" ? verdict.code : verdict.status;
  store.observer.count("grants_received", 1, { result });
}

async function judge(store: GrantStore, access: AccessState, grant: string): Promise<Verdict> {
  const { keyring } = store;
  // Loaded when a grant arrives, not with the core: HPKE is seldom needed.
  const { unwrapGrant, recipientOf } = await import("../keys/grant.ts");
  const own = hpkeKeyOf(keyring, recipientOf(utf8(grant)));
  let granted: GrantedKey;
  try {
    granted = await unwrapGrant(utf8(grant), keyring.tenant, own);
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return { status: "refused", code: error.code };
  } finally {
    wipe(own.privateKey);
  }
  try {
    return take(store, access, grant, granted);
  } finally {
    wipe(granted.key);
  }
}

/** The key that the grant names, if it is one of ours: a former one opens what was on its way. */
function hpkeKeyOf(keyring: Keyring, named: Bytes | undefined): HpkeKeyPair {
  const former = named && keyring.hpkePrivateKey(named);
  if (named !== undefined && former !== undefined) return { publicKey: named, privateKey: former };
  const { publicKey, privateKey } = keyring.hpke();
  return { publicKey, privateKey: privateKey() };
}

function take(store: GrantStore, access: AccessState, grant: string, granted: GrantedKey): Verdict {
  const { keyring } = store;
  const names = granted.kind === "pseudonym" ? { id: keyring.tenant, generation: 1 } : granted;
  const digest = base64url(store.crypto.sha256(utf8(grant)));
  const believed = store
    .ledger()
    .named(digest)
    .some((named) => {
      const same = named.key === names.id && named.generation === names.generation;
      return (
        same && named.device === store.device() && mayVouch(access, store.founder(), named.author)
      );
    });
  if (!believed) return { status: "pending" };
  const held = heldKey(store, granted);
  if (held !== undefined) {
    const same = equalBytes(held, granted.key);
    wipe(held);
    // A crash between keyring and store may have left sections closed that it opens.
    return same
      ? { status: "known", key: names.id, generation: names.generation }
      : { status: "refused", code: "grant_contradicts" };
  }
  // Whoever granted it had not heard of the shred yet: the key goes no further.
  if (granted.kind === "data" && isShredded(store, granted)) {
    return { status: "refused", code: "scope_shredded" };
  }
  if (granted.kind === "pseudonym") keyring.addPseudonymKey(granted.key);
  else keyring.addDataKey(granted);
  return { status: "taken", key: names.id, generation: names.generation };
}

function isShredded(
  { keyring, shreds }: GrantStore,
  { scope, section }: { readonly scope: string; readonly section: string },
): boolean {
  return keyring.shreds.isShredded(scope, section) || shreds().isShredded(scope, section);
}

function heldKey({ keyring }: GrantStore, granted: GrantedKey): Uint8Array | undefined {
  if (granted.kind === "pseudonym") return keyring.pseudonymKey();
  return keyring.dataKeyMaterial(granted.id, granted.generation)?.key;
}
