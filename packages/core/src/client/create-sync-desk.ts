/** The sync desk over an open store: see `sync-desk.ts`. */
import { type Breakers, createBreakers } from "../outbox/breakers.ts";
import { HoldfastError } from "../std/errors.ts";
import { createAbort } from "../sync/abort.ts";
import { type Authorizer, createAuthorizer } from "../sync/auth.ts";
import { createSyncEngine } from "../sync/create-engine.ts";
import type { SyncEngine, SyncReport, SyncState } from "../sync/engine.ts";
import { enrol } from "../sync/enrol.ts";
import { parseEnrolmentCode } from "../sync/enrolment-code.ts";
import type { EndpointBreaker } from "../sync/exchange.ts";
import { exchangeGrants } from "../sync/grant-exchange.ts";
import type { GrantStore } from "../sync/grant-store.ts";
import { invite, withdrawAccess } from "../sync/invitations.ts";
import type { CallOptions, Transport } from "../sync/transport.ts";
import type { StoreLife } from "./store-life.ts";
import type { SyncDesk } from "./sync-desk.ts";

/** A desk and its end. */
interface OpenDesk {
  readonly desk: SyncDesk;
  close(): Promise<void>;
}

/** What is put together once the store is enrolled. */
interface Running {
  readonly engine: SyncEngine;
  readonly transport: Transport;
  readonly auth: Authorizer;
}

/** Rounds of one `syncNow`: what a pull makes this device append is pushed in the next. */
const roundsMax = 4;

export function createSyncDesk(life: StoreLife, grants: GrantStore): OpenDesk {
  const closed = createAbort();
  const listeners = new Map<(state: SyncState) => void, (() => void) | undefined>();
  let running: Running | undefined;
  let appended = 0;

  function transportTo(url: string): Transport {
    const { transportTo: make } = life.deps;
    if (make === undefined) throw new HoldfastError("sync_not_enrolled");
    return make(url);
  }

  function run(): Running {
    if (running !== undefined) return running;
    const server = life.sync.server();
    if (server === undefined) throw new HoldfastError("sync_not_enrolled");
    const transport = transportTo(server.url);
    const parts = { ...life.deps, store: life.sync, transport };
    const engine = createSyncEngine({
      ...parts,
      breaker: breakerOf(life, transport.endpoint),
      options: life.deps.sync ?? {},
      afterPull: async (options) => {
        appended += await exchange(transport, options);
      },
    });
    const auth = createAuthorizer({ ...parts, closed: closed.signal, greeted: () => undefined });
    for (const listener of listeners.keys()) listeners.set(listener, engine.subscribe(listener));
    running = { engine, transport, auth };
    return running;
  }

  async function exchange(transport: Transport, { token, signal }: CallOptions): Promise<number> {
    if (token === undefined) return 0;
    return (await exchangeGrants(grants, transport, token, signal)).appended;
  }

  /** One call outside the engine, with a token; asks for another once when it is refused. */
  async function call<T>(send: (transport: Transport, options: CallOptions) => Promise<T>) {
    const { transport, auth } = run();
    const token = await auth.token(closed.signal);
    try {
      return await send(transport, { token });
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== "token_refused") throw error;
      auth.refused(token);
      return await send(transport, { token: await auth.token(closed.signal) });
    }
  }

  async function syncNow(signal?: Parameters<SyncEngine["syncNow"]>[0]): Promise<SyncReport> {
    const { engine } = run();
    let [pushed, pulled, rejected] = [0, 0, 0];
    for (let round = 1; ; round++) {
      appended = 0;
      const report = await engine.syncNow(signal);
      pushed += report.pushed;
      pulled += report.pulled;
      rejected += report.rejected;
      const goesOn = report.status === "partial" || report.status === "drained";
      if (appended === 0 || !goesOn || round === roundsMax) {
        return { ...report, pushed, pulled, rejected };
      }
    }
  }

  const listener = {
    committed: () => running?.engine.wake(),
    reopened: () => undefined,
  };
  life.listeners.add(listener);

  const desk: SyncDesk = {
    start: () => {
      run().engine.start();
    },
    syncNow,
    cancel: async () => running?.engine.cancel(),
    state: () => running?.engine.state() ?? stateBefore(life),
    subscribe(told) {
      listeners.set(told, running?.engine.subscribe(told));
      return () => {
        listeners.get(told)?.();
        listeners.delete(told);
      };
    },
    connectivity: (state) => {
      running?.engine.connectivity(state);
    },
    resume: (actor, reason) => run().engine.resume(actor, reason),
    server: () => life.sync.server(),
    async enrol(text) {
      const code = parseEnrolmentCode(text);
      const transport = transportTo(code.url);
      const answer = await enrol(
        { crypto: life.deps.crypto, store: life.sync, grants, transport },
        code,
      );
      await running?.engine.close();
      running = undefined;
      return answer;
    },
    invite: (terms) =>
      call(async (transport, options) => {
        const hello = await transport.hello(options);
        const { url } = life.sync.server() ?? { url: "" };
        return invite(grants, transport, options, { url, hello }, terms);
      }),
    devices: () => call((transport, options) => transport.devices(options)),
    async revoke(device, why) {
      await withdrawAccess(grants, device, why);
      await call((transport, options) => transport.revoke({ device, why }, options));
    },
    access: () => grants.rows(),
    grants: () => grants.grants(),
    breakers: () => breakersOf(life).list(),
  };
  return {
    desk,
    async close() {
      life.listeners.delete(listener);
      closed.abort();
      await running?.engine.close();
    },
  };
}

function breakersOf(life: StoreLife): Breakers {
  const { clock, observer } = life.deps;
  return createBreakers({ driver: life.current().driver, clock, observer });
}

/** The endpoint's breaker, as rows of the store: several processes share it. */
function breakerOf(life: StoreLife, endpoint: string): EndpointBreaker {
  return {
    admit: () => life.keep(() => breakersOf(life).admit(endpoint)),
    async ended(outcome) {
      await life.keep(() => breakersOf(life).ended(endpoint, outcome));
    },
  };
}

/** Before the first exchange. */
function stateBefore(life: StoreLife): SyncState {
  const evidence = life.sync.evidence();
  const lane = evidence === undefined ? "stopped" : "halted";
  return {
    push: lane,
    pull: lane,
    connectivity: "unknown",
    watermarks: life.sync.watermarks(),
    lastFailure: undefined,
    evidence,
  };
}
