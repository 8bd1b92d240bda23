/** Sync of a store over HTTP, in one call. */
import {
  createHttpTransport,
  createSyncDesk,
  type Holdfast,
  HoldfastError,
  type HttpPort,
  type SyncDesk,
  type SyncEngine,
  type SyncOptions,
} from "@holdfast/core";
import { createNodeHttp, type HttpOptions } from "./http.ts";
import { createNodeSocket } from "./socket.ts";

/** What carries the live tail: server-sent events, or a WebSocket and those only where none can be had. */
export type TailKind = "sse" | "websocket";

/** What {@link syncStore} may be told. */
export interface SyncStoreOptions extends Omit<SyncOptions, "tail">, HttpOptions {
  /** Address of the server; default: the one that the store is enrolled at. */
  readonly url?: string;
  /** `false`: the engine only polls. Default: `sse`. */
  readonly tail?: boolean | TailKind;
}

/**
 * A stopped sync engine over a store: `syncNow()` once, or `start()` for good. It is closed with the store.
 * Throws `sync_not_enrolled`, `transport_insecure`, `server_url_invalid`, `store_read_only`.
 *
 * @example
 * ```ts
 * import type { Holdfast } from "@holdfast/core";
 * import { syncStore } from "@holdfast/node";
 *
 * export async function drain(store: Holdfast): Promise<boolean> {
 *   const sync = syncStore(store);
 *   const report = await sync.syncNow();
 *   await sync.close();
 *   return report.status === "drained";
 * }
 * ```
 */
export function syncStore(store: Holdfast, options: SyncStoreOptions = {}): SyncEngine {
  const { url = store.server()?.url, certificates, tail = true, ...rest } = options;
  if (url === undefined) throw new HoldfastError("sync_not_enrolled");
  const trusted = certificates === undefined ? {} : { certificates };
  const http = createNodeHttp(trusted);
  const socket = tail === "websocket" ? { socket: createNodeSocket(trusted) } : {};
  const transport = createHttpTransport({ http, ...socket }, url);
  const engine = store.sync(transport, { ...rest, tail: tail !== false });
  return closingAfter(engine, () => {
    http.close();
  });
}

/** The same engine, whose end is followed by that of what it ran on. */
export function closingAfter(engine: SyncEngine, close: () => void): SyncEngine {
  return {
    start: () => {
      engine.start();
    },
    syncNow: (signal) => engine.syncNow(signal),
    cancel: () => engine.cancel(),
    state: () => engine.state(),
    subscribe: (listener) => engine.subscribe(listener),
    connectivity: (state) => {
      engine.connectivity(state);
    },
    wake: () => {
      engine.wake();
    },
    resume: (actor, reason) => engine.resume(actor, reason),
    async close() {
      await engine.close();
      close();
    },
  };
}

/** A {@link SyncDesk} over HTTP: enrolment, invitations, devices. `http` stays the caller's to close. */
export function syncDesk(store: Holdfast, http: HttpPort): SyncDesk {
  return createSyncDesk(store, (url) => createHttpTransport({ http }, url));
}
