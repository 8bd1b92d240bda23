/**
 * Sync of an open store: an engine over its replica, woken after commits, with the breakers that the store
 * keeps, so that every process that syncs this store knows what the others learned of the endpoint.
 */
import type { RecordedEvent } from "../event/event.ts";
import type { AttemptOutcome } from "../outbox/breaker.ts";
import { type BreakerOptions, type Breakers, createBreakers } from "../outbox/breakers.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { inTransaction } from "../store/sqlite-event-log.ts";
import type { Writer } from "../store/writer.ts";
import { createSyncEngine, type SyncOptions } from "../sync/create-engine.ts";
import type { SyncEngine } from "../sync/engine.ts";
import { type Backend, compileBackend } from "../sync/rest/backend.ts";
import { createBackendStore } from "../sync/rest/backend-store.ts";
import { createDeliveryEngine, type DeliveryPorts } from "../sync/rest/create-delivery.ts";
import type { EndpointBreaker } from "../sync/exchange.ts";
import { exchangeGrants } from "../sync/grant-exchange.ts";
import type { GrantStore } from "../sync/grant-store.ts";
import { localValues } from "../sync/local-values.ts";
import type { Transport } from "../sync/transport.ts";
import { openToDeliver } from "./open-event.ts";
import type { StoreLife } from "./store-life.ts";

/** Engines of one open store; closed with it. */
export interface StoreSync {
  /** Throws what `Holdfast.deliver` throws. */
  deliver(backend: Backend, ports: DeliveryPorts): SyncEngine;
  /** Throws `store_read_only`. */
  open(transport: Transport, options?: SyncOptions): SyncEngine;
  /** The engine that was opened last. */
  current(): SyncEngine | undefined;
  close(): Promise<void>;
}

/** Over an open store; after each pull grants are exchanged, too. */
export function createStoreSync(life: StoreLife, grants: GrantStore): StoreSync {
  const engines: SyncEngine[] = [];
  const listener = {
    committed(): void {
      for (const engine of engines) engine.wake();
    },
    reopened: () => undefined,
  };
  life.listeners.add(listener);

  function readEvent(position: number): RecordedEvent | undefined {
    const { log } = life.current();
    const [stored] = log.read({ after: position - 1, limit: 1 });
    const { isShredded } = log.shreds;
    return stored === undefined ? undefined : openToDeliver({ ...life.deps, isShredded }, stored);
  }

  return {
    open(transport, options = {}) {
      const { writer, deps } = life;
      if (writer === undefined) throw new HoldfastError("store_read_only");
      const { clock, timers, random, observer } = deps;
      const breaker = storedBreaker(life, writer, transport.endpoint, options.breaker);
      const ports = { store: life.sync, transport, breaker, clock, timers, random, observer };
      const engine = createSyncEngine({
        ...ports,
        options,
        async afterPull({ token = "", signal }) {
          await purgeWhenDue(life);
          const { appended } = await exchangeGrants(grants, transport, token, signal);
          await life.retireHpkeKeys();
          return appended;
        },
      });
      engines.push(engine);
      return engine;
    },
    deliver(description, { http, tokens, breaker: breakerOptions }) {
      const { writer, deps } = life;
      if (writer === undefined) throw new HoldfastError("store_read_only");
      const backend = compileBackend(description);
      if (life.sync.server() !== undefined) throw new HoldfastError("backend_store_enrolled");
      const { clock, timers, random, observer } = deps;
      const { endpoint } = backend;
      const breaker = storedBreaker(life, writer, endpoint, breakerOptions);
      const deliveries = createBackendStore({
        writer,
        session: () => life.current(),
        clock,
        endpoint,
        // Engines of one process take leases of their own: one leasing again gives its former entries back.
        worker: `${life.worker.slice(0, 100)}/backend-${engines.length}`,
        readEvent,
        onCommitted: () => {
          life.committed();
        },
      });
      const ports = { store: life.sync, backend, deliveries, http, tokens, breaker };
      const engine = createDeliveryEngine({ ...ports, clock, timers, random, observer });
      engines.push(engine);
      return engine;
    },
    current: () => engines.at(-1),
    async close() {
      life.listeners.delete(listener);
      await Promise.all(engines.map((engine) => engine.close()));
    },
  };
}

const purgedName = "purged_at";

/** Archived dead letters past their retention leave the outbox once a day, while an engine runs. */
async function purgeWhenDue(life: StoreLife): Promise<void> {
  const now = life.deps.clock.now();
  const before = localValues(life.current().driver).get(purgedName);
  // A clock that was set back must not keep it from ever happening again.
  const since = Math.abs(now - Number(before ?? 0));
  if (before !== undefined && since < limits.purgeEveryMs) return;
  await life.transact(({ driver, outbox }) => {
    outbox.purge();
    localValues(driver).set(purgedName, String(now));
  });
}

/** While all is well, nothing is written for it. */
function storedBreaker(
  life: StoreLife,
  writer: Writer,
  endpoint: string,
  options: BreakerOptions = {},
): EndpointBreaker {
  const { clock, observer } = life.deps;
  const breakers = (): Breakers =>
    createBreakers({ driver: life.current().driver, clock, observer, options });
  const isQuiet = (): boolean => {
    const { state, failures } = breakers().get(endpoint);
    return state === "closed" && failures === 0;
  };
  const within = <T>(work: (of: Breakers) => T): Promise<T> =>
    writer.exclusively(({ driver, lease }, token) =>
      inTransaction(driver, () => {
        lease.assertHeld(token);
        return work(createBreakers({ driver, clock, observer, options }));
      }),
    );
  return {
    admit() {
      if (isQuiet()) return { admitted: true, probe: false };
      return within((of) => of.admit(endpoint));
    },
    async ended(outcome: AttemptOutcome) {
      if ((outcome === "answered" || outcome === "cancelled") && isQuiet()) return;
      await within((of) => of.ended(endpoint, outcome));
    },
  };
}
