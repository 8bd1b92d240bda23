/**
 * A real store on a simulated disk: keyring and database in `store/`, the registered keyring copy and the
 * high-water marks in `state/`, as on a real machine.
 */
import {
  base64url,
  createKeyring,
  createSoftwareProvider,
  createStore,
  type Crypto,
  type Holdfast,
  type Keyring,
  type KeyringFiles,
  type Observer,
  openHoldfast,
  openKeyring,
  openSoftwareProvider,
  type Place,
  type Projection,
  type Random,
  type Registry,
  type SqliteDriver,
  type StoreMedium,
} from "@holdfast/core";
import type { SimDisk } from "./disk.ts";
import { createSimMarkFile, createSimRecordFile } from "./sim-files.ts";
import type { SimProcess } from "./sim-process.ts";
import type { Sqlite } from "./sqlite-module.ts";
import { openSimSqlite } from "./wasm-driver.ts";

/** What stays when processes come and go. */
export interface SimSite {
  readonly disk: SimDisk;
  /** A copy of the store lies elsewhere and has another identity. */
  place: Place;
}

/** Ports of every store of a run. */
export interface SimStorePorts {
  readonly sqlite: Sqlite;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly registry: Registry;
  readonly projections: readonly Projection[];
  readonly observer: Observer;
  /** Stands between a store and its driver: planted bugs. */
  readonly driver: (driver: SqliteDriver, site: SimSite) => SqliteDriver;
  /** Stands between a store and its medium: planted bugs. */
  readonly medium: (medium: StoreMedium, site: SimSite) => StoreMedium;
}

const passphrase = "simulated";
const cost = { memoryKib: 8, passes: 1, lanes: 1 };

/** The folder of a store and the folder of its state, as prefixes of names. */
export const simFolders = { store: "store/", state: "state/" };

function filesOf(site: SimSite, process: SimProcess): KeyringFiles {
  return {
    store: createSimRecordFile(site.disk, process, `${simFolders.store}keyring`),
    registered: createSimRecordFile(site.disk, process, `${simFolders.state}keyring`),
  };
}

function mediumOf(ports: SimStorePorts, site: SimSite, process: SimProcess): StoreMedium {
  const { disk } = site;
  const medium: StoreMedium = {
    get place() {
      return site.place;
    },
    openDriver(_pageKey, { readOnly }) {
      const driver = openSimSqlite({
        sqlite: ports.sqlite,
        disk,
        user: process,
        name: `${simFolders.store}store.db`,
        readOnly,
        create: !readOnly,
      });
      process.atDeath(() => {
        driver.close();
      });
      return ports.driver(driver, site);
    },
    markFile: (incarnation) =>
      createSimMarkFile(disk, process, `${simFolders.state}mark-${incarnation}`),
  };
  return ports.medium(medium, site);
}

/** Makes a store; its first incarnation comes with the first opener. */
export async function initSimStore(
  ports: SimStorePorts,
  site: SimSite,
  process: SimProcess,
  belongs: { readonly tenant: string; readonly founder: string | undefined },
): Promise<void> {
  const { crypto, random } = ports;
  const keyring = await createKeyring({
    crypto,
    random,
    files: filesOf(site, process),
    provider: createSoftwareProvider({ crypto, random, passphrase, parameters: undefined, cost }),
    tenant: belongs.tenant,
    pseudonymKey: belongs.founder === undefined ? "make" : "await",
    storeId: base64url(random.bytes(16)),
  });
  createStore(
    {
      crypto,
      clock: process.clock,
      process: process.identity,
      keyring,
      medium: mediumOf(ports, site, process),
    },
    belongs.founder === undefined ? {} : { founder: belongs.founder },
  );
  keyring[Symbol.dispose]();
}

/** Opens the store as a process of its machine does. Throws what `openHoldfast` throws. */
export async function openSimStore(
  ports: SimStorePorts,
  site: SimSite,
  process: SimProcess,
  acceptRollback: boolean,
): Promise<{ readonly store: Holdfast; readonly keyring: Keyring }> {
  const { crypto, random, registry, projections, observer } = ports;
  const keyring = await openKeyring({
    crypto,
    random,
    files: filesOf(site, process),
    openProvider: openSoftwareProvider({ crypto, random, passphrase }),
  });
  const store = await openHoldfast({
    crypto,
    random,
    clock: process.clock,
    timers: process.timers,
    observer,
    process: process.identity,
    keyring,
    medium: mediumOf(ports, site, process),
    registry,
    projections,
    app: "sim",
    readOnly: false,
    acceptRollback,
  });
  return { store, keyring };
}
