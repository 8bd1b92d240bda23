/** From what the log stores to what a reader gets: sections opened, payload lifted to the current schema. */
import type { FrameState, Header, RecordedEvent } from "../event/event.ts";
import type { Registry } from "../event/registry.ts";
import type { Keyring } from "../keys/keyring.ts";
import { type EventContent, fromSections } from "../seal/content.ts";
import { frameGeneration, openFrame } from "../seal/frame.ts";
import { framesLeft } from "../seal/sealed-event.ts";
import { leafHash } from "../proof/tree.ts";
import { base64url, fromBase64url, utf8 } from "../std/bytes.ts";
import { type ErrorCode, HoldfastError, isHoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import type { StoredEvent } from "../store/event-log.ts";
import { type AppendedRow, headerOf } from "../store/sqlite-event-log.ts";

/** What opening an event needs. */
export interface OpenEventDeps {
  readonly crypto: Crypto;
  readonly registry: Registry;
  readonly keyring: Pick<Keyring, "dataKey" | "signingKeys">;
  /** Is it known that this section came back from the server without its key? */
  readonly awaited?: (key: string, generation: number, stream: string) => boolean;
  /** Is the section shredded? Its key goes before its frame does. */
  readonly isShredded?: (scope: string, section: string) => boolean;
}

/**
 * The header of a stored event, if it is the one that its leaf commits to; else `store_rewritten`: columns
 * and headers are plain text to whoever has the page key.
 */
export function committedHeader(crypto: Crypto, stored: StoredEvent): Header {
  const header = headerOf(stored);
  if (base64url(leafHash(crypto, utf8(stored.headerText))) === stored.leaf) return header;
  throw new HoldfastError("store_rewritten", { position: stored.position });
}

/**
 * Opens a stored event. What another device sent and does not open under its key, or holds no payload, is
 * `unopened`: no reader, read model or pull must stop for it; `verify` names it. Of an own event it is damage.
 * Throws `store_rewritten`, `section_unopened`, `payload_unreadable`.
 */
export function openEvent(deps: OpenEventDeps, stored: StoredEvent): RecordedEvent {
  return openHeaded(deps, stored, committedHeader(deps.crypto, stored));
}

/** As {@link openEvent}, of an event that the running append stores: its header was judged with its leaf. */
export function openAppended(
  deps: OpenEventDeps,
  { sealed, position }: Pick<AppendedRow, "sealed" | "position">,
): RecordedEvent {
  return openHeaded(deps, { ...sealed, position }, sealed.header);
}

function openHeaded(deps: OpenEventDeps, stored: StoredEvent, header: Header): RecordedEvent {
  try {
    return openWith(deps, stored, header);
  } catch (error) {
    const isSent = isHoldfastError(error) && unopenedCodes.has(error.code);
    if (!isSent || isOwn(deps, header)) throw error;
    return recordedEvent(deps, stored, header, undefined, "unopened");
  }
}

/** Anybody with a key can seal anything: what is no payload is said without quoting it. */
function contentOf(
  { position }: StoredEvent,
  ...[encoding, opened]: Parameters<typeof fromSections>
): EventContent {
  try {
    return fromSections(encoding, opened);
  } catch {
    throw new HoldfastError("payload_unreadable", { position });
  }
}

/** What a sender alone is answerable for. */
const unopenedCodes: ReadonlySet<ErrorCode> = new Set(["section_unopened", "payload_unreadable"]);

function openWith(deps: OpenEventDeps, stored: StoredEvent, header: Header): RecordedEvent {
  if (Object.keys(header.sec).length === 0)
    return recordedEvent(deps, stored, header, undefined, "none");
  const { isShredded = () => false } = deps;
  const frames = framesLeft(stored.frames, (section) => isShredded(header.scope, section));
  const present = frames.filter((frame) => frame.state === "present");
  const absent = frames.find((frame) => frame.state !== "present");
  const isPart = present.length > 0 && frames.every(isLeftOrShredded);
  if (present.length === 0 || (absent !== undefined && !isPart)) {
    const state = absent?.state as Exclude<FrameState, "present"> | undefined;
    return recordedEvent(deps, stored, header, undefined, state ?? "none");
  }
  const opened = new Map<string, Uint8Array>();
  const leaf = fromBase64url(stored.leaf) as Uint8Array;
  for (const { section, key, bytes } of present) {
    // Another's key was not granted to this installation, or not yet; an own one that is missing is damage,
    // unless the event came back from the server to an older copy of keyring and store.
    if (isClosed(deps, header, key, bytes as Uint8Array)) {
      return recordedEvent(deps, stored, header, undefined, "closed");
    }
    const plaintext = openSection(deps, header, leaf, section, key, bytes as Uint8Array);
    if (plaintext === undefined) {
      throw new HoldfastError("section_unopened", { position: stored.position, section });
    }
    opened.set(section, plaintext);
  }
  const known = deps.registry.types.get(header.type);
  const content = contentOf(stored, known?.encoding ?? "text", opened);
  if (isPart && absent !== undefined) return partOf(deps, stored, header, content);
  return recordedEvent(deps, stored, header, content, "opened");
}

function isLeftOrShredded({ state }: { readonly state: FrameState }): boolean {
  return state === "present" || state === "shredded";
}

/** What is left of an event whose other sections were shredded: readable where its type takes it for a payload. */
function partOf(
  deps: OpenEventDeps,
  stored: StoredEvent,
  header: Header,
  content: EventContent,
): RecordedEvent {
  try {
    return recordedEvent(deps, stored, header, content, "opened");
  } catch (error) {
    if (!isHoldfastError(error, "payload_unreadable")) throw error;
    return recordedEvent(deps, stored, header, undefined, "shredded");
  }
}

/** As {@link openEvent}, for delivery: content that cannot be read holds up its own event, not the whole outbox. */
export function openToDeliver(deps: OpenEventDeps, stored: StoredEvent): RecordedEvent {
  const header = committedHeader(deps.crypto, stored);
  try {
    return openWith(deps, stored, header);
  } catch (error) {
    if (!isHoldfastError(error) || !unopenedCodes.has(error.code)) throw error;
    return recordedEvent(deps, stored, header, undefined, "unopened");
  }
}

function isOwn({ keyring }: OpenEventDeps, { inc }: Header): boolean {
  return keyring.signingKeys().some(({ incarnation }) => incarnation === inc);
}

/** Is the key of a frame not here, and known to be elsewhere? Opening says what is wrong with a malformed one. */
function isClosed(deps: OpenEventDeps, header: Header, id: string, frame: Uint8Array): boolean {
  const generation = frameGeneration(frame);
  if (generation === undefined || deps.keyring.dataKey(id, generation) !== undefined) return false;
  return !isOwn(deps, header) || (deps.awaited?.(id, generation, header.stream) ?? false);
}

function openSection(
  deps: OpenEventDeps,
  header: Header,
  leaf: Uint8Array,
  section: string,
  keyId: string,
  frame: Uint8Array,
): Uint8Array | undefined {
  const generation = frameGeneration(frame);
  const commitment = fromBase64url(header.sec[section]?.c ?? "");
  if (generation === undefined || commitment === undefined) return undefined;
  const key = deps.keyring.dataKey(keyId, generation);
  if (key === undefined) return undefined;
  return openFrame(deps.crypto, key, section, leaf, frame, commitment)?.plaintext;
}

/** A recorded event from its header and its content in the open. */
export function recordedEvent(
  deps: Pick<OpenEventDeps, "registry">,
  place: { readonly position: number; readonly leaf: string },
  header: Header,
  content: EventContent | undefined,
  state: RecordedEvent["content"],
): RecordedEvent {
  const read =
    content === undefined
      ? { known: deps.registry.types.has(header.type), version: header.tv, payload: undefined }
      : deps.registry.read(header.type, header.tv, content.data);
  return {
    position: place.position,
    leaf: place.leaf,
    header,
    id: header.id,
    type: header.type,
    schemaVersion: read.version,
    known: read.known,
    stream: header.stream,
    scope: header.scope,
    actor: header.act,
    op: header.op,
    recordedAt: header.at,
    occurredAt: content?.occurredAt,
    reason: content?.reason,
    data: read.payload,
    text: content?.text,
    content: state,
  };
}
