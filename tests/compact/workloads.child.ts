/**
 * Works on a store that is compacted: ACT FOLDER [FROM]. Acts: `compact` (says `began` and `done`), `rewrite` (the
 * same, with the file written anew), `append` (records from number FROM on until it is killed, a line for each promise).
 */
import { writeSync } from "node:fs";
import { compactStore } from "@holdfast/node";
import { draftOf, open, placeIn, promiseOf } from "../store/lab.ts";

const [act = "", folder = "", from = "0"] = process.argv.slice(2);
const say = (line: string): void => void writeSync(1, `${line}\n`);

const store = await open(folder);
if (act === "append") {
  for (let n = Number(from); ; n++) {
    const result = await store.append(draftOf(n));
    if (result.status !== "appended") throw new Error(result.status);
    say(promiseOf(result.events[0]?.id ?? "", n));
  }
}
say("began");
const rewrite = act === "rewrite";
await compactStore(store, placeIn(folder).directory, { snapshotsKept: 1, rewrite });
say("done");
await store.close();
