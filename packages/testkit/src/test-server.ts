/**
 * A server's engine over any database, with a tenant founded and devices that enrol at it. Time moves by hand.
 */
import {
  type Bytes,
  type Crypto,
  type Observer,
  type PushAnswer,
  type PushRequest,
  type Role,
  silentObserver,
  type SqliteDriver,
  utf8,
} from "@holdfast/core";
import {
  type Caller,
  createSqliteServerStore,
  createSyncServer,
  type ServerStore,
  type SyncServer,
} from "@holdfast/server/engine";
import { type Chance, createChance } from "./chance.ts";
import { type CommittedReads, committedReads } from "./committed-reads.ts";
import { createManualClock, type ManualClock } from "./manual-clock.ts";
import {
  createInvitationCode,
  createPushingDevice,
  type PushingDevice,
  type PushWishes,
} from "./pushing-device.ts";
import { createPseudonym } from "./sealed-batches.ts";

/** What a test brings. */
export interface TestServerOptions extends EngineOptions {
  readonly driver: SqliteDriver;
}

/** What a test brings beside a store. */
export interface EngineOptions {
  readonly crypto: Crypto;
  readonly seed?: number;
  readonly observer?: Observer;
}

/** A running engine on SQLite. */
export interface TestServer extends TestEngine {
  readonly driver: SqliteDriver;
  /** The same server over another database, such as an older copy of this one. */
  over(driver: SqliteDriver): SyncServer;
}

/** A running engine with what stands around it. */
export interface TestEngine {
  readonly server: SyncServer;
  readonly store: ServerStore;
  /** What is committed of the tenant. */
  readonly reads: CommittedReads;
  readonly clock: ManualClock;
  readonly chance: Chance;
  readonly tenant: string;
  /** DER SubjectPublicKeyInfo of the checkpoint key. */
  readonly spki: Bytes;
  readonly nodes: ReadonlyMap<string, PushingDevice>;
  /** The founder of the tenant, enrolled. */
  readonly founder: PushingDevice;
  join(role?: Role): Promise<PushingDevice>;
  push(device: PushingDevice, request: PushRequest): Promise<PushAnswer>;
  /** Pushes from there on and expects a receipt. */
  receipted(
    device: PushingDevice,
    from: number,
    wishes?: PushWishes,
  ): Promise<Extract<PushAnswer, { status: "receipted" }>>;
  /** The same server over another store. */
  overStore(store: ServerStore): SyncServer;
  close(): Promise<void>;
}

/** Host part of the log origins. */
export const testHost = "server.test:8443";

/** The caller that a device's access token names. */
export function callerOf({ tenant, device, incarnation }: PushingDevice): Caller {
  return { tenant, device, incarnation };
}

/** Raw bytes of a request: here any text that differs when the request does. */
export function rawOf(request: PushRequest): Uint8Array {
  return utf8(JSON.stringify(request));
}

/** As {@link createTestEngine}, on SQLite. */
export async function createTestServer(options: TestServerOptions): Promise<TestServer> {
  const { crypto, driver } = options;
  const store = createSqliteServerStore({ crypto, driver });
  const engine = await createTestEngine(store, options);
  const over = (other: SqliteDriver): SyncServer =>
    engine.overStore(createSqliteServerStore({ crypto, driver: other }));
  return { ...engine, driver, over };
}

/** Makes the engine, founds a tenant, and enrols its founder. */
export async function createTestEngine(
  store: ServerStore,
  options: EngineOptions,
): Promise<TestEngine> {
  const { crypto } = options;
  const chance = createChance(options.seed ?? 1);
  const clock = createManualClock();
  const { privateKey, spki } = crypto.generateSigningKey("ed25519");
  const sign = crypto.signer("ed25519", privateKey);
  const nodes = new Map<string, PushingDevice>();
  const parts = {
    crypto,
    clock,
    timers: clock,
    random: chance,
    observer: options.observer ?? silentObserver,
    host: testHost,
    key: { spki, sign },
    reads: "granted",
    nodeFor(tenant: string) {
      const node = nodes.get(tenant) ?? createPushingDevice({ crypto, chance, tenant });
      nodes.set(tenant, node);
      return Promise.resolve({ device: node.device, ...node.firstWords() });
    },
  } as const;
  const overStore = (of: ServerStore): SyncServer => createSyncServer({ ...parts, store: of });
  const server = overStore(store);
  const tenant = createPseudonym(chance);
  const founder = createPushingDevice({ crypto, chance, tenant });
  const code = createInvitationCode({ crypto, chance });
  await server.addFoundingCode(code.digest, clock.now() + 60_000);
  await server.enrol(founder.enrol(code));
  const push = (device: PushingDevice, request: PushRequest): Promise<PushAnswer> =>
    server.push(callerOf(device), request, rawOf(request));
  return {
    server,
    store,
    reads: committedReads(store, tenant),
    clock,
    chance,
    tenant,
    spki,
    nodes,
    founder,
    async join(role = "device") {
      const joining = createPushingDevice({ crypto, chance, tenant });
      const invitation = createInvitationCode({ crypto, chance });
      const expires = clock.now() + 60_000;
      await server.addCode(callerOf(founder), { digest: invitation.digest, role, expires });
      await server.enrol(joining.enrol(invitation));
      return joining;
    },
    push,
    overStore,
    async receipted(device, from, wishes = {}) {
      const answer = await push(device, device.push(from, wishes));
      if (answer.status !== "receipted") throw new Error(`answered ${answer.status}`);
      return answer;
    },
    async close() {
      await server.close();
      await store.close();
    },
  };
}
