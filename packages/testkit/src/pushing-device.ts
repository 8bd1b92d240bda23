/**
 * Devices as a server meets them, made up from chance: an opening, sealed events, signed notes, and the requests
 * that these make. What is pushed is chosen by the test; nothing here decides for it.
 */
import {
  base64,
  base64url,
  type Bytes,
  type CodeRequest,
  type CommitNote,
  createHashSource,
  type Crypto,
  deviceId,
  type EnrolRequest,
  fromBase64url,
  incarnationOpenedType,
  type IncarnationPub,
  preAuthenticationEncoding,
  proofDigest,
  proveInclusion,
  type PushEntry,
  type PushRequest,
  rootOf,
  type SealedEvent,
  successionPayloadType,
  successionStatement,
} from "@holdfast/core";
import type { Chance } from "./chance.ts";
import { createSealedDeviceLog, type EventWishes, type SealedDeviceLog } from "./sealed-batches.ts";

/** How a push differs from "everything from there on, with bodies, up to the newest note". */
export interface PushWishes {
  /** Size that the exchange ends at; a note must be there. Default: the newest. */
  readonly to?: number;
  /** Indices that go without body. */
  readonly leafOnly?: readonly number[];
  /** Indices whose bodies come apart. */
  readonly fills?: readonly number[];
  readonly checkpoint?: number;
}

/** One incarnation of a device, and what it has recorded. */
export interface PushingDevice {
  readonly tenant: string;
  readonly device: string;
  readonly incarnation: string;
  readonly log: SealedDeviceLog;
  readonly events: readonly SealedEvent[];
  readonly notes: readonly CommitNote[];
  /** Text of the opening. */
  readonly opening: string;
  /** The HPKE key in the opening, base64. */
  readonly hpke: string;
  /** Seals and keeps. */
  record(wishes: readonly EventWishes[]): void;
  /** The request that pushes from there on. */
  push(from: number, wishes?: PushWishes): PushRequest;
  /** Opening, newest note and path of index 0. */
  firstWords(): Pick<EnrolRequest, "opening" | "note" | "path">;
  enrol(code: InvitationCode): EnrolRequest;
  /** Another incarnation, handed over to by this one's key. */
  successor(): PushingDevice;
  sign(message: Uint8Array): Bytes;
}

/** A code as its maker knows it, and as the server learns of it. */
export interface InvitationCode {
  readonly proof: string;
  readonly digest: CodeRequest["digest"];
}

/** Ports of a device made up from chance. */
export interface PushingDeviceDeps {
  readonly crypto: Crypto;
  readonly chance: Chance;
  readonly tenant: string;
}

/** A code from chance. */
export function createInvitationCode(
  deps: Pick<PushingDeviceDeps, "crypto" | "chance">,
): InvitationCode {
  const proof = base64url(deps.chance.bytes(32));
  return { proof, digest: proofDigest(deps.crypto, proof) ?? "" };
}

/** A device whose log begins with its opening. */
export function createPushingDevice(deps: PushingDeviceDeps): PushingDevice {
  return createIncarnation(deps, undefined);
}

/** Another incarnation of a device, handed over to with its `sign`. */
export function successorOf(
  { crypto, chance }: Pick<PushingDeviceDeps, "crypto" | "chance">,
  before: PushingDevice,
): PushingDevice {
  return createIncarnation({ crypto, chance, tenant: before.tenant }, before);
}

function createIncarnation(
  deps: PushingDeviceDeps,
  before: PushingDevice | undefined,
): PushingDevice {
  const { crypto, chance, tenant } = deps;
  const { privateKey, spki } = crypto.generateSigningKey("ed25519");
  const sign = crypto.signer("ed25519", privateKey);
  const keys = { generateSigningKey: () => ({ privateKey, spki }) };
  const device = before?.device ?? deviceId(crypto, spki);
  const log = createSealedDeviceLog({ crypto, chance, tenant, device, keys });
  const events: SealedEvent[] = [];
  const notes: CommitNote[] = [];
  const record = (wishes: readonly EventWishes[]): void => {
    const batch = log.batch(wishes);
    events.push(...batch.events);
    notes.push(batch.note);
  };
  const hpke = base64(chance.bytes(32));
  const pub: IncarnationPub = {
    alg: "ed25519",
    spki: base64(spki),
    hpke,
    ...(before === undefined ? { reason: "first" } : handedOver(deps, before, log)),
  };
  record([{ type: incarnationOpenedType, sections: [], pub }]);
  const self: PushingDevice = {
    tenant,
    device,
    incarnation: log.incarnation,
    log,
    events,
    notes,
    opening: (events[0] as SealedEvent).headerText,
    hpke,
    record,
    push: (from, wishes = {}) => pushRequest(self, from, wishes),
    firstWords: () => firstWords(crypto, self),
    enrol: ({ proof }) => ({
      ...firstWords(crypto, self),
      proof,
      binding: base64url(chance.bytes(32)),
    }),
    successor: () => successorOf(deps, self),
    sign,
  };
  return self;
}

function handedOver(
  { crypto }: PushingDeviceDeps,
  before: PushingDevice,
  log: SealedDeviceLog,
): Pick<IncarnationPub, "reason" | "predecessor" | "size" | "root" | "sig"> {
  const { tenant, device, incarnation: predecessor } = before;
  const { size } = before.log.head.range;
  const root = base64(rootOf(crypto, before.log.head.range));
  const { incarnation, spki } = log;
  const succession = { tenant, device, incarnation, spki, predecessor, size, root };
  const statement = successionStatement(succession);
  const sig = before.sign(preAuthenticationEncoding(successionPayloadType, statement));
  return { reason: "restored", predecessor, size, root, sig: base64(sig) };
}

/** A sealed event as it travels. */
export function bodyOf({
  headerText,
  frames,
}: SealedEvent): Extract<PushEntry, { kind: "full" }>["body"] {
  return { header: headerText, frames };
}

function pushRequest(device: PushingDevice, from: number, wishes: PushWishes): PushRequest {
  const to = wishes.to ?? device.events.length;
  const note = device.notes.find(({ size }) => size === to);
  if (note === undefined) throw new RangeError("no commit ends there");
  const entries = device.events.slice(from, to).map((event, at): PushEntry => {
    const bare = wishes.leafOnly?.includes(from + at) === true;
    return bare
      ? { kind: "leaf", leaf: fromBase64url(event.leaf) as Bytes }
      : { kind: "full", body: bodyOf(event) };
  });
  const fills = (wishes.fills ?? []).map((index) => ({
    index,
    body: bodyOf(device.events[index] as SealedEvent),
  }));
  return {
    device: device.device,
    incarnation: device.incarnation,
    from,
    note: note.text,
    entries,
    fills,
    checkpoint: wishes.checkpoint ?? 0,
  };
}

function firstWords(
  crypto: Crypto,
  { events, notes, opening }: PushingDevice,
): Pick<EnrolRequest, "opening" | "note" | "path"> {
  const leaves = events.map(({ leaf }) => fromBase64url(leaf) as Bytes);
  // Fewer than 256 leaves have no tile; longer logs enrol with their first note.
  const note = notes.findLast(({ size }) => size < 256) as CommitNote;
  const source = {
    leaves: (from: number, to: number) => leaves.slice(from, to),
    tileRoots: () => [],
  };
  const hashOf = createHashSource(crypto, source, note.size);
  return { opening, note: note.text, path: proveInclusion(crypto, 0, note.size, hashOf) };
}
