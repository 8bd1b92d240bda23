/**
 * Histories of several devices of one tenant, made up from chance: sealed events with commit notes, of device
 * logs that share data keys and know of each other in part.
 *
 * What a device knows is always closed under causes, as it is after a pull: its vectors are what a store
 * would have written. Clocks are wrong by hours or years and jump, also backwards. Streams have exclusive and
 * independent events, amendments, retractions and resolutions; payloads are few, so that devices sometimes
 * say the same. The same chance gives the same history.
 */
import {
  base64,
  canonicalJson,
  type CommitBatch,
  type Conflict,
  type ContendingEvent,
  createRegistry,
  type Crypto,
  defineEvent,
  type EventType,
  findConflicts,
  fromUtf8,
  type Header,
  incarnationOpenedType,
  type Operation,
  originKey,
  type Registry,
  type SealedEvent,
  toSections,
  type VersionVector,
} from "@holdfast/core";
import { nobleCrypto } from "@holdfast/core/noble";
import type { Chance } from "./chance.ts";
import { createOpenSchema } from "./schemas.ts";
import {
  createPseudonym,
  createSealedDeviceLog,
  createTestKeyring,
  type EventWishes,
  type SealedDeviceLog,
  type TestKeyring,
} from "./sealed-batches.ts";

/** Size of a history. */
export interface HistoryOptions {
  readonly devices: number;
  /** Events beside the `IncarnationOpened` of each device. */
  readonly events: number;
  readonly streams: number;
  /** Scopes among which the streams are divided; at most as many as streams. */
  readonly scopes: number;
}

/** One device log of a history. */
export interface DeviceHistory {
  readonly device: string;
  readonly incarnation: string;
  /** DER SubjectPublicKeyInfo of the key that signs its notes. */
  readonly spki: Uint8Array;
  /** In the log's own order, for `SqliteEventLog.appendWithin`. */
  readonly batches: readonly CommitBatch[];
}

/** What {@link generateHistory} makes. */
export interface GeneratedHistory {
  readonly tenant: string;
  readonly logs: readonly DeviceHistory[];
  /** All data keys. */
  readonly keyring: TestKeyring;
  /** The types of {@link historyTypes}. */
  readonly registry: Registry;
  /** Stream ids. */
  readonly streams: readonly string[];
}

/** What the events of a history record. */
export interface HistoryPayload {
  readonly value: number;
}

function historyType(type: string, more: Partial<EventType<HistoryPayload>> = {}) {
  return defineEvent<HistoryPayload>({ type, schema: createOpenSchema<HistoryPayload>(), ...more });
}

const greatest: EventType["strategy"] = {
  name: "greatest",
  resolve(sides) {
    const values = sides.map(({ payload }) => (payload as HistoryPayload).value);
    return values.indexOf(Math.max(...values));
  },
};

/** Event types of histories: manual, last-writer, custom, independent. */
export const historyTypes: readonly EventType<HistoryPayload>[] = [
  historyType("NoteWritten"),
  historyType("BedAssigned", { strategy: "last-writer" }),
  historyType("DoseSet", { strategy: greatest }),
  historyType("WeightMeasured", { concurrency: "independent" }),
];

/** One commit of a device, and how many commits of each device it knows. */
interface Made {
  readonly batch: CommitBatch;
  readonly device: number;
  readonly knows: readonly number[];
}

interface Device {
  readonly log: SealedDeviceLog;
  readonly origin: string;
  /** How many commits of each device it knows. */
  knows: number[];
  /** By stream. */
  readonly frontiers: Map<string, VersionVector>;
  readonly known: Map<string, ContendingEvent[]>;
  readonly counts: Map<string, number>;
  clock: number;
}

const hour = 3_600_000;
const skews = [0, 0, 0, 1, -1, 7 * hour, -5 * hour, 400 * 24 * hour, -2_000 * 24 * hour];

