/**
 * Sealing: drafts that were checked become sealed events of one device log.
 *
 * Each section is committed to, the header is encoded once, its leaf joins the device's tree, the sections
 * are encrypted, and one note is signed for the whole group. Nothing here touches a medium; a sealing that
 * is not stored is forgotten, with its sequence numbers.
 */
import type {
  Assurance,
  Header,
  Operation,
  SectionRef,
  SeenCheckpoint,
  VersionVector,
} from "../event/event.ts";
import type { DataKey } from "../keys/data-key.ts";
import { formatCheckpoint, deviceLogOrigin } from "../proof/checkpoint.ts";
import { type CompactRange, createTreeBuilder, leafHash } from "../proof/tree.ts";
import { base64, base64url, type Bytes, concat, utf8, wipe } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import { limits } from "../std/limits.ts";
import type { Crypto, Random } from "../std/ports.ts";
import { commitSection, saltBytes, sealFrame } from "./frame.ts";
import type { Frame, SealedEvent } from "./sealed-event.ts";

/** Whose log is written: constant for one incarnation. */
export interface Origin {
  readonly tenant: string;
  readonly device: string;
  readonly incarnation: string;
  readonly tier: Assurance;
  readonly app: string;
  /** The newest checkpoint of the server log that the device knows: quoted, it cannot be denied later. */
  readonly seen?: SeenCheckpoint | undefined;
}

/** Where a device log stands. */
export interface DeviceHead {
  /** Leaf of the last event, base64url. */
  readonly leaf: string;
  readonly range: CompactRange;
}

/** One section before encryption. */
export interface SectionDraft {
  readonly name: string;
  readonly plaintext: Bytes;
}

/** A draft whose payload, names and place in its stream were checked. */
export interface SealableDraft {
  readonly id: string;
  readonly type: string;
  readonly typeVersion: number;
  readonly scope: string;
  readonly stream: string;
  readonly streamSequence: number;
  /** Absent for `independent` types. */
  readonly vector: VersionVector | undefined;
  readonly op: Operation;
  readonly ref: readonly string[] | undefined;
  readonly at: number;
  readonly actor: string;
  readonly role: string | undefined;
  readonly session: string | undefined;
  readonly why: string | undefined;
  readonly sections: readonly SectionDraft[];
  /** Plaintext fields, of system types only. */
  readonly pub?: Readonly<Record<string, unknown>>;
}

/** Ports that sealing needs. */
export interface SealDeps {
  readonly crypto: Crypto;
  readonly random: Random;
  /** The key that seals a section of a scope. */
  readonly keyFor: (scope: string, section: string) => DataKey;
}

/** A sealed group that is not signed yet. */
export interface SealedGroup {
  readonly events: readonly SealedEvent[];
  readonly head: DeviceHead;
  /** Checkpoint text that the commit note signs. */
  readonly statement: string;
  readonly root: string;
}

/** Seals a group after `head`. Throws `event_too_large`. */
export function sealGroup(
  deps: SealDeps,
  origin: Origin,
  head: DeviceHead,
  drafts: readonly SealableDraft[],
): SealedGroup {
  const tree = createTreeBuilder(deps.crypto, head.range);
  let previous = head.leaf;
  const events: SealedEvent[] = [];
  for (const draft of drafts) {
    const event = sealEvent(deps, origin, tree.size + 1, previous, draft);
    tree.append(event.leafBytes);
    previous = event.sealed.leaf;
    events.push(event.sealed);
  }
  const root = tree.root();
  return {
    events,
    head: { leaf: previous, range: tree.range() },
    statement: formatCheckpoint({ origin: deviceLogOrigin(origin), size: tree.size, root }),
    root: base64(root),
  };
}

interface CommittedSection {
  readonly name: string;
  readonly key: DataKey;
  readonly salted: Bytes;
}

function sealEvent(
  deps: SealDeps,
  origin: Origin,
  sequence: number,
  previous: string,
  draft: SealableDraft,
): { readonly sealed: SealedEvent; readonly leafBytes: Bytes } {
  const sec: Record<string, SectionRef> = {};
  const committed: CommittedSection[] = [];
  let bytes = 0;
  for (const { name, plaintext } of draft.sections) {
    const key = deps.keyFor(draft.scope, name);
    const salt = deps.random.bytes(saltBytes);
    const commitment = commitSection(deps.crypto, salt, plaintext);
    sec[name] = { c: base64url(commitment), k: key.id };
    committed.push({ name, key, salted: concat(salt, plaintext) });
    bytes += plaintext.length;
  }
  const header = composeHeader(origin, sequence, previous, draft, sec);
  const headerText = canonicalJson(header);
  const headerBytes = utf8(headerText);
  checkSizes(headerBytes.length, bytes + headerBytes.length);
  const leafBytes = leafHash(deps.crypto, headerBytes);
  const frames = committed.map(({ name, key, salted }): Frame => {
    const frame = sealFrame(deps, key, name, leafBytes, salted);
    wipe(salted);
    return { section: name, key: key.id, state: "present", bytes: frame };
  });
  return { sealed: { leaf: base64url(leafBytes), header, headerText, frames }, leafBytes };
}

function composeHeader(
  origin: Origin,
  sequence: number,
  previous: string,
  draft: SealableDraft,
  sec: Readonly<Record<string, SectionRef>>,
): Header {
  return {
    v: 1,
    ten: origin.tenant,
    dev: origin.device,
    inc: origin.incarnation,
    seq: sequence,
    prev: previous,
    id: draft.id,
    type: draft.type,
    tv: draft.typeVersion,
    scope: draft.scope,
    stream: draft.stream,
    sseq: draft.streamSequence,
    op: draft.op,
    ...(draft.ref !== undefined && { ref: draft.ref }),
    ...(draft.vector !== undefined && { vv: draft.vector }),
    at: draft.at,
    ...(origin.seen !== undefined && { seen: origin.seen }),
    act: draft.actor,
    ...(draft.role !== undefined && { role: draft.role }),
    ...(draft.session !== undefined && { sess: draft.session }),
    ...(draft.why !== undefined && { why: draft.why }),
    sec,
    ...(draft.pub !== undefined && { pub: draft.pub }),
    tier: origin.tier,
    app: origin.app,
  };
}

function checkSizes(headerBytes: number, eventBytes: number): void {
  if (headerBytes > limits.headerBytesMax) {
    throw new HoldfastError("event_too_large", {
      part: "header",
      bytes: headerBytes,
      limit: limits.headerBytesMax,
    });
  }
  if (eventBytes > limits.eventBytesMax) {
    throw new HoldfastError("event_too_large", {
      part: "event",
      bytes: eventBytes,
      limit: limits.eventBytesMax,
    });
  }
}
