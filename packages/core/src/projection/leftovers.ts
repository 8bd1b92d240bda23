/**
 * What read models leave behind: builds that no query is answered from any more, and snapshots further back than
 * folding on needs. Taken away a little at a time, in the caller's transaction; nothing of it is more than a copy of
 * what the log holds.
 */
import { modelTablePrefix, searchTablePrefix } from "../store/schema.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { type BuildState, dropBuild } from "./builds.ts";

/** A build as the store has it. */
export interface BuildStanding {
  readonly build: number;
  readonly name: string;
  readonly state: BuildState;
}

/**
 * The builds that nothing is read from: those that are behind, those beside the one that answers, and all but the
 * newest of those that are being built.
 */
export function uselessBuilds(builds: readonly BuildStanding[]): readonly BuildStanding[] {
  const answers = (build: BuildStanding): boolean =>
    build.state === "current" || build.state === "stopped";
  return builds.filter((build) => {
    const { name, state } = build;
    const beside = builds.filter((other) => other.name === name && other !== build);
    if (state === "behind") return true;
    if (state === "building") {
      return beside.some((other) => other.state === "building" && other.build > build.build);
    }
    // The first that answers is the one that is asked.
    return beside.some((other) => answers(other) && other.build < build.build);
  });
}

/** Every build of every read model. */
export function buildsIn(driver: SqliteDriver): readonly BuildStanding[] {
  return driver
    .prepare("SELECT build, name, state FROM projections ORDER BY build")
    .all<{ build: number; name: string; state: BuildState }>();
}

/** Takes some rows of a useless build away, in the end the build itself. `true`: it is gone. */
export function takeFromBuild(
  driver: SqliteDriver,
  { build, name }: BuildStanding,
  rowsMax: number,
): boolean {
  driver.prepare("UPDATE projections SET state = 'behind' WHERE build = ?").run(build);
  const snapshots = driver.prepare(
    `DELETE FROM snapshots WHERE build = ? AND (stream, folded) IN (
       SELECT stream, folded FROM snapshots WHERE build = ? LIMIT ?)`,
  );
  let left = rowsMax - snapshots.run(build, build, rowsMax);
  const hasTable = driver.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?");
  for (const [prefix, row] of [
    [searchTablePrefix, "rowid"],
    [modelTablePrefix, "row"],
  ] as const) {
    const table = `${prefix}${name}_${build}`;
    if (left <= 0) return false;
    if (hasTable.get(table) === undefined) continue;
    const taken = driver.prepare(
      `DELETE FROM ${table} WHERE ${row} IN (SELECT ${row} FROM ${table} LIMIT ?)`,
    );
    left -= taken.run(left);
  }
  if (left <= 0) return false;
  dropBuild(driver, { name }, build);
  return true;
}

/** A stream in the table of snapshots. */
export interface SnapshotPlace {
  readonly build: number;
  readonly stream: string;
}

/**
 * Keeps the newest snapshots of the next streams and takes the older ones away. `next`: where it goes on; `undefined`:
 * it is through.
 */
export function thinSnapshots(
  driver: SqliteDriver,
  after: SnapshotPlace,
  kept: number,
  streamsMax: number,
): { readonly removed: number; readonly next: SnapshotPlace | undefined } {
  const crowded = driver
    .prepare(
      `SELECT build, stream FROM snapshots WHERE (build, stream) > (?, ?)
       GROUP BY build, stream HAVING count(*) > ? ORDER BY build, stream LIMIT ?`,
    )
    .all<{ build: number; stream: string }>(after.build, after.stream, kept, streamsMax);
  const thin = driver.prepare(
    `DELETE FROM snapshots WHERE build = ? AND stream = ? AND folded < (
       SELECT min(folded) FROM (SELECT folded FROM snapshots
         WHERE build = ? AND stream = ? ORDER BY folded DESC LIMIT ?))`,
  );
  const removed = crowded.reduce(
    (sum, { build, stream }) => sum + thin.run(build, stream, build, stream, kept),
    0,
  );
  const last = crowded.length < streamsMax ? undefined : crowded.at(-1);
  return { removed, next: last };
}
