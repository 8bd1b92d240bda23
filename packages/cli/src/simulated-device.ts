/** A device of the tour: a store in a folder of its own, over a connection that can be taken away. */
import { join } from "node:path";
import {
  createHttpTransport,
  type Holdfast,
  HoldfastError,
  type HttpPort,
  type SyncDesk,
  type SyncEngine,
  type SyncReport,
} from "@holdfast/core";
import { createNodeHttp, initStore, openStore, syncDesk } from "@holdfast/node";
import { projections, registry } from "./store.ts";

/** Where the device lies, as the environment of a command names it. */
export interface Place {
  readonly directory: string;
  readonly stateDirectory: string;
  readonly passphrase: string;
}

export interface SimulatedDevice {
  readonly name: string;
  readonly place: Place;
  readonly store: Holdfast;
  readonly desk: SyncDesk;
  /** Takes the connection away, or gives it back. */
  connect(state: "online" | "offline"): void;
  /** Syncs until nothing waits, in a few rounds. */
  sync(): Promise<SyncReport>;
  close(): Promise<void>;
}

/** Makes the store and opens it. `joins`: from an invitation; absent, it founds a tenant. */
export async function createSimulatedDevice(
  name: string,
  folder: string,
  passphrase: string,
  joins?: { readonly tenant: string; readonly founder: string },
): Promise<SimulatedDevice> {
  const place: Place = {
    directory: join(folder, name, "store"),
    stateDirectory: join(folder, name, "state"),
    passphrase,
  };
  await initStore({ ...place, tenant: "demonstration", ...(joins === undefined ? {} : { joins }) });
  const http = createNodeHttp();
  let online = true;
  const port: HttpPort = {
    request: async (request) => {
      if (!online) throw new HoldfastError("network_unreachable");
      return http.request(request);
    },
    stream: (request, listener) => http.stream(request, listener),
  };
  const store = await openStore({
    ...place,
    registry,
    projections,
    app: "holdfast-start",
  });
  let engine: SyncEngine | undefined;
  return {
    name,
    place,
    store,
    desk: syncDesk(store, port),
    connect(state) {
      online = state === "online";
    },
    sync() {
      const url = store.server()?.url ?? "";
      engine ??= store.sync(createHttpTransport({ http: port }, url));
      return syncAll(engine);
    },
    async close() {
      await store.close();
      http.close();
    },
  };
}

/** Rounds of exchanges until nothing waits: an entry that failed waits up to a second. */
const roundsMax = 30;
const restMs = 100;

async function syncAll(engine: SyncEngine): Promise<SyncReport> {
  for (let round = 1; ; round++) {
    const report = await engine.syncNow();
    if (report.status !== "partial" || round === roundsMax) return report;
    await new Promise((resolve) => setTimeout(resolve, restMs));
  }
}
