/**
 * The text that commit notes and checkpoints sign: the body of C2SP tlog-checkpoint, three lines, each
 * ended by a newline.
 *
 * ```text
 * example.com/behind-the-sofa
 * 20852163
 * CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
 * ```
 *
 * Narrower than C2SP in three points: no extension lines, no space or plus in the origin (it is also the
 * name of the signing key), size at most 2^53−1.
 */
import { base64, type Bytes, fromBase64 } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { isNoteName } from "./note.ts";
import { hashBytes } from "./tree.ts";

/** The head of a log: who, how many leaves, which root hash. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  /** 32 bytes. */
  readonly root: Bytes;
}

/** The three lines of a checkpoint. Throws `checkpoint_malformed` for values that have no text. */
export function formatCheckpoint(checkpoint: Checkpoint): string {
  const text = `${checkpoint.origin}\n${checkpoint.size}\n${base64(checkpoint.root)}\n`;
  parseCheckpoint(text);
  return text;
}

/** Reads exactly what {@link formatCheckpoint} writes; anything else throws `checkpoint_malformed`. */
export function parseCheckpoint(text: string): Checkpoint {
  const lines = text.split("\n");
  const [origin, decimal, hash, end] = lines;
  if (lines.length !== 4 || end !== "") throw malformed("lines");
  if (origin === undefined || !isNoteName(origin)) throw malformed("origin");
  if (decimal === undefined || !/^(?:0|[1-9][0-9]{0,15})$/.test(decimal)) throw malformed("size");
  const size = Number(decimal);
  if (!Number.isSafeInteger(size)) throw malformed("size");
  const root = hash === undefined ? undefined : fromBase64(hash);
  if (root?.length !== hashBytes) throw malformed("root");
  return { origin, size, root };
}

/** The names in the origin of a device's log. */
export interface DeviceLog {
  /** 128 random bits: 22 characters of base64url or 32 hex digits. */
  readonly tenant: string;
  /** 22 characters of base64url. */
  readonly device: string;
  /** 64 random bits: 16 hex digits. */
  readonly incarnation: string;
}

const deviceLogPattern =
  /^([A-Za-z0-9_-]{22}|[0-9a-f]{32})\/d\/([A-Za-z0-9_-]{22})\/([0-9a-f]{16})$/;

/** Origin of a device's log, `<tenant>/d/<device>/<incarnation>`. Throws `checkpoint_malformed`. */
export function deviceLogOrigin(log: DeviceLog): string {
  const origin = `${log.tenant}/d/${log.device}/${log.incarnation}`;
  if (!deviceLogPattern.test(origin)) throw malformed("origin");
  return origin;
}

/** The names in an origin, or `undefined` when it is not that of a device's log. */
export function parseDeviceLogOrigin(origin: string): DeviceLog | undefined {
  const match = deviceLogPattern.exec(origin);
  if (match === null) return undefined;
  const [, tenant, device, incarnation] = match;
  return { tenant: tenant as string, device: device as string, incarnation: incarnation as string };
}

function malformed(part: "lines" | "origin" | "size" | "root"): HoldfastError {
  return new HoldfastError("checkpoint_malformed", { part });
}
