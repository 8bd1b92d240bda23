/** Sync of one open store: the real engine over the real transport, on the simulated network. */
import {
  createBreakers,
  createHttpTransport,
  createSyncEngine,
  type EnrolmentCode,
  enrol,
  type EndpointBreaker,
  exchangeGrants,
  type GrantReport,
  grantStoreOf,
  invite,
  isHoldfastError,
  lifeOf,
  makeAssertion,
  parseEnrolmentCode,
  silentObserver,
  type SyncEngine,
  type SyncStore,
  type Transport,
} from "@holdfast/core";
import type { OpenDevice, SimDevice } from "./device.ts";
import type { Ledger } from "./ledger.ts";
import type { SimNetwork } from "./network.ts";
import type { Plant } from "./plant.ts";

/** What a connection is made of. */
export interface ConnectionPorts {
  readonly network: SimNetwork;
  readonly plant: Plant;
  readonly ledger: Ledger;
  readonly url: string;
  readonly tail: boolean;
  /** Between two looks for what others did, now. */
  readonly pollMs: () => number;
}

/** An open store that syncs. */
export interface Connection {
  readonly engine: SyncEngine;
  readonly sync: SyncStore;
  enrol(code: string): Promise<void>;
  /** A code for another device, which may read those scopes. */
  invite(scopes: readonly string[]): Promise<string>;
  /** One exchange of grants. Throws what transport and append throw. */
  grants(): Promise<GrantReport>;
}

const weekMs = 7 * 86_400_000;

/** The engine keeps evidence where the store side can; until then it is in the way of nothing. */
function withEvidence(sync: SyncStore): SyncStore {
  const known: Partial<SyncStore> = sync;
  return {
    ...sync,
    evidence: known.evidence ?? ((): undefined => undefined),
    resumed: known.resumed ?? ((): Promise<void> => Promise.resolve()),
  };
}

/** Connects an open store; nothing is sent before its engine starts. */
export function connect(device: SimDevice, open: OpenDevice, ports: ConnectionPorts): Connection {
  const { process, store } = open;
  const { plant, url } = ports;
  const life = lifeOf(store);
  const { clock, random } = life.deps;
  const http = ports.network.portOf(device.name, process);
  const wire = createHttpTransport({ http }, url);
  const transport: Transport = plant.transport({
    ...wire,
    async push(request, options) {
      const answer = await wire.push(request, options);
      if (answer.status === "receipted") ports.ledger.receipt(answer);
      return answer;
    },
  });
  const sync = plant.sync(withEvidence(life.sync));
  const breakers = <T>(work: (of: ReturnType<typeof createBreakers>) => T): Promise<T> =>
    life.transact(({ driver }) => work(createBreakers({ driver, clock })));
  const breaker: EndpointBreaker = plant.breaker({
    admit: () => breakers((of) => of.admit(transport.endpoint)),
    ended: async (outcome) => {
      await breakers((of) => of.ended(transport.endpoint, outcome));
    },
  });
  const engine = createSyncEngine({
    store: sync,
    transport,
    breaker,
    // What the store sees of the clock, which is bounded.
    clock,
    timers: process.timers,
    random,
    observer: silentObserver,
    options: {
      tail: ports.tail,
      get pollMs() {
        return ports.pollMs();
      },
    },
  });
  life.listeners.add({
    committed: () => {
      engine.wake();
    },
    reopened: () => undefined,
  });
  const grantStore = plant.grants(grantStoreOf(store));

  async function token(): Promise<string> {
    const hello = await transport.hello({});
    const assertion = await makeAssertion(
      { store: sync, random },
      { audience: sync.server()?.host ?? "", serverTime: hello.time },
    );
    return (await transport.token({ assertion }, {})).accessToken;
  }

  let kept: string | undefined;
  /** One token serves until it is refused: then a fresh one, once. */
  async function withToken<T>(work: (token: string) => Promise<T>): Promise<T> {
    const used = kept;
    if (used !== undefined) {
      try {
        return await work(used);
      } catch (error) {
        if (!isHoldfastError(error) || error.code !== "token_refused") throw error;
      }
    }
    kept = await token();
    return work(kept);
  }

  return {
    engine,
    sync,
    async enrol(text) {
      const code: EnrolmentCode = parseEnrolmentCode(text);
      const deps = { crypto: life.deps.crypto, store: sync, grants: grantStore, transport };
      await enrol(deps, code);
    },
    async invite(scopes) {
      const hello = await transport.hello({});
      const terms = { role: "device" as const, scopes, lifeMs: weekMs };
      return withToken((granted) =>
        invite(grantStore, transport, { token: granted }, { url, hello }, terms),
      );
    },
    async grants() {
      return withToken((granted) => exchangeGrants(grantStore, transport, granted));
    },
  };
}

/** Does it, and says the code of what kept it from being done. */
export async function attempt(work: Promise<unknown>): Promise<string | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return error.code;
  }
}
