/**
 * Device logs made up from chance: sealed events with real keys, leaves, frames and signed notes, without a
 * store. One device log seals its own batches in turn, as a writer does.
 */
import {
  base64url,
  type Bytes,
  type CommitBatch,
  createUuidV7,
  type Crypto,
  type DataKey,
  type DeviceHead,
  deviceId,
  deviceLogOrigin,
  emptyRange,
  formatNote,
  type Frame,
  hex,
  noPrevious,
  noteKeyId,
  type Origin,
  type SealableDraft,
  type SealedEvent,
  sealGroup,
  utf8,
} from "@holdfast/core";
import type { Chance } from "./chance.ts";

/** What a made-up event says; all but nothing has a default. */
export type EventWishes = Partial<SealableDraft>;

/** One device's log, sealed batch by batch. */
export interface SealedDeviceLog {
  readonly device: string;
  readonly incarnation: string;
  /** DER SubjectPublicKeyInfo of the key that signs its notes. */
  readonly spki: Bytes;
  readonly head: DeviceHead;
  /** Leaves of everything sealed and kept, from index 0. */
  readonly leaves: readonly string[];
  /** Seals events after the head and signs one note over the new size. */
  batch(wishes: readonly EventWishes[]): CommitBatch;
  /** As `batch`, without moving on: what a writer throws away. */
  draftBatch(wishes: readonly EventWishes[]): CommitBatch;
}

/** Ports of a device log for tests. */
export interface SealedDeviceLogDeps {
  readonly crypto: Crypto;
  readonly chance: Chance;
  readonly tenant?: string;
  /** A new incarnation of that device; default: a device of its own. */
  readonly device?: string;
  /** The tenant's data keys; default: keys of this log alone. */
  readonly keyFor?: (scope: string, section: string) => DataKey;
  /** Makes the signing key; default: `crypto`. */
  readonly keys?: Pick<Crypto, "generateSigningKey">;
}

/** A data key that is nowhere kept: enough to seal, and to open again with the same object. */
export function createLooseDataKey(
  deps: { readonly crypto: Crypto; readonly chance: Chance },
  scope: string,
  section: string,
  generation = 1,
): DataKey {
  const mac = deps.crypto.hmac(deps.chance.bytes(32));
  const id = base64url(deps.chance.bytes(16));
  const frameKey = (name: string, leaf: Uint8Array): Bytes =>
    mac.mac(utf8(`holdfast/aead/v1|${name}`), leaf, Uint8Array.of(1));
  return { id, scope, section, generation, frameKey };
}

/** Data keys that are nowhere kept: one for each section of a scope, made when it is first asked for. */
export interface TestKeyring {
  keyFor(scope: string, section: string): DataKey;
  dataKey(id: string, generation: number): DataKey | undefined;
  /** None: every log is another's. */
  signingKeys(): readonly never[];
}

/** A keyring that knows all keys of a made-up tenant. */
export function createTestKeyring(deps: {
  readonly crypto: Crypto;
  readonly chance: Chance;
}): TestKeyring {
  const keys = new Map<string, DataKey>();
  const byId = new Map<string, DataKey>();
  return {
    keyFor(scope, section) {
      const known = keys.get(`${scope}/${section}`);
      if (known !== undefined) return known;
      const made = createLooseDataKey(deps, scope, section);
      keys.set(`${scope}/${section}`, made);
      byId.set(made.id, made);
      return made;
    },
    signingKeys: () => [],
    dataKey(id, generation) {
      const key = byId.get(id);
      return key?.generation === generation ? key : undefined;
    },
  };
}

/** 16 bytes of chance in the form of a pseudonym. */
export function createPseudonym(chance: Chance): string {
  return base64url(chance.bytes(16));
}

/** A draft with a section of up to 200 bytes, on a stream of its own unless told otherwise. */
export function createSealableDraft(
  chance: Chance,
  newId: () => string,
  wishes: EventWishes = {},
): SealableDraft {
  return {
    id: newId(),
    type: "NoteTaken",
    typeVersion: 1,
    scope: createPseudonym(chance),
    stream: createPseudonym(chance),
    streamSequence: 1,
    vector: {},
    op: "create",
    ref: undefined,
    at: Date.UTC(2026, 0, 1) + chance.integer(1_000_000),
    actor: createPseudonym(chance),
    role: undefined,
    session: undefined,
    why: undefined,
    sections: [{ name: "content", plaintext: chance.bytes(chance.integer(200)) }],
    ...wishes,
  };
}

/** A device log from chance. */
export function createSealedDeviceLog(deps: SealedDeviceLogDeps): SealedDeviceLog {
  const { crypto, chance } = deps;
  const { privateKey, spki } = (deps.keys ?? crypto).generateSigningKey("ed25519");
  const sign = crypto.signer("ed25519", privateKey);
  const origin: Origin = {
    tenant: deps.tenant ?? createPseudonym(chance),
    device: deps.device ?? deviceId(crypto, spki),
    incarnation: hex(chance.bytes(8)),
    tier: "software",
    app: "testkit",
  };
  const name = deviceLogOrigin(origin);
  const keyId = noteKeyId(crypto, { name, algorithm: "ed25519", spki });
  const newId = createUuidV7({ now: () => Date.UTC(2026, 0, 1) }, chance);
  const keyFor = deps.keyFor ?? createTestKeyring(deps).keyFor;
  const leaves: string[] = [];
  let head: DeviceHead = { leaf: noPrevious, range: emptyRange };

  function seal(wishes: readonly EventWishes[]): { batch: CommitBatch; after: DeviceHead } {
    const drafts = wishes.map((wish) => createSealableDraft(chance, newId, wish));
    const sealed = sealGroup({ crypto, random: chance, keyFor }, origin, head, drafts);
    const signature = sign(utf8(sealed.statement));
    const note = {
      device: origin.device,
      incarnation: origin.incarnation,
      size: sealed.head.range.size,
      root: sealed.root,
      text: formatNote(sealed.statement, [{ name, keyId, signature }]),
    };
    return { batch: { events: sealed.events, note }, after: sealed.head };
  }

  return {
    device: origin.device,
    incarnation: origin.incarnation,
    spki,
    leaves,
    get head() {
      return head;
    },
    batch(wishes) {
      const { batch, after } = seal(wishes);
      head = after;
      leaves.push(...batch.events.map(({ leaf }) => leaf));
      return batch;
    },
    draftBatch: (wishes) => seal(wishes).batch,
  };
}

/** The event with frames in another state: `owed`, `shredded` or `evicted` frames hold no bytes. */
export function withFrameState(
  event: SealedEvent,
  state: Exclude<Frame["state"], "present">,
): SealedEvent {
  return { ...event, frames: event.frames.map((frame) => ({ ...frame, state, bytes: undefined })) };
}
