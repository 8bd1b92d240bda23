/**
 * Sending: every key held here, for every device with access to its scope that nobody has granted it to.
 *
 * Wrapped grants are kept in the table `sync` until the server has them; the log names them before they are
 * sent. After a crash at any point the next exchange goes on with the same texts. Keys are wrapped for HPKE
 * keys from `AccessGranted` events alone, never on the server's word.
 */
import { base64url, fromBase64, fromUtf8, type Bytes, wipe } from "../std/bytes.ts";
import { invariant, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { type KeyGrantedPub, keyGrantedType } from "../event/system.ts";
import type { GrantedKey } from "../keys/grant.ts";
import { type AccessState, type DeviceAccess, mayReadScope, mayVouch } from "./access-fold.ts";
import type { AccessDraft, GrantStore } from "./grant-store.ts";
import type { KeyLedger } from "./key-ledger.ts";
import { lostGrantName, lostGrantPrefix } from "./lost-grants.ts";
import type { CallOptions, Transport } from "./transport.ts";

const outgoingPrefix = "grants/outgoing/";

/** A grant on its way: wrapped, maybe named in the log, not yet at the server. */
interface Outgoing {
  readonly digest: string;
  readonly device: string;
  readonly hpke: string;
  readonly key: string;
  readonly generation: number;
  readonly grant: string;
}

/** A key to be wrapped. */
interface Missing {
  readonly device: string;
  readonly hpke: string;
  readonly key: string;
  readonly generation: number;
}

export interface Sent {
  readonly sent: number;
  /** Events that were appended: there is something to push. */
  readonly appended: number;
}

/** Where each store stood when nothing was due: most exchanges find it there again. */
const settled = new WeakMap<GrantStore, string>();

/** Changes whenever something may have become due. */
function standOf(store: GrantStore, access: AccessState): string {
  const leaves = [...access.devices].flatMap(([device, { scopes }]) => [
    device,
    ...scopes.values(),
  ]);
  const again = store.values.count(lostGrantPrefix);
  return [store.ledger().position, store.keyring.dataKeys().length, again, ...leaves].join(" ");
}

/** Sends what is due. Throws what the transport and an append throw; nothing is lost. */
export async function sendGrants(
  store: GrantStore,
  transport: Pick<Transport, "sendGrants">,
  options: CallOptions,
): Promise<Sent> {
  // Without it no event can be named here; and there is nothing that others have not.
  if (!store.keyring.hasPseudonymKey) return { sent: 0, appended: 0 };
  store.keyring.refresh();
  let [sent, appended] = [0, 0];
  const unusable = new Set<string>();
  for (;;) {
    const access = store.access();
    await dropWithdrawn(store, access);
    const outgoing = outgoingOf(store);
    const stand = standOf(store, access);
    if (outgoing.length === 0 && settled.get(store) === stand) return { sent, appended };
    const room = limits.grantsMax - outgoing.length;
    const missing = missingGrants(store, access, { outgoing, unusable }, room);
    const wrapped = await wrapAll(store, missing, unusable);
    if (wrapped.length > 0) {
      await store.transact(({ values }) => {
        for (const entry of wrapped)
          values.set(outgoingPrefix + entry.digest, JSON.stringify(entry));
      });
    }
    const batch = [...outgoing, ...wrapped];
    if (batch.length === 0) {
      settled.set(store, stand);
      return { sent, appended };
    }
    appended += await nameInLog(store, batch);
    await transport.sendGrants({ grants: batch.map(({ grant }) => grant) }, options);
    await store.transact((writes) => {
      for (const entry of batch) {
        const { digest, key, generation, device } = entry;
        writes.values.remove(outgoingPrefix + digest);
        writes.values.remove(lostGrantName(entry));
        const at = store.clock.now();
        writes.put({ key, generation, recipient: device, state: "sent", at });
      }
    });
    store.observer.count("grants_sent", batch.length);
    sent += batch.length;
  }
}

function outgoingOf(store: GrantStore): readonly Outgoing[] {
  return store.values.list(outgoingPrefix).map(({ value }) => JSON.parse(value) as Outgoing);
}

/** What was wrapped and not sent when access was withdrawn stays here. */
async function dropWithdrawn(store: GrantStore, access: AccessState): Promise<void> {
  const withdrawn = outgoingOf(store).filter(({ device, hpke, key, generation }) => {
    const row = access.devices.get(device);
    return row?.hpke !== hpke || !mayHave(store, row, key, generation);
  });
  if (withdrawn.length === 0) return;
  await store.transact(({ values }) => {
    for (const { digest } of withdrawn) values.remove(outgoingPrefix + digest);
  });
}

function mayHave(store: GrantStore, row: DeviceAccess, key: string, generation: number): boolean {
  if (key === store.keyring.tenant) return true;
  const scope = store.keyring.dataKey(key, generation)?.scope;
  return scope !== undefined && mayReadScope(row.scopes, scope);
}

function missingGrants(
  store: GrantStore,
  access: AccessState,
  except: { readonly outgoing: readonly Outgoing[]; readonly unusable: ReadonlySet<string> },
  most: number,
): readonly Missing[] {
  const { keyring } = store;
  const ledger = store.ledger();
  const under = new Set(except.outgoing.map((entry) => nameOf(entry)));
  const missing: Missing[] = [];
  const pseudonym = { id: keyring.tenant, generation: 1, scope: undefined };
  const shreds = store.shreds();
  const isAnyShredded = shreds.any();
  const granted = keyring
    .dataKeys()
    .filter(({ scope, section }) => !isAnyShredded || !shreds.isShredded(scope, section));
  const held = [pseudonym, ...granted];
  for (const [device, { hpke, scopes }] of access.devices) {
    if (device === store.device() || except.unusable.has(hpke)) continue;
    for (const { id, generation, scope } of held) {
      if (missing.length >= most) return missing;
      if (scope !== undefined && !mayReadScope(scopes, scope)) continue;
      const entry = { device, hpke, key: id, generation };
      if (under.has(nameOf(entry)) || isGranted(store, access, ledger, entry)) continue;
      missing.push(entry);
    }
  }
  return missing;
}

const nameOf = ({ device, hpke, key, generation }: Missing): string =>
  `${device}/${hpke}/${key}/${generation}`;

/** Does the log say so, by a device that may be believed? */
function isGranted(
  store: GrantStore,
  access: AccessState,
  ledger: KeyLedger,
  { device, hpke, key, generation }: Missing,
): boolean {
  // Who grants a key to others has it.
  if (ledger.holders(key, generation).has(device)) return true;
  if (store.values.get(lostGrantName({ device, hpke, key, generation })) !== undefined)
    return false;
  for (const author of ledger.granters(key, generation, device, hpke)) {
    if (author === store.device() || mayVouch(access, store.founder(), author)) return true;
  }
  return false;
}

async function wrapAll(
  store: GrantStore,
  missing: readonly Missing[],
  unusable: Set<string>,
): Promise<readonly Outgoing[]> {
  if (missing.length === 0) return [];
  // Loaded when there is something to wrap, not with the core: HPKE is seldom needed.
  const { wrapGrant } = await import("../keys/grant.ts");
  const wrapped: Outgoing[] = [];
  for (const entry of missing) {
    if (unusable.has(entry.hpke)) continue;
    const granted = materialOf(store, entry);
    if (granted === undefined) continue;
    try {
      const recipient = publicKeyOf(entry.hpke);
      const grant = await wrapGrant(granted, store.keyring.tenant, recipient, store.random);
      const digest = base64url(store.crypto.sha256(grant));
      wrapped.push({ ...entry, digest, grant: fromUtf8(grant) });
    } catch (error) {
      // An admin has granted access to a public key that is none: others get theirs all the same.
      if (!isHoldfastError(error, "grant_malformed")) throw error;
      unusable.add(entry.hpke);
      store.observer.count("grants_unsendable", 1);
    } finally {
      wipe(granted.key);
    }
  }
  return wrapped;
}

function publicKeyOf(hpke: string): Bytes {
  const bytes = fromBase64(hpke);
  invariant(bytes !== undefined, "an access event was checked when it was read");
  return bytes;
}

function materialOf(store: GrantStore, { key, generation }: Missing): GrantedKey | undefined {
  if (key !== store.keyring.tenant) {
    const material = store.keyring.dataKeyMaterial(key, generation);
    return material && { kind: "data", ...material };
  }
  const pseudonym = store.keyring.pseudonymKey();
  return pseudonym && { kind: "pseudonym", key: pseudonym };
}

/** Events for what the log does not name yet, all in one commit; how many. */
async function nameInLog(store: GrantStore, batch: readonly Outgoing[]): Promise<number> {
  const ledger = store.ledger();
  const unnamed = batch.filter(({ digest }) => ledger.named(digest).length === 0);
  const byRecipient = Map.groupBy(unnamed, ({ device, hpke }) => `${device}/${hpke}`);
  const drafts: AccessDraft[] = [];
  for (const entries of byRecipient.values()) {
    for (let at = 0; at < entries.length; at += limits.keysPerEventMax) {
      drafts.push({
        type: keyGrantedType,
        pub: pubOf(entries.slice(at, at + limits.keysPerEventMax)),
      });
    }
  }
  if (drafts.length > 0) await store.append(drafts);
  return drafts.length;
}

function pubOf(entries: readonly Outgoing[]): KeyGrantedPub {
  const [first] = entries;
  invariant(first !== undefined, "an event names at least one key");
  const { device, hpke } = first;
  const keys = entries.map(({ key, generation, digest }) => ({ key, generation, grant: digest }));
  return { device, hpke, keys };
}
