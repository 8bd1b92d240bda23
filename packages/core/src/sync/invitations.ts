/**
 * Access by admins: the founder's own, invitations, revocation.
 *
 * An invitation is an enrolment code that an admin device makes. Its secret stays in this store and in the
 * code; the server gets its digest. When the server lists a device that came with that digest, the admin
 * device checks the binding (only whoever holds the secret could make it) and the opening (verified when it
 * was pulled), and then appends `AccessGranted` by itself, as the invitation says.
 */
import type { Header } from "../event/event.ts";
import { parseHeader } from "../event/header.ts";
import {
  accessGrantedType,
  accessRevokedType,
  everyScope,
  incarnationOpenedType,
  type Role,
} from "../event/system.ts";
import { deviceId, readIncarnationPub } from "../seal/incarnation.ts";
import { base64url, fromBase64, fromBase64url, wipe } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import {
  formatEnrolmentCode,
  isBoundBy,
  enrolmentProof,
  keyFingerprint,
  proofDigest,
} from "./enrolment-code.ts";
import type { AccessDraft, GrantStore } from "./grant-store.ts";
import type { EnrolledDevice } from "./messages/enrol.ts";
import type { Hello } from "./messages/hello.ts";
import type { CallOptions, Transport } from "./transport.ts";

/** What an admin decides about a device before it is there. */
export interface InvitationTerms {
  readonly role: Role;
  /** Scope ids, or `*` alone. */
  readonly scopes: readonly string[];
  /** How long the code holds. */
  readonly lifeMs: number;
}

/** An invitation that waits for its device, as the table `sync` keeps it. */
interface Invitation {
  readonly secret: string;
  readonly role: Role;
  readonly scopes: readonly string[];
  /** By this device's clock. */
  readonly forgetAt: number;
}

const prefix = "grants/invitation/";
const nodeName = "grants/node";
/** A device may enrol at the last moment and be seen by the admin's device much later. */
const keptAfterExpiryMs = 30 * 24 * 3_600_000;

/** Subject words of the scope in which access and key events stand: every device with access reads it. */
export const tenantWords = "holdfast/tenant";

/** The scope of access and key events. Throws `pseudonym_key_awaited`. */
export function tenantScope({ keyring }: Pick<GrantStore, "keyring">): string {
  return keyring.scopeOf(tenantWords, "");
}

/**
 * Makes an invitation and registers it at the server; the text of its code. Throws `access_denied`, and what
 * the transport throws.
 */
export async function invite(
  store: GrantStore,
  transport: Pick<Transport, "addCode">,
  options: CallOptions,
  at: { readonly url: string; readonly hello: Pick<Hello, "key" | "time"> },
  terms: InvitationTerms,
): Promise<string> {
  assertAdmin(store);
  // Whoever admits a device must see its opening, wherever that stands.
  if (!store.access().devices.get(store.device())?.scopes.has(everyScope)) {
    throw new HoldfastError("access_denied", { device: store.device() });
  }
  const { crypto, keyring, random } = store;
  const scopes = checkedScopes(store, terms.scopes);
  const fingerprint = keyFingerprint(crypto, at.hello.key);
  const secret = random.bytes(32);
  const digest = proofDigest(crypto, enrolmentProof(crypto, secret));
  if (fingerprint === undefined || digest === undefined) {
    throw new HoldfastError("enrol_server_mismatch");
  }
  const expires = at.hello.time + terms.lifeMs;
  const code = formatEnrolmentCode({
    url: at.url,
    key: fingerprint,
    secret,
    expires,
    joins: { tenant: keyring.tenant, founder: store.founder() },
  });
  const invitation: Invitation = {
    secret: base64url(secret),
    role: terms.role,
    scopes,
    forgetAt: store.clock.now() + terms.lifeMs + keptAfterExpiryMs,
  };
  wipe(secret);
  // Kept before it is registered: a code that nobody answers for would only enrol.
  await store.transact(({ values }) => {
    values.set(prefix + digest, JSON.stringify(invitation));
  });
  await transport.addCode({ digest, role: terms.role, expires }, options);
  return code;
}

/** Named scopes bring the tenant's own, which access and key events stand in. */
function checkedScopes(store: GrantStore, scopes: readonly string[]): readonly string[] {
  if (scopes.includes(everyScope)) return [everyScope];
  const odd = scopes.find((scope) => fromBase64url(scope)?.length !== 16);
  if (scopes.length === 0 || odd !== undefined) {
    throw new HoldfastError("query_invalid", { field: "scopes" });
  }
  return [...new Set([tenantScope(store), ...scopes])];
}

/**
 * Withdraws what a device may read, of all or of some scopes: no new grants, and new data keys for what is
 * recorded from now on. Throws `access_denied`.
 */
export async function withdrawAccess(
  store: GrantStore,
  device: string,
  why: string,
  scopes: readonly string[] = [everyScope],
): Promise<void> {
  assertAdmin(store);
  await store.append([{ type: accessRevokedType, pub: { device, scopes }, why }]);
  const gone = new Set(
    store
      .grants()
      .filter(({ recipient, state }) => recipient === device && state === "sent")
      .filter(({ key }) => {
        const scope = store.keyring.dataKeyById(key)?.scope;
        return scopes.includes(everyScope) || (scope !== undefined && scopes.includes(scope));
      }),
  );
  await store.transact((writes) => {
    for (const row of gone) writes.put({ ...row, state: "withdrawn", at: store.clock.now() });
  });
}

