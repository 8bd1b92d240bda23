/**
 * The plan of an erase: what is to go, on whose word, and how far it got. It lies outside everything that the erase
 * destroys and is written before each phase begins, so that an erase that was interrupted is found, and goes on.
 *
 * | Phase on the medium | Holds | Next |
 * | --- | --- | --- |
 * | `planned` | a release was shown, under the lease | the audit event |
 * | `audited` | reason and actor are in the store | the audit export |
 * | `exported` | the export is durable | the release is compared again, and everybody kept out |
 * | `destroying` | from here on the way leads forward alone | keyrings, then files |
 * | `keys-destroyed` | no copy of the keyring that could be reached is there | files |
 * | `files-removed` | nothing that is known to belong to the store is there | the scan |
 * | `scanned` | nothing was left | the certificate; then the plan goes, and the erase is done |
 *
 * Up to `exported` an erase that is refused leaves the store as it was, with one audit event more.
 */
import { base64url, utf8, type Bytes } from "../std/bytes.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import { canonicalBytes } from "../std/jcs.ts";
import { parseJson } from "../std/json.ts";
import type { Crypto } from "../std/ports.ts";
import type { BackedUpLog } from "./manifest.ts";

/** How far an erase got, as its plan says. */
export const erasePhases = [
  "planned",
  "audited",
  "exported",
  "destroying",
  "keys-destroyed",
  "files-removed",
  "scanned",
] as const;
/** Phase of an erase. */
export type ErasePhase = (typeof erasePhases)[number];

/** Where something lies: the store's folder, its entry in the state folder, beside either, or a copy elsewhere. */
export type ErasePlace = "store" | "state" | "beside" | "copy";

/** One file, or folder, of the store. */
export interface ErasedFile {
  readonly place: ErasePlace;
  /** Name in its place; of a copy, its path. */
  readonly name: string;
  readonly bytes: number;
}

/** What is known of the store while it can still be read. */
export interface ErasedContent {
  readonly tenant: string;
  readonly device: string;
  readonly events: number;
  /** Own logs with the audit event of the erase in them. */
  readonly logs: readonly BackedUpLog[];
  /** The audit event's stand-alone signature: header, note, inclusion path. */
  readonly event: Readonly<Record<string, unknown>>;
  readonly exported: { readonly bytes: number; readonly sha256: string };
  readonly providers: readonly { readonly name: string; readonly assurance: string }[];
  /** Data keys of delivered events that nobody else was granted. */
  readonly lastKeys: number;
}

/** The plan; see the module header. */
export interface ErasePlan {
  readonly phase: ErasePhase;
  readonly store: string;
  /** Path of the store's folder. */
  readonly directory: string;
  readonly plannedAt: number;
  readonly actor: string;
  /** Reason code. */
  readonly why: string;
  /** Reason in words. */
  readonly reason: string | undefined;
  readonly release: "drained" | "rescued";
  /** Own logs that the release spoke of. */
  readonly released: readonly BackedUpLog[];
  /** Id of the audit event. */
  readonly eventId: string;
  readonly exportFile: string;
  readonly certificateFile: string;
  readonly actors: "masked" | "shown";
  /** Registered copies of the keyring outside the two folders. */
  readonly copies: readonly string[];
  /** Do these copies stay? */
  readonly keepCopies: boolean;
  /** From `exported` on. */
  readonly content: ErasedContent | undefined;
  /** From `destroying` on. */
  readonly files: readonly ErasedFile[];
}

/** Is the way back closed? */
export function isDestroying(phase: ErasePhase): boolean {
  return erasePhases.indexOf(phase) >= erasePhases.indexOf("destroying");
}

const format = 1;

/** Bytes of a plan: JCS of its fields with a digest of them, so that a damaged plan destroys nothing. */
export function formatErasePlan(crypto: Crypto, plan: ErasePlan): Bytes {
  // What is absent has no place in JSON.
  const fields: unknown = JSON.parse(JSON.stringify({ format, ...plan }));
  return canonicalBytes({ plan: fields, digest: digest(crypto, canonicalBytes(fields)) });
}

function digest(crypto: Crypto, text: Bytes): string {
  return base64url(crypto.sha256(utf8("holdfast/erase/v1\n"), text));
}

/** Reads a plan. Throws `erase_plan_unreadable`: what it would destroy is not certain. */
export function parseErasePlan(crypto: Crypto, bytes: Uint8Array): ErasePlan {
  const { plan, digest: stated } = fieldsOf(bytes);
  const isPlan = typeof plan === "object" && plan !== null && !Array.isArray(plan);
  if (!isPlan || stated !== digest(crypto, canonicalBytes(plan))) throw unreadable("digest");
  const { format: version, ...fields } = plan as ErasePlan & { readonly format: unknown };
  if (version !== format) throw unreadable("format");
  if (!erasePhases.includes(fields.phase)) throw unreadable("phase");
  return { ...fields, reason: fields.reason, content: fields.content };
}

function fieldsOf(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const read: unknown = parseJson(bytes);
    return typeof read === "object" && read !== null ? { ...read } : {};
  } catch (error) {
    if (isHoldfastError(error)) return {};
    throw error;
  }
}

function unreadable(part: string): HoldfastError {
  return new HoldfastError("erase_plan_unreadable", { part });
}