/** Makes a history. `crypto` seals it; default: the portable one. */
export function generateHistory(
  chance: Chance,
  options: HistoryOptions,
  crypto: Crypto = nobleCrypto(chance),
): GeneratedHistory {
  const tenant = createPseudonym(chance);
  const keyring = createTestKeyring({ crypto, chance });
  const registry = createRegistry(historyTypes);
  // Signing keys from chance as well: device ids, and with them canonical order, replay from the seed.
  const keys = nobleCrypto(chance);
  const scopes = Array.from({ length: options.scopes }, () => createPseudonym(chance));
  const streams = Array.from({ length: options.streams }, () => createPseudonym(chance));
  const made: Made[] = [];
  const devices = Array.from({ length: options.devices }, (): Device => {
    const log = createSealedDeviceLog({ crypto, chance, tenant, keyFor: keyring.keyFor, keys });
    return {
      log,
      origin: originKey(log.device, log.incarnation),
      knows: Array.from({ length: options.devices }, () => 0),
      frontiers: new Map(),
      known: new Map(),
      counts: new Map(),
      clock: Date.UTC(2026, 0, 1) + chance.pick(skews),
    };
  });
  for (const [at, device] of devices.entries())
    commit(made, devices, at, [openingWishes(chance, device)]);
  for (let left = options.events; left > 0;) {
    const at = chance.integer(devices.length);
    const device = devices[at] as Device;
    if (chance.oneIn(3)) learn(device, chance.pick(made), made);
    device.clock += chance.integer(hour) + (chance.oneIn(12) ? chance.pick(skews) : 0);
    const stream = chance.integer(streams.length);
    const place = {
      stream: streams[stream] as string,
      scope: scopes[stream % scopes.length] as string,
      main: historyTypes[stream % 3] as EventType,
    };
    const size = Math.min(left, chance.oneIn(4) ? 1 + chance.integer(3) : 1);
    const wishes = Array.from({ length: size }, () => wishesFor(chance, registry, device, place));
    commit(made, devices, at, numbered(device, wishes));
    left -= size;
  }
  const logs = devices.map(({ log }, at): DeviceHistory => {
    const batches = made.filter(({ device }) => device === at).map(({ batch }) => batch);
    return { device: log.device, incarnation: log.incarnation, spki: log.spki, batches };
  });
  return { tenant, logs, keyring, registry, streams };
}

function openingWishes(chance: Chance, { log, clock }: Device): EventWishes {
  return {
    type: incarnationOpenedType,
    scope: createPseudonym(chance),
    stream: createPseudonym(chance),
    at: clock,
    sections: [],
    pub: {
      alg: "ed25519",
      spki: base64(log.spki),
      hpke: base64(chance.bytes(32)),
      reason: "first",
    },
  };
}

/** What a device records next on a stream; its stream counter and vector come with {@link numbered}. */
function wishesFor(
  chance: Chance,
  registry: Registry,
  device: Device,
  { main, ...place }: { readonly stream: string; readonly scope: string; readonly main: EventType },
): EventWishes {
  const known = device.known.get(place.stream) ?? [];
  const open = chance.oneIn(3) ? openConflict(known, registry) : undefined;
  const correct = open === undefined && known.length > 0 && chance.oneIn(5);
  const named = correct ? chance.pick(known) : undefined;
  const type =
    registry.types.get(named?.header.type ?? "") ??
    (open === undefined ? typeFor(chance, main) : main);
  const op: Operation =
    open !== undefined
      ? "resolve"
      : correct
        ? chance.pick(["amend", "retract"] as const)
        : "create";
  const ref = open?.sides ?? (named === undefined ? undefined : [named.leaf]);
  const occurredAt = chance.oneIn(3) ? Date.UTC(2025, 11, 1 + chance.integer(30)) : undefined;
  const data = { value: chance.integer(4) };
  return {
    ...place,
    type: type.type,
    op,
    ref,
    why: correct ? chance.pick(["typing-error", "wrong-subject"]) : undefined,
    at: Math.max(0, device.clock),
    vector: type.concurrency === "exclusive" ? {} : undefined,
    sections: toSections(type, { data, text: undefined, occurredAt, reason: undefined }),
  };
}

/** Mostly one type in a stream: strategies of other types leave a mixed conflict to a person. */
function typeFor(chance: Chance, main: EventType): EventType {
  if (chance.oneIn(12)) return chance.pick(historyTypes);
  return chance.oneIn(4) ? (historyTypes.at(-1) as EventType) : main;
}

function openConflict(known: readonly ContendingEvent[], registry: Registry): Conflict | undefined {
  return findConflicts(known, registry).find(({ status }) => status === "open");
}

