/**
 * Bugs begin when the devices have settled in. A bug that ended a run before would say nothing of the oracle that
 * it was meant for: it would be found because a store could not even be made.
 */
import type { SqliteDriver, SqlStatement, SqlValue } from "@holdfast/core";
import type { Plant } from "./plant.ts";

type Active = () => boolean;

/** The real part until the bug is active, then the one with the bug. */
function gate<T extends object>(real: T, planted: T, active: Active): T {
  if (planted === real) return real;
  return new Proxy(real, {
    get(_target, name) {
      const source = active() ? planted : real;
      const value: unknown = Reflect.get(source, name, source);
      return typeof value === "function" ? (value.bind(source) as unknown) : value;
    },
  });
}

/** As `gate`, for each call of a statement: stores keep their statements as long as a connection. */
function gateDriver(real: SqliteDriver, planted: SqliteDriver, active: Active): SqliteDriver {
  if (planted === real) return real;
  const now = (): SqliteDriver => (active() ? planted : real);
  return {
    capabilities: real.capabilities,
    get inTransaction() {
      return real.inTransaction;
    },
    prepare(sql): SqlStatement {
      const statement = (): SqlStatement => now().prepare(sql);
      return {
        run: (...values) => statement().run(...values),
        get: <Row>(...values: readonly SqlValue[]) => statement().get<Row>(...values),
        all: <Row>(...values: readonly SqlValue[]) => statement().all<Row>(...values),
      };
    },
    exec(sql) {
      now().exec(sql);
    },
    close() {
      real.close();
    },
  };
}

/** The plant whose bugs begin when `active` says so. */
export function gatedPlant(plant: Plant, active: Active): Plant {
  return {
    disk: (disk) => gate(disk, plant.disk(disk), active),
    driver: (driver, site) => gateDriver(driver, plant.driver(driver, site), active),
    medium: (medium, site) => gate(medium, plant.medium(medium, site), active),
    surface: (store) => gate(store, plant.surface(store), active),
    transport: (transport) => gate(transport, plant.transport(transport), active),
    sync: (store) => gate(store, plant.sync(store), active),
    grants: (store) => gate(store, plant.grants(store), active),
    breaker: (breaker) => gate(breaker, plant.breaker(breaker), active),
    serverDriver: (driver) => gateDriver(driver, plant.serverDriver(driver), active),
    serverStore: (store) => gate(store, plant.serverStore(store), active),
    server: (server) => gate(server, plant.server(server), active),
  };
}