/** Throws `access_denied` unless this device is an admin of its tenant. */
export function assertAdmin(store: GrantStore): void {
  const device = store.device();
  if (device === store.founder()) return;
  if (store.access().devices.get(device)?.role === "admin") return;
  throw new HoldfastError("access_denied", { device });
}

/** Keeps what the founder's device does about the server's node: `granted` makes it a recipient like others. */
export async function noteNode(
  store: GrantStore,
  node: string,
  reads: Hello["reads"],
): Promise<void> {
  await store.transact(({ values }) => {
    values.set(nodeName, JSON.stringify({ node, reads }));
  });
}

/** The founder's first acts after its enrolment: its own access is in the log before anything is pushed. */
export async function foundTenant(
  store: GrantStore,
  node: string,
  reads: Hello["reads"],
): Promise<void> {
  await noteNode(store, node, reads);
  const drafts = founding(store);
  if (drafts.length > 0) await store.append(drafts);
}

/**
 * What an admin device does by itself after each sync: the founder's own access, the node's, and that of
 * devices which answered its invitations. How many events it appended.
 */
export async function actAsAdmin(
  store: GrantStore,
  transport: Pick<Transport, "devices">,
  options: CallOptions,
): Promise<number> {
  if (!store.keyring.hasPseudonymKey) return 0;
  const drafts: AccessDraft[] = store.device() === store.founder() ? founding(store) : [];
  const answered: string[] = [];
  const invitations = store.values.list(prefix);
  if (invitations.length > 0) {
    const devices = await transport.devices(options);
    for (const { name, value } of invitations) {
      const invitation = JSON.parse(value) as Invitation;
      const draft = accessFor(store, name.slice(prefix.length), invitation, devices);
      if (draft !== undefined) drafts.push(draft);
      if (draft !== undefined || store.clock.now() >= invitation.forgetAt) answered.push(name);
    }
  }
  if (mayGrant(store)) drafts.push(...rekeyed(store));
  if (drafts.length > 0) await store.append(drafts);
  if (answered.length > 0) {
    await store.transact(({ values }) => {
      for (const name of answered) values.remove(name);
    });
  }
  return drafts.length;
}

function mayGrant(store: GrantStore): boolean {
  const device = store.device();
  return device === store.founder() || store.access().devices.get(device)?.role === "admin";
}

/**
 * Access that goes on for another HPKE key: a device's newest verified incarnation names it. Its holders then
 * wrap everything to that one (spec/access.md).
 */
function rekeyed(store: GrantStore): AccessDraft[] {
  return [...store.access().devices].flatMap(([device, { role, hpke: granted, scopes }]) => {
    const hpke = store
      .openings(device)
      .flatMap((opening) => hpkeOf(store, device, opening) ?? [])
      .at(-1);
    if (hpke === undefined || hpke === granted) return [];
    return [{ type: accessGrantedType, pub: { device, hpke, role, scopes: [...scopes.keys()] } }];
  });
}

/** The founder grants itself, so that others wrap to it, and the node once its opening has been pulled. */
function founding(store: GrantStore): AccessDraft[] {
  const { ever } = store.access();
  const drafts: AccessDraft[] = [];
  const device = store.device();
  const grantAll = (to: string, role: Role): void => {
    const [hpke] = store.openings(to).flatMap((opening) => hpkeOf(store, to, opening) ?? []);
    // A node that was revoked is not granted again by itself.
    if (hpke === undefined || ever.has(to)) return;
    drafts.push({ type: accessGrantedType, pub: { device: to, hpke, role, scopes: [everyScope] } });
  };
  grantAll(device, "admin");
  const noted = store.values.get(nodeName);
  const node =
    noted === undefined ? undefined : (JSON.parse(noted) as { node: string; reads: string });
  if (node?.reads === "granted") grantAll(node.node, "reader");
  return drafts;
}

function accessFor(
  store: GrantStore,
  digest: string,
  { secret, role, scopes }: Invitation,
  devices: readonly EnrolledDevice[],
): AccessDraft | undefined {
  const key = fromBase64url(secret);
  if (key === undefined) return undefined;
  for (const { device, status, code, binding, logs } of devices) {
    if (status !== "active" || code !== digest || binding === undefined) continue;
    const verified = new Set(store.openings(device));
    for (const { opening } of logs) {
      // What the server lists counts only where the device's own log, as pulled and verified, says the same.
      const bound = verified.has(opening) && isBoundBy(store.crypto, key, opening, binding);
      const hpke = bound ? hpkeOf(store, device, opening) : undefined;
      if (hpke === undefined) continue;
      return { type: accessGrantedType, pub: { device, hpke, role, scopes } };
    }
  }
  return undefined;
}

/** The HPKE key of an opening of that device's log; `undefined` when it is none. */
function hpkeOf(
  { crypto }: Pick<GrantStore, "crypto">,
  device: string,
  opening: string,
): string | undefined {
  const header = parseHeader(opening) as Header;
  const pub = readIncarnationPub(header.pub);
  if (pub === undefined || header.type !== incarnationOpenedType) return undefined;
  if (header.dev !== device || header.seq !== 1) return undefined;
  const spki = fromBase64(pub.spki);
  // The first is its own authority; a later one was checked against it when it was pulled.
  const selfCertified = spki !== undefined && deviceId(crypto, spki) === device;
  if (pub.reason === "first" && !selfCertified) return undefined;
  return pub.hpke;
}
