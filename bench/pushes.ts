/** Devices of one tenant whose pushes are made before any clock starts, and the engine that takes them. */
import { type EventBody, type PushRequest, silentObserver } from "@holdfast/core";
import { createNodeCrypto, systemClock, systemTimers } from "@holdfast/node";
import { createSyncServer, type ServerStore, type SyncServer } from "@holdfast/server/engine";
import {
  bodyOf,
  callerOf,
  type Chance,
  createInvitationCode,
  createPseudonym,
  createPushingDevice,
  type EventWishes,
  type PushingDevice,
} from "@holdfast/testkit";

const scopes = 50;
const streams = 500;
/** With salts, tags and headers some 700 kB for 500 events: an exchange takes up to 1 MiB. */
const payloadBytes = 512;
const crypto = createNodeCrypto();

/** An engine with one tenant. */
export interface PushGround {
  readonly server: SyncServer;
  /** The founder; what it records counts from there. */
  readonly device: Pusher;
  /** Another engine over another store of the same database, as a node of the same server. */
  beside(store: ServerStore): SyncServer;
  /** Scopes that its events are of. */
  readonly scopes: readonly string[];
  /** Another device of the tenant. */
  join(): Promise<Pusher>;
}

/** A device that has pushed all that it recorded so far. */
export interface Pusher {
  readonly device: PushingDevice;
  /** Seals so many events and makes the push of them. */
  prepare(events: number): PushRequest;
}

/** Founds a tenant in an empty store. */
export async function foundPushes(store: ServerStore, chance: Chance): Promise<PushGround> {
  const tenant = createPseudonym(chance);
  const { privateKey, spki } = crypto.generateSigningKey("ed25519");
  const key = { spki, sign: crypto.signer("ed25519", privateKey) };
  const engine = (over: ServerStore): SyncServer => {
    const node = createPushingDevice({ crypto, chance, tenant });
    return createSyncServer({
      store: over,
      crypto,
      clock: systemClock,
      timers: systemTimers,
      random: chance,
      observer: silentObserver,
      host: "bench.test",
      key,
      reads: "none",
      nodeFor: () => Promise.resolve({ device: node.device, ...node.firstWords() }),
    });
  };
  const server = engine(store);
  const names = namesFrom(chance);
  const makeEvents = eventMaker(chance, names);
  const founder = createPushingDevice({ crypto, chance, tenant });
  const code = createInvitationCode({ crypto, chance });
  await server.addFoundingCode(code.digest, systemClock.now() + 60_000);
  await server.enrol(founder.enrol(code));
  return {
    server,
    device: await pusherOf(server, founder, makeEvents),
    beside: engine,
    scopes: names.slice(0, scopes).map(({ scope }) => scope),
    async join() {
      const joining = createPushingDevice({ crypto, chance, tenant });
      const { proof, digest } = createInvitationCode({ crypto, chance });
      const expires = systemClock.now() + 60_000;
      await server.addCode(callerOf(founder), { digest, role: "device", expires });
      await server.enrol(joining.enrol({ proof, digest }));
      return pusherOf(server, joining, makeEvents);
    },
  };
}

/** Its opening is there before anything else. */
async function pusherOf(
  server: SyncServer,
  device: PushingDevice,
  makeEvents: EventMaker,
): Promise<Pusher> {
  let pushed = device.events.length;
  const { incarnation } = device;
  const pusher: Pusher = {
    device,
    prepare(count) {
      // Past the device, which would keep all of it: a large heap is collected on the clock.
      const { events, note } = device.log.batch(makeEvents(count));
      const from = pushed;
      pushed += events.length;
      const entries = events.map((event) => ({ kind: "full" as const, body: bodyOf(event) }));
      const { text } = note;
      return {
        device: device.device,
        incarnation,
        from,
        note: text,
        entries,
        fills: [],
        checkpoint: 0,
      };
    },
  };
  await pushWhole(server, pusher, device.push(0));
  return pusher;
}

const unusedRaw = new Uint8Array(0);

/** Pushes, and expects that nothing is owed. */
export async function pushWhole(
  server: SyncServer,
  { device }: Pusher,
  request: PushRequest,
): Promise<void> {
  const answer = await server.push(callerOf(device), request, unusedRaw);
  if (answer.status === "receipted" && answer.owed.length === 0) return;
  throw new Error("a push was not taken whole");
}

type EventMaker = (count: number) => readonly EventWishes[];

interface StreamNames {
  readonly stream: string;
  readonly scope: string;
}

/** Streams in turn in one of the scopes. */
function namesFrom(chance: Chance): readonly StreamNames[] {
  const own = Array.from({ length: scopes }, () => createPseudonym(chance));
  return Array.from({ length: streams }, (_, at) => ({
    stream: createPseudonym(chance),
    scope: own[at % scopes] ?? "",
  }));
}

function eventMaker(chance: Chance, names: readonly StreamNames[]): EventMaker {
  const counts = new Map<number, number>();
  return (count) =>
    Array.from({ length: count }, () => {
      const number = chance.integer(streams);
      const streamSequence = (counts.get(number) ?? 0) + 1;
      counts.set(number, streamSequence);
      const { stream = "", scope = "" } = names[number] ?? {};
      const plaintext = chance.bytes(payloadBytes);
      return { stream, scope, streamSequence, sections: [{ name: "content", plaintext }] };
    });
}

/** What a push brings. */
export function bodiesOf(request: PushRequest): readonly EventBody[] {
  return request.entries.flatMap((entry) => (entry.kind === "full" ? [entry.body] : []));
}
