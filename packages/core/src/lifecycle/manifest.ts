/**
 * What a backup says of itself: the manifest, its first entry, and the digest with the device's signature, its last
 * (spec/backup.md). Both are JCS; what is read must be the form that is written.
 */
import { preAuthenticationEncoding } from "../proof/dsse.ts";
import {
  base64,
  type Bytes,
  concat,
  equalBytes,
  fromBase64,
  fromUtf8,
  utf8,
} from "../std/bytes.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import { canonicalBytes } from "../std/jcs.ts";
import { parseJson } from "../std/json.ts";
import type { Crypto } from "../std/ports.ts";

/** Version of the format; a reader refuses what is above. */
export const backupFormat = 1;

/** Name of the first entry. */
export const manifestName = "manifest.json";
/** Name of the last entry. */
export const digestName = "digest.json";

/** A store with all its events, or what of a store no server holds. */
export type BackupKind = "store" | "rescue";

/** A device log in a backup: what the newest note says of it. */
export interface BackedUpLog {
  readonly device: string;
  readonly incarnation: string;
  readonly own: boolean;
  /** Size and root (base64) of its newest note. */
  readonly size: number;
  readonly root: string;
}

/** What a backup says of itself before everything else. */
export interface BackupManifest {
  readonly format: number;
  readonly kind: BackupKind;
  readonly store: string;
  readonly tenant: string;
  /** UTC ms. */
  readonly createdAt: number;
  /** Format of the database that the rows are from. */
  readonly storeFormat: number;
  /** Build id of the software. */
  readonly app: string;
  readonly logs: readonly BackedUpLog[];
  /** Rows of each table. */
  readonly rows: Readonly<Record<string, number>>;
}

/** JCS bytes of a manifest. */
export function formatManifest(manifest: BackupManifest): Bytes {
  return canonicalBytes({
    format: manifest.format,
    kind: manifest.kind,
    store: manifest.store,
    tenant: manifest.tenant,
    created_at: manifest.createdAt,
    store_format: manifest.storeFormat,
    app: manifest.app,
    logs: manifest.logs.map(({ device, incarnation, own, size, root }) => {
      return { device, incarnation, own, size, root };
    }),
    rows: { ...manifest.rows },
  });
}

/** Reads a manifest. Throws `backup_foreign`, `backup_newer`. */
export function parseManifest(bytes: Uint8Array): BackupManifest {
  const fields = objectOf(bytes);
  const format = fields?.["format"];
  if (fields === undefined || !isCount(format) || format < 1) {
    throw new HoldfastError("backup_foreign");
  }
  // A newer form may have other fields: nothing else of it is judged.
  if (format > backupFormat) {
    throw new HoldfastError("backup_newer", { format, readable: backupFormat });
  }
  const manifest = manifestOf(fields, format);
  if (manifest === undefined || !equalBytes(formatManifest(manifest), bytes)) {
    throw new HoldfastError("backup_foreign");
  }
  return manifest;
}

function manifestOf(fields: Fields, format: number): BackupManifest | undefined {
  const { kind, store, tenant, created_at, store_format, app, logs, rows } = fields;
  if (kind !== "store" && kind !== "rescue") return undefined;
  if (typeof store !== "string" || typeof tenant !== "string" || typeof app !== "string") {
    return undefined;
  }
  if (!isCount(created_at) || !isCount(store_format) || !Array.isArray(logs)) return undefined;
  const read = logs.map(logOf);
  if (!read.every((log) => log !== undefined) || !isPlain(rows)) return undefined;
  if (!Object.values(rows).every(isCount)) return undefined;
  return {
    format,
    kind,
    store,
    tenant,
    createdAt: created_at,
    storeFormat: store_format,
    app,
    logs: read,
    rows: rows as Readonly<Record<string, number>>,
  };
}

function logOf(value: unknown): BackedUpLog | undefined {
  if (!isPlain(value)) return undefined;
  const { device, incarnation, own, size, root } = value;
  if (typeof device !== "string" || typeof incarnation !== "string") return undefined;
  if (typeof own !== "boolean" || !isCount(size) || typeof root !== "string") return undefined;
  return { device, incarnation, own, size, root };
}

/** What follows the content: how much of it there was, its running digest, and who says so. */
export interface BackupDigest {
  /** Entries before this one, the manifest among them. */
  readonly entries: number;
  /** base64 */
  readonly digest: string;
  /** Whose key signed; of that installation. */
  readonly signer: string;
  /** Signature (DSSE PAE) over {@link digestStatement}, base64. */
  readonly signature: string;
}

/** DSSE payload type of what a device signs about a backup. */
export const backupPayloadType = "application/vnd.holdfast.backup+json";

/** The bytes that are signed: JCS of {digest, entries, signer} as a DSSE payload. */
export function digestStatement(digest: Omit<BackupDigest, "signature">): Bytes {
  const { entries, signer } = digest;
  const payload = canonicalBytes({ digest: digest.digest, entries, signer });
  return preAuthenticationEncoding(backupPayloadType, payload);
}

/** JCS bytes of the last entry. */
export function formatDigest({ entries, digest, signer, signature }: BackupDigest): Bytes {
  return canonicalBytes({ entries, digest, signer, signature });
}

/** Reads the last entry. Throws `backup_altered`. */
export function parseDigest(bytes: Uint8Array): BackupDigest {
  const { entries, digest, signer, signature } = objectOf(bytes) ?? {};
  if (
    isCount(entries) &&
    typeof digest === "string" &&
    typeof signer === "string" &&
    typeof signature === "string" &&
    fromBase64(signature) !== undefined
  ) {
    const read = { entries, digest, signer, signature };
    if (equalBytes(formatDigest(read), bytes)) return read;
  }
  throw new HoldfastError("backup_altered", { part: digestName });
}

/** The running digest of entries: d' = SHA-256(d ‖ SHA-256(name ‖ 0x00 ‖ content)), from 32 zero bytes. */
export function createRunningDigest(crypto: Pick<Crypto, "sha256">): {
  add(name: string, content: Uint8Array): void;
  /** base64 */
  value(): string;
  count(): number;
} {
  let digest: Bytes = new Uint8Array(32);
  let entries = 0;
  return {
    add(name, content) {
      digest = crypto.sha256(digest, crypto.sha256(concat(utf8(name), zero), content));
      entries += 1;
    },
    value: () => base64(digest),
    count: () => entries,
  };
}

const zero = Uint8Array.of(0);

type Fields = Readonly<Record<string, unknown>>;

function objectOf(bytes: Uint8Array): Fields | undefined {
  try {
    const value: unknown = parseJson(fromUtf8(bytes));
    return isPlain(value) ? value : undefined;
  } catch (error) {
    if (isHoldfastError(error)) return undefined;
    throw error;
  }
}

function isPlain(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
