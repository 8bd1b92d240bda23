/**
 * A push as it was offered: bounds are held, leaves are computed from bodies. What it takes to know the log comes
 * later (`verify-push.ts`).
 */
import {
  base64url,
  type Bytes,
  type Crypto,
  type EventBody,
  HoldfastError,
  leafHash,
  limits,
  noteDigest,
  type PushRequest,
  utf8,
} from "@holdfast/core";

/** A body that was offered, in an entry or as a fill. */
export interface OfferedBody {
  readonly index: number;
  readonly leaf: string;
  readonly body: EventBody;
  /** UTF-8 bytes of the header. */
  readonly headerBytes: number;
  readonly fill: boolean;
}

export interface Offer {
  readonly request: PushRequest;
  readonly noteDigest: string;
  /** Leaves of the entries, from index `request.from`. */
  readonly leaves: readonly Bytes[];
  /** The same as text. */
  readonly leafTexts: readonly string[];
  /** Bodies of entries, then fills. */
  readonly bodies: readonly OfferedBody[];
  /** Headers and frames. */
  readonly bytes: number;
}

/** Throws `push_malformed`, `push_too_large`. */
export function readOffer(crypto: Crypto, request: PushRequest): Offer {
  const { from, entries, fills, checkpoint } = request;
  if (!isCount(from) || !isCount(from + entries.length)) throw malformed("from");
  if (!isCount(checkpoint)) throw malformed("checkpoint");
  if (!fills.every(({ index }) => isCount(index))) throw malformed("fills");
  holdTo("pushLeavesMax", entries.length + fills.length);
  const leaves: Bytes[] = [];
  const leafTexts: string[] = [];
  const bodies: OfferedBody[] = [];
  let bytes = 0;
  const take = (index: number, body: EventBody, fill: boolean): Bytes => {
    const header = utf8(body.header);
    bytes += header.length + frameBytes(body);
    holdTo("pushBytesMax", bytes);
    holdTo("pushBodiesMax", bodies.length + 1);
    const leafBytes = leafHash(crypto, header);
    bodies.push({ index, leaf: base64url(leafBytes), body, headerBytes: header.length, fill });
    return leafBytes;
  };
  for (const [at, entry] of entries.entries()) {
    if (entry.kind === "full") {
      leaves.push(take(from + at, entry.body, false));
      leafTexts.push((bodies.at(-1) as OfferedBody).leaf);
      continue;
    }
    if (entry.leaf.length !== 32) throw malformed("leaf");
    leaves.push(Uint8Array.from(entry.leaf));
    leafTexts.push(base64url(entry.leaf));
  }
  for (const { index, body } of fills) take(index, body, true);
  return {
    request,
    noteDigest: noteDigest(crypto, request.note),
    leaves,
    leafTexts,
    bodies,
    bytes,
  };
}

function frameBytes({ frames }: EventBody): number {
  let bytes = 0;
  for (const frame of frames) bytes += frame.bytes?.length ?? 0;
  return bytes;
}

function holdTo(limit: "pushLeavesMax" | "pushBytesMax" | "pushBodiesMax", value: number): void {
  const most = limits[limit];
  if (value > most) throw new HoldfastError("push_too_large", { limit, value, most });
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function malformed(part: string): HoldfastError {
  return new HoldfastError("push_malformed", { part });
}
