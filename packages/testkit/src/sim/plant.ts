/**
 * Where bugs are planted: between the parts of a run, never inside of the code under test.
 */
import type {
  EndpointBreaker,
  GrantStore,
  Holdfast,
  SqliteDriver,
  StoreMedium,
  SyncStore,
  Transport,
} from "@holdfast/core";
import type { ServerStore, SyncServer } from "@holdfast/server/engine";
import type { SimDisk } from "./disk.ts";
import type { SimSite } from "./sim-store.ts";

/** What stands between the parts of a run. */
export interface Plant {
  readonly disk: (disk: SimDisk) => SimDisk;
  readonly driver: (driver: SqliteDriver, site: SimSite) => SqliteDriver;
  readonly medium: (medium: StoreMedium, site: SimSite) => StoreMedium;
  readonly surface: (store: Holdfast) => Holdfast;
  readonly transport: (transport: Transport) => Transport;
  readonly sync: (store: SyncStore) => SyncStore;
  readonly grants: (store: GrantStore) => GrantStore;
  readonly breaker: (breaker: EndpointBreaker) => EndpointBreaker;
  readonly serverDriver: (driver: SqliteDriver) => SqliteDriver;
  readonly serverStore: (store: ServerStore) => ServerStore;
  readonly server: (server: SyncServer) => SyncServer;
}

/** Nothing is planted. */
export const noPlant: Plant = {
  disk: (disk) => disk,
  driver: (driver) => driver,
  medium: (medium) => medium,
  surface: (store) => store,
  transport: (transport) => transport,
  sync: (store) => store,
  grants: (store) => store,
  breaker: (breaker) => breaker,
  serverDriver: (driver) => driver,
  serverStore: (store) => store,
  server: (server) => server,
};