/** Gives events their places in their stream: each has those before it in its past. */
function numbered(device: Device, wishes: readonly EventWishes[]): readonly EventWishes[] {
  const frontiers = new Map(device.frontiers);
  const counts = new Map(device.counts);
  return wishes.map((wish) => {
    const stream = wish.stream as string;
    const streamSequence = (counts.get(stream) ?? 0) + 1;
    counts.set(stream, streamSequence);
    const frontier = frontiers.get(stream) ?? {};
    const vector = wish.vector === undefined ? undefined : frontier;
    frontiers.set(stream, advanced(frontier, device.origin, streamSequence, vector));
    return { ...wish, streamSequence, vector };
  });
}

/** The frontier after one more event whose causes are all known. */
function advanced(
  frontier: VersionVector,
  origin: string,
  count: number,
  vector: VersionVector | undefined,
): VersionVector {
  const after = Object.entries(frontier).filter(
    ([other, last]) => other !== origin && (vector?.[other] ?? 0) < last,
  );
  return { ...Object.fromEntries(after), [origin]: count };
}

function commit(
  made: Made[],
  devices: readonly Device[],
  at: number,
  wishes: readonly EventWishes[],
): void {
  const device = devices[at] as Device;
  const batch = device.log.batch(wishes);
  const plaintexts = wishes.map(({ sections }) => sections ?? []);
  for (const [index, event] of batch.events.entries()) {
    contents.set(event, plaintexts[index] ?? []);
    device.counts.set(event.header.stream, event.header.sseq);
  }
  device.knows = device.knows.map((count, other) => (other === at ? count + 1 : count));
  take(device, batch.events);
  made.push({ batch, device: at, knows: device.knows });
}

/** What sealed events say, so that a device can tell whether two say the same. */
const contents = new WeakMap<SealedEvent, NonNullable<EventWishes["sections"]>>();

/** Learns a commit and all that its device knew then. */
function learn(device: Device, of: Made, made: readonly Made[]): void {
  const before = device.knows;
  device.knows = before.map((count, other) => Math.max(count, of.knows[other] as number));
  const seen = device.knows.map(() => 0);
  // In the order in which the history was made, causes come first.
  for (const { batch, device: by } of made) {
    const number = (seen[by] = (seen[by] as number) + 1);
    if (number > (before[by] as number) && number <= (device.knows[by] as number)) {
      take(device, batch.events);
    }
  }
}

function take(device: Device, events: readonly SealedEvent[]): void {
  for (const event of events) {
    const { header } = event;
    const list = device.known.get(header.stream) ?? [];
    device.known.set(header.stream, list);
    list.push(contending(event, header));
    const origin = originKey(header.dev, header.inc);
    const frontier = device.frontiers.get(header.stream) ?? {};
    device.frontiers.set(header.stream, advanced(frontier, origin, header.sseq, header.vv));
  }
}

function contending(event: SealedEvent, header: Header): ContendingEvent {
  const sections = contents.get(event) ?? [];
  const texts = sections.map(({ name, plaintext }) => [name, fromUtf8(plaintext)]);
  const [content] = texts;
  const payload =
    content === undefined
      ? undefined
      : (JSON.parse(content[1] as string) as { data: unknown }).data;
  return { leaf: event.leaf, header, contentKey: canonicalJson(texts), payload };
}

/** Orders in which the commits of a history may arrive somewhere: random, but each device log in its own order. */
export function arrivalOrders(
  history: Pick<GeneratedHistory, "logs">,
  chance: Chance,
  count: number,
): readonly (readonly CommitBatch[])[] {
  return Array.from({ length: count }, () => {
    const next = history.logs.map(() => 0);
    const left = history.logs.flatMap(({ batches }, at) => batches.map(() => at));
    // Half of the orders come in long runs, as after days without a connection.
    const turns = chance.oneIn(2) ? chance.shuffle(left) : runs(chance, left);
    return turns.map((at) => {
      const index = next[at] as number;
      next[at] = index + 1;
      return history.logs[at]?.batches[index] as CommitBatch;
    });
  });
}

/** The same turns, in runs of one device each. */
function runs(chance: Chance, left: readonly number[]): readonly number[] {
  const counts = new Map<number, number>();
  for (const at of left) counts.set(at, (counts.get(at) ?? 0) + 1);
  const turns: number[] = [];
  while (counts.size > 0) {
    const at = chance.pick([...counts.keys()]);
    const count = counts.get(at) as number;
    const run = 1 + chance.integer(count);
    for (let turn = 0; turn < run; turn++) turns.push(at);
    if (run === count) counts.delete(at);
    else counts.set(at, count - run);
  }
  return turns;
}
