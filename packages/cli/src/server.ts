/** Talking to the server that a store is enrolled at: transport, token, and their end. */
import {
  type CallOptions,
  createAuthorizer,
  createHttpTransport,
  grantStoreOf,
  type GrantStore,
  type Hello,
  type Holdfast,
  HoldfastError,
  type ServerIdentity,
  silentObserver,
  syncStoreOf,
  type Transport,
} from "@holdfast/core";
import { createNodeHttp, systemClock, systemRandom, systemTimers } from "@holdfast/node";
import { type StoreOptions, withStore } from "./store.ts";

/** A store with a way to its server. */
export interface Connected {
  readonly store: Holdfast;
  readonly grants: GrantStore;
  readonly server: ServerIdentity;
  readonly transport: Transport;
  /** With an access token. */
  readonly call: CallOptions;
  hello(): Promise<Hello>;
}

const nobody = {
  aborted: false,
  addEventListener: () => undefined,
  removeEventListener: () => undefined,
};

/** Opens the store and asks its server for a token. Throws `sync_not_enrolled` and what the server refuses. */
export function withServer<T>(
  options: StoreOptions,
  use: (connected: Connected) => Promise<T>,
): Promise<T> {
  return withStore(options, "write", async (store) => {
    const sync = syncStoreOf(store);
    const server = sync.server();
    if (server === undefined) throw new HoldfastError("sync_not_enrolled");
    return withTransport(server.url, async (transport) => {
      const authorizer = createAuthorizer({
        store: sync,
        transport,
        clock: systemClock,
        timers: systemTimers,
        random: systemRandom,
        observer: silentObserver,
        greeted: () => undefined,
        closed: nobody,
      });
      const call = { token: await authorizer.token(nobody) };
      const hello = async (): Promise<Hello> => {
        const told = await transport.hello({});
        if (told.key !== server.key) throw new HoldfastError("server_key_changed");
        return told;
      };
      return use({ store, grants: grantStoreOf(store), server, transport, call, hello });
    });
  });
}

/** A transport for one command. */
export async function withTransport<T>(
  url: string,
  use: (transport: Transport) => Promise<T>,
): Promise<T> {
  const http = createNodeHttp();
  try {
    return await use(createHttpTransport({ http }, url));
  } finally {
    http.close();
  }
}
