/**
 * Where bugs are planted: between the parts of a run, never inside of the code under test.
 */
import type { Holdfast, SqliteDriver, StoreMedium } from "@holdfast/core";
import type { SimDisk } from "./disk.ts";
import type { SimSite } from "./sim-store.ts";

/** What stands between the parts of a run. */
export interface Plant {
  readonly disk: (disk: SimDisk) => SimDisk;
  readonly driver: (driver: SqliteDriver, site: SimSite) => SqliteDriver;
  readonly medium: (medium: StoreMedium, site: SimSite) => StoreMedium;
  readonly surface: (store: Holdfast) => Holdfast;
}

/** Nothing is planted. */
export const noPlant: Plant = {
  disk: (disk) => disk,
  driver: (driver) => driver,
  medium: (medium) => medium,
  surface: (store) => store,
};
