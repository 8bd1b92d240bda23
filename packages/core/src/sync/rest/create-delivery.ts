/**
 * Delivery to a backend that is no Holdfast server: the sync engine with one lane. Outbox, leases, attempts,
 * breaker, backoff, dead letters and the states of the lane are those of sync; what differs is what one
 * exchange does (`rest-lane.ts`), and that what the backend acknowledged is its word alone: no receipt, no
 * proof, no pull.
 */
import type { BreakerOptions } from "../../outbox/breakers.ts";
import { createExchange, type EndpointBreaker } from "../exchange.ts";
import { createLanesEngine, type LanesDeps } from "../create-engine.ts";
import type { SyncEngine } from "../engine.ts";
import type { HttpPort } from "../http-port.ts";
import type { CompiledBackend } from "./backend.ts";
import type { BackendStore } from "./backend-store.ts";
import { createLoggedHttp } from "./http-log.ts";
import { createRestLane } from "./rest-lane.ts";
import { tokenAuthorizer, type TokenSource } from "./token-source.ts";

/** What delivery to a backend without receipts needs besides the store. */
export interface DeliveryPorts {
  readonly http: HttpPort;
  /** Where access tokens come from; `undefined`: requests go without. */
  readonly tokens?: TokenSource;
  /** Of the endpoint's circuit breaker; default: `breakerDefault`. */
  readonly breaker?: BreakerOptions;
}

/** What {@link createDeliveryEngine} needs. */
export interface DeliveryEngineDeps extends LanesDeps {
  readonly backend: CompiledBackend;
  readonly deliveries: BackendStore;
  readonly http: HttpPort;
  readonly breaker: EndpointBreaker;
  readonly tokens: TokenSource | undefined;
}

/** A stopped engine; nothing is sent before `start` or `syncNow`. */
export function createDeliveryEngine(deps: DeliveryEngineDeps): SyncEngine {
  return createLanesEngine(deps, ({ closed, reached, pushed }) => {
    const auth = tokenAuthorizer(deps.tokens, { ...deps, closed });
    const exchange = createExchange({ ...deps, lane: "push", auth, reached });
    const http = createLoggedHttp(deps.http, deps);
    return { push: createRestLane({ ...deps, store: deps.deliveries, exchange, http, pushed }) };
  });
}
