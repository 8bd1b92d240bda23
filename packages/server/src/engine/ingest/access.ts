/**
 * Access rows are what the access events of admins make of them, in their order: in one device log by index, between
 * logs by position. An access event that arrives as a fill, after later ones of its log, counts before these: a
 * grant that was owed never undoes the revocation that followed it.
 */
import {
  accessGrantedType,
  type AccessGrantedPub,
  accessRevokedType,
  type AccessRevokedPub,
  everyScope,
  type Header,
  isAccessType,
  isCurrentHeader,
  type NewerHeader,
  originKey,
} from "@holdfast/core";
import type { AccessChange, ServerWrites } from "../server-store.ts";

/** Is it an event of the access stream, about who may read or what is shredded? Only an admin's may. */
export function isAccessEvent(header: Header | NewerHeader): header is Header {
  return isCurrentHeader(header) && header.pub !== undefined && isAccessType(header.type);
}

/** What an access event changes of who may read; `undefined`: it speaks of holds and shreds. */
export function accessChange(
  header: Header,
  index: number,
  position: number,
): AccessChange | undefined {
  const by = originKey(header.dev, header.inc);
  if (header.type !== accessGrantedType && header.type !== accessRevokedType) return undefined;
  if (header.type === accessGrantedType) {
    const { device, scopes } = header.pub as AccessGrantedPub;
    return { device, kind: "granted", scopes, by, index, position };
  }
  const { device, scopes } = header.pub as AccessRevokedPub;
  return { device, kind: "revoked", scopes, by, index, position };
}

/** Records the changes and brings the rows of their devices up to date. */
export async function applyAccess(
  tx: ServerWrites,
  tenant: string,
  changes: readonly AccessChange[],
): Promise<void> {
  for (const change of changes) await tx.addAccessChange(tenant, change);
  for (const device of new Set(changes.map((change) => change.device))) {
    await tx.setAccess(tenant, device, scopesAfter(await tx.accessChanges(tenant, device)));
  }
}

/** The scopes that are left after all changes about one device. Revoking `*` takes every scope. */
export function scopesAfter(changes: readonly AccessChange[]): readonly string[] {
  const scopes = new Set<string>();
  for (const change of inOrder(changes)) {
    if (change.kind === "granted") for (const scope of change.scopes) scopes.add(scope);
    else if (change.scopes.includes(everyScope)) scopes.clear();
    else for (const scope of change.scopes) scopes.delete(scope);
  }
  return [...scopes].toSorted();
}

function inOrder(changes: readonly AccessChange[]): readonly AccessChange[] {
  const effective = new Map<AccessChange, number>();
  const nextOf = new Map<string, number>();
  for (const change of changes.toSorted((a, b) => b.index - a.index)) {
    const place = Math.min(change.position, nextOf.get(change.by) ?? change.position);
    nextOf.set(change.by, place);
    effective.set(change, place);
  }
  const placeOf = (change: AccessChange): number => effective.get(change) as number;
  return changes.toSorted((a, b) => placeOf(a) - placeOf(b) || a.index - b.index);
}
