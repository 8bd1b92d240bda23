/**
 * Builds a read model in a new version, then again and again while events are appended: FOLDER VERSION FROM.
 *
 * Before a write that matters it prints what it is about to do: `step` (a build notes how far it is), `swap`
 * (the old build goes), `snapshot`. Each recorded event is a promise on standard output.
 */
import { writeSync } from "node:fs";
import type { SqliteDriver } from "@holdfast/core";
import { openWith, promiseOf } from "../lab.ts";
import { spreadDraft, versioned } from "../versions.ts";

const [folder = "", version = "1", from = "1"] = process.argv.slice(2);
const say = (line: string): void => void writeSync(1, `${line}\n`);

/** Statements by how they begin. */
const told: readonly (readonly [string, string])[] = [
  ["UPDATE projections SET state = ?", "step"],
  ["DELETE FROM projections WHERE build = ?", "swap"],
  ["INSERT OR REPLACE INTO snapshots", "snapshot"],
];

function telling(driver: SqliteDriver): SqliteDriver {
  return {
    capabilities: driver.capabilities,
    get inTransaction() {
      return driver.inTransaction;
    },
    prepare(sql) {
      const statement = driver.prepare(sql);
      const line = told.find(([beginning]) => sql.startsWith(beginning))?.[1];
      if (line === undefined) return statement;
      return {
        get: (...values) => statement.get(...values),
        all: (...values) => statement.all(...values),
        run(...values) {
          say(line);
          return statement.run(...values);
        },
      };
    },
    exec(sql) {
      driver.exec(sql);
    },
    close() {
      driver.close();
    },
  };
}

const store = await openWith(folder, {
  driver: telling,
  projections: [versioned(Number(version))],
});
for (let first = Number(from); ; first += 100) {
  const drafts = Array.from({ length: 100 }, (_, at) => spreadDraft(first + at));
  const [result] = await Promise.all([store.append(drafts), store.rebuild("versioned")]);
  if (result.status !== "appended") throw new Error(result.status);
  for (const [at, { id }] of result.events.entries()) say(promiseOf(id, first + at));
}
