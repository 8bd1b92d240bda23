/**
 * System event types: what stores and servers record of their own accord. Their plaintext is in `pub`, so that
 * replicas and servers without any key can follow them. Nothing personal, closed schemas.
 *
 * | Type | op | pub |
 * | --- | --- | --- |
 * | AccessGranted | access | {device, hpke b64, role, scopes: ["*"] or scope ids} |
 * | AccessRevoked | access | {device, scopes} |
 * | KeyGranted | key | {device, hpke b64, keys: [{key, generation, grant}]}: `grant` is SHA-256 of its text, b64u |
 * | DeviceEnrolled | access | {device, incarnation, role} |
 * | DeviceRevoked | access | {device} |
 * | HoldPlaced | shred | {hold, scopes, section?}: nothing of them is shredded while the hold stands |
 * | HoldLifted | shred | {hold} |
 * | ShredRequested | shred | {shred, scopes, section?}: without a section, all of them |
 * | ShredApproved | shred | {shred}: two actors have to |
 * | ShredAcknowledged | shred | {shred}: its device holds neither keys nor frames of it any more |
 * | ErasureCertified | shred | {shred, confirmed, unconfirmed}: how many devices did, and which did not |
 */
import { fromBase64, fromBase64url } from "../std/bytes.ts";
import { limits } from "../std/limits.ts";
import { isName } from "./registry.ts";

/** What a device may do at the server. */
export type Role = "device" | "reader" | "auditor" | "admin";
/** Every role, weakest first. */
export const roles: readonly Role[] = ["device", "reader", "auditor", "admin"];

/** Every scope of the tenant, present and future. */
export const everyScope = "*";

/** Event type of the first event of every device log. */
export const incarnationOpenedType = "IncarnationOpened";
/** Event type that grants access. */
export const accessGrantedType = "AccessGranted";
/** Event type that withdraws access. */
export const accessRevokedType = "AccessRevoked";
/** Event type that names the grants of keys. */
export const keyGrantedType = "KeyGranted";
/** Event type that records an enrolment. */
export const deviceEnrolledType = "DeviceEnrolled";
/** Event type that records a revocation. */
export const deviceRevokedType = "DeviceRevoked";

/** Event type that forbids a shred. */
export const holdPlacedType = "HoldPlaced";
/** Event type that ends a hold. */
export const holdLiftedType = "HoldLifted";
/** Event type that asks for a shred. */
export const shredRequestedType = "ShredRequested";
/** Event type that approves a shred that was asked for. */
export const shredApprovedType = "ShredApproved";
/** Event type by which a device says that it has shredded. */
export const shredAcknowledgedType = "ShredAcknowledged";
/** Event type of the certificate of a shred. */
export const erasureCertifiedType = "ErasureCertified";

/** Plaintext of `AccessGranted`: whose installation may read which scopes, in which role. */
export type AccessGrantedPub = {
  readonly device: string;
  /** X25519 public key that data keys are wrapped to, base64. */
  readonly hpke: string;
  readonly role: Role;
  readonly scopes: readonly string[];
};

/** Plaintext of `AccessRevoked`: which scopes an installation may no longer read. */
export type AccessRevokedPub = { readonly device: string; readonly scopes: readonly string[] };
/** Keys that were wrapped to one installation. The tenant's id stands for its pseudonym key. */
export type KeyGrantedPub = {
  readonly device: string;
  /** The key that they were wrapped to, base64. */
  readonly hpke: string;
  readonly keys: readonly {
    readonly key: string;
    readonly generation: number;
    /** SHA-256 of the grant's text, base64url: who receives a grant learns from the log who sent it. */
    readonly grant: string;
  }[];
};
/** Plaintext of `DeviceEnrolled`, recorded by the server's node. */
export type DeviceEnrolledPub = {
  readonly device: string;
  readonly incarnation: string;
  readonly role: Role;
};
/** Plaintext of `DeviceRevoked`, recorded by the server's node. */
export type DeviceRevokedPub = { readonly device: string };

