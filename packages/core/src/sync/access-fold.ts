/**
 * Who may read what, and what is shredded: folded from the access events of the log, the same on every replica with
 * the same events (spec/access.md, spec/shred.md).
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
  type Concerned,
  everyScope,
  holdLiftedType,
  type HoldLiftedPub,
  holdPlacedType,
  type HoldPlacedPub,
  type Role,
  shredApprovedType,
  type ShredApprovedPub,
  shredRequestedType,
  type ShredRequestedPub,
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

/** A hold that stands. */
export interface Hold extends Concerned {
  readonly leaf: string;
}

/** A shred that was asked for. */
export interface Shred extends Concerned {
  /** Of the event that asked for it. */
  readonly leaf: string;
  /** Pseudonyms of the actors who approved it. */
  readonly approvals: ReadonlySet<string>;
  /**
   * Leaf of the event that put it in force: the second actor's approval, or the end of the last hold that stood
   * against it. A shred in force stays so, whatever follows. `undefined`: not in force.
   */
  readonly inForce: string | undefined;
}

/** Who may read what, and what is shredded, as the access events of the log say. */
export interface AccessState {
  readonly devices: ReadonlyMap<string, DeviceAccess>;
  /** Scopes that a device may read or once might: what its keys may be believed in. */
  readonly ever: ReadonlyMap<string, ReadonlySet<string>>;
  /** Holds that stand, by their ids. */
  readonly holds: ReadonlyMap<string, Hold>;
  /** Shreds that were asked for, in force or not, by their ids. */
  readonly shreds: ReadonlyMap<string, Shred>;
  /** Leaves of events whose authors were no admins. */
  readonly refused: readonly string[];
}

/** Types that the fold reads: all of them stand in the stream of access events. */
export const accessTypes: readonly string[] = [
  accessGrantedType,
  accessRevokedType,
  holdPlacedType,
  holdLiftedType,
  shredRequestedType,
  shredApprovedType,
];

/** Is it an event that the fold reads? */
export function isAccessType(type: string): boolean {
  return accessTypes.includes(type);
}

/** Actors who have to approve a shred. */
export const shredApprovals = 2;

interface Asked extends Shred {
  readonly approvals: Set<string>;
  inForce: string | undefined;
}

interface Folding {
  readonly devices: Map<string, DeviceAccess>;
  readonly ever: Map<string, Set<string>>;
  readonly holds: Map<string, Hold>;
  readonly shreds: Map<string, Asked>;
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

/** Do they speak of the same content? Without a section, every one of the scope is meant. */
export function concernsSame(a: Concerned, b: Concerned): boolean {
  if (a.section !== undefined && b.section !== undefined && a.section !== b.section) return false;
  return a.scopes.some((scope) => b.scopes.includes(scope));
}

/** Whoever reads access events must go on being able to: their scope is never shredded. */
function shredsItsOwn({ type, pub, scope }: Header): boolean {
  return type === shredRequestedType && (pub as ShredRequestedPub).scopes.includes(scope);
}

/** What an admin says counts; an id that stands already is not taken over by another event. */
function apply(state: Folding, { header, leaf }: AccessEvent): void {
  const { type, act } = header;
  const pub = header.pub as unknown;
  if (type === accessGrantedType) grant(state, pub as AccessGrantedPub, leaf);
  else if (type === accessRevokedType) revoke(state, pub as AccessRevokedPub);
  else if (type === holdPlacedType) {
    const { hold, ...concerned } = pub as HoldPlacedPub;
    if (!state.holds.has(hold)) state.holds.set(hold, { ...concerned, leaf });
  } else if (type === holdLiftedType) {
    state.holds.delete((pub as HoldLiftedPub).hold);
  } else if (type === shredRequestedType) {
    const { shred, ...concerned } = pub as ShredRequestedPub;
    if (state.shreds.has(shred)) return;
    state.shreds.set(shred, { ...concerned, leaf, approvals: new Set(), inForce: undefined });
  } else if (type === shredApprovedType) {
    state.shreds.get((pub as ShredApprovedPub).shred)?.approvals.add(act);
  }
}

/** Approvals of what was not asked for yet count for nothing, so that a request puts nothing in force. */
const puttingInForce: ReadonlySet<string> = new Set([shredApprovedType, holdLiftedType]);

/** Shreds that this event puts in force. */
function putInForce(state: Folding, leaf: string): void {
  const holds = [...state.holds.values()];
  for (const shred of state.shreds.values()) {
    const isApproved = shred.inForce === undefined && shred.approvals.size >= shredApprovals;
    if (isApproved && !holds.some((hold) => concernsSame(hold, shred))) shred.inForce = leaf;
  }
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
  const state: Folding = {
    devices: new Map(),
    ever: new Map(),
    holds: new Map(),
    shreds: new Map(),
  };
  const refused = events.filter(({ header }) => header.stream !== stream).map(({ leaf }) => leaf);
  const inStream = events.filter(({ header }) => header.stream === stream);
  for (const event of canonicalOrder(inStream)) {
    const { leaf, header } = event;
    const { dev, type, pub } = header;
    // A header of a newer version is kept whatever it says.
    const readable = systemPubFault(type, pub ?? {}) === undefined && !shredsItsOwn(header);
    const mayGrant = dev === founder || state.devices.get(dev)?.role === "admin";
    if (!readable || !mayGrant) {
      refused.push(leaf);
    } else {
      apply(state, event);
      if (puttingInForce.has(type)) putInForce(state, leaf);
    }
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
