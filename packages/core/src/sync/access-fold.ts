/**
 * Who may read what: folded from `AccessGranted` and `AccessRevoked`, the same on every replica with the same
 * events (spec/access.md).
 *
 * All access events of a tenant stand in one stream, so that version vectors say which one its author had
 * seen. They are taken in canonical order; one counts when its author is the founder, or an admin by the
 * events before it. Whatever else claims access changes nothing and is listed as refused.
 */
import { canonicalOrder } from "../event/canonical-order.ts";
import type { Header } from "../event/event.ts";
import {
  accessGrantedType,
  type AccessGrantedPub,
  accessRevokedType,
  type AccessRevokedPub,
  everyScope,
  type Role,
  systemPubFault,
} from "../event/system.ts";

/** An event with its leaf. */
export interface AccessEvent {
  readonly leaf: string;
  readonly header: Header;
}

/** What one device may read now. */
export interface DeviceAccess {
  readonly role: Role;
  /** X25519 public key that keys are wrapped to, base64. */
  readonly hpke: string;
  /** Scope ids, `*` among them: all; each with the leaf of the event that granted it. */
  readonly scopes: ReadonlyMap<string, string>;
}

/** Who may read what, as the access events of the log say. */
export interface AccessState {
  readonly devices: ReadonlyMap<string, DeviceAccess>;
  /** Scopes that a device may read or once might: what its keys may be believed in. */
  readonly ever: ReadonlyMap<string, ReadonlySet<string>>;
  /** Leaves of events whose authors were no admins. */
  readonly refused: readonly string[];
}

/** Is it an event that the fold reads? */
export function isAccessType(type: string): boolean {
  return type === accessGrantedType || type === accessRevokedType;
}

interface Folding {
  readonly devices: Map<string, DeviceAccess>;
  readonly ever: Map<string, Set<string>>;
}

function grant(state: Folding, pub: AccessGrantedPub, leaf: string): void {
  const { device, role, hpke } = pub;
  const scopes = new Map(state.devices.get(device)?.scopes);
  const ever = state.ever.get(device) ?? new Set<string>();
  for (const scope of pub.scopes) {
    scopes.set(scope, leaf);
    ever.add(scope);
  }
  state.devices.set(device, { role, hpke, scopes });
  state.ever.set(device, ever);
}

function revoke(state: Folding, pub: AccessRevokedPub): void {
  const before = state.devices.get(pub.device);
  if (before === undefined) return;
  const scopes = new Map(before.scopes);
  for (const scope of pub.scopes) {
    if (scope === everyScope) scopes.clear();
    else scopes.delete(scope);
  }
  if (scopes.size === 0) state.devices.delete(pub.device);
  else state.devices.set(pub.device, { ...before, scopes });
}

/**
 * The stream of access events is that of the founder's first one: what stands elsewhere has no place in its
 * order and counts for nothing.
 */
function accessStream(events: readonly AccessEvent[], founder: string): string | undefined {
  const own = events.filter(({ header }) => header.dev === founder).map(({ header }) => header);
  const isBefore = (a: Header, b: Header): boolean =>
    a.at === b.at ? (a.inc === b.inc ? a.seq < b.seq : a.inc < b.inc) : a.at < b.at;
  return own.reduce<Header | undefined>(
    (first, header) => (first === undefined || isBefore(header, first) ? header : first),
    undefined,
  )?.stream;
}

/** Folds access events, in whatever order they are given. */
export function foldAccess(events: readonly AccessEvent[], founder: string): AccessState {
  const stream = accessStream(events, founder);
  const state: Folding = { devices: new Map(), ever: new Map() };
  const refused = events.filter(({ header }) => header.stream !== stream).map(({ leaf }) => leaf);
  const inStream = events.filter(({ header }) => header.stream === stream);
  for (const { leaf, header } of canonicalOrder(inStream)) {
    const { dev, type, pub } = header;
    // A header of a newer version is kept whatever it says.
    const readable = systemPubFault(type, pub ?? {}) === undefined;
    const mayGrant = dev === founder || state.devices.get(dev)?.role === "admin";
    if (!readable || !mayGrant) {
      refused.push(leaf);
    } else if (type === accessGrantedType) grant(state, pub as AccessGrantedPub, leaf);
    else if (type === accessRevokedType) revoke(state, pub as AccessRevokedPub);
  }
  return { ...state, refused };
}

/** May a device with that access read the scope? */
export function mayReadScope(
  scopes: { has(scope: string): boolean } | undefined,
  scope: string,
): boolean {
  return scopes !== undefined && (scopes.has(scope) || scopes.has(everyScope));
}

/**
 * May a device say which keys there are? Whoever an admin has let in at any time: a device begins scopes of
 * its own, and what it granted before it left stays granted.
 */
export function mayVouch(
  { ever }: Pick<AccessState, "ever">,
  founder: string,
  device: string,
): boolean {
  return device === founder || ever.has(device);
}