/** What a hold or a shred is about: scope ids, and one section class of theirs or, without one, all. */
export type Concerned = { readonly scopes: readonly string[]; readonly section?: string };
/** Plaintext of `HoldPlaced`; `hold` is a random id of 16 bytes, base64url. */
export type HoldPlacedPub = Concerned & { readonly hold: string };
/** Plaintext of `HoldLifted`. */
export type HoldLiftedPub = { readonly hold: string };
/** Plaintext of `ShredRequested`; `shred` is a random id of 16 bytes, base64url. */
export type ShredRequestedPub = Concerned & { readonly shred: string };
/** Plaintext of `ShredApproved`. */
export type ShredApprovedPub = { readonly shred: string };
/** Plaintext of `ShredAcknowledged`; the device is the author's. */
export type ShredAcknowledgedPub = { readonly shred: string };
/** Plaintext of `ErasureCertified`. */
export type ErasureCertifiedPub = {
  readonly shred: string;
  /** How many devices have acknowledged. */
  readonly confirmed: number;
  /** Devices that have not: copies of theirs may still open what was shredded. */
  readonly unconfirmed: readonly string[];
};

const device = (value: unknown): boolean =>
  typeof value === "string" && /^[A-Za-z0-9_-]{22}$/.test(value);
const incarnation = (value: unknown): boolean =>
  typeof value === "string" && /^[0-9a-f]{16}$/.test(value);
const scopes = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.every((scope) => scope === "*" || device(scope));
const role = (value: unknown): boolean => roles.includes(value as Role);
const key32 = (value: unknown): boolean =>
  typeof value === "string" && fromBase64(value)?.length === 32;
const generation = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 1;
const digest = (value: unknown): boolean =>
  typeof value === "string" && fromBase64url(value)?.length === 32;
const grantedKey = (value: unknown): boolean => {
  if (typeof value !== "object" || value === null || Object.keys(value).length !== 3) return false;
  const fields = value as Readonly<Record<string, unknown>>;
  return device(fields["key"]) && generation(fields["generation"]) && digest(fields["grant"]);
};
/** Not every scope at once: a shred names what it destroys. */
const namedScopes = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.length <= limits.scopesPerShredMax &&
  value.every(device);
const sectionName = (value: unknown): boolean =>
  value === undefined || (typeof value === "string" && isName(value));
const tally = (value: unknown): boolean => value === 0 || generation(value);
const devices = (value: unknown): boolean =>
  Array.isArray(value) && value.length <= limits.devicesPerCertificateMax && value.every(device);
const keys = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.length <= limits.keysPerEventMax &&
  value.every(grantedKey);

const schemas: Readonly<Record<string, Readonly<Record<string, (value: unknown) => boolean>>>> = {
  [accessGrantedType]: { device, hpke: key32, role, scopes },
  [accessRevokedType]: { device, scopes },
  [keyGrantedType]: { device, hpke: key32, keys },
  [deviceEnrolledType]: { device, incarnation, role },
  [deviceRevokedType]: { device },
  [holdPlacedType]: { hold: device, scopes: namedScopes, section: sectionName },
  [holdLiftedType]: { hold: device },
  [shredRequestedType]: { shred: device, scopes: namedScopes, section: sectionName },
  [shredApprovedType]: { shred: device },
  [shredAcknowledgedType]: { shred: device },
  [erasureCertifiedType]: { shred: device, confirmed: tally, unconfirmed: devices },
};

/** The first field of a system event's plaintext that is not as its closed schema says; `undefined`: none. */
export function systemPubFault(
  type: string,
  pub: Readonly<Record<string, unknown>>,
): string | undefined {
  const fields = schemas[type];
  if (fields === undefined) return undefined;
  const unknown = Object.keys(pub).find((name) => !Object.hasOwn(fields, name));
  if (unknown !== undefined) return unknown;
  return Object.entries(fields).find(([name, check]) => !check(pub[name]))?.[0];
}

/** Is this one of the types above? */
export function isSystemType(type: string): boolean {
  return Object.hasOwn(schemas, type);
}
