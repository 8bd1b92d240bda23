/** Delivery of a store to a backend that is no Holdfast server, in one call. */
import type { Backend, DeliveryPorts, Holdfast, SyncEngine } from "@holdfast/core";
import { HoldfastError, parseServerUrl } from "@holdfast/core";
import { createNodeHttp, type HttpOptions } from "./http.ts";
import { closingAfter } from "./sync-store.ts";

/** What {@link deliverStore} may be told besides the backend. */
export interface DeliverStoreOptions extends Omit<DeliveryPorts, "http">, HttpOptions {}

/** An engine whose pins can be changed while it runs. */
export interface DeliveryEngine extends SyncEngine {
  /** Other certificate pins from now on, without a break. Throws `pins_invalid`. */
  setPins(pins: readonly string[]): void;
}

/**
 * A stopped engine that delivers a store to a backend: `syncNow()` once, or `start()` for good. It is closed with
 * the store. Throws what `Holdfast.deliver` throws, and `pins_invalid`.
 *
 * @example
 * ```ts
 * import type { Holdfast, TokenSource } from "@holdfast/core";
 * import { deliverStore } from "@holdfast/node";
 *
 * export async function drain(store: Holdfast, tokens: TokenSource): Promise<boolean> {
 *   const delivery = deliverStore(
 *     store,
 *     {
 *       url: "https://records.example/api",
 *       routes: [
 *         { type: "NoteTaken", op: "create", path: "/notes" },
 *         { type: "NoteTaken", path: "/notes/{stream}" },
 *       ],
 *     },
 *     { tokens },
 *   );
 *   const report = await delivery.syncNow();
 *   await delivery.close();
 *   return report.status === "drained";
 * }
 * ```
 */
export function deliverStore(
  store: Holdfast,
  backend: Backend,
  options: DeliverStoreOptions = {},
): DeliveryEngine {
  const { certificates, pins, ...rest } = options;
  if (pins !== undefined && !parseServerUrl(backend.url).secure) {
    throw new HoldfastError("pins_invalid", { reason: "keys are pinned over https only" });
  }
  const http = createNodeHttp({
    ...(certificates === undefined ? {} : { certificates }),
    ...(pins === undefined ? {} : { pins }),
  });
  const engine = store.deliver(backend, { ...rest, http });
  const closing = closingAfter(engine, () => {
    http.close();
  });
  return {
    ...closing,
    setPins: (next) => {
      http.setPins(next);
    },
  };
}
