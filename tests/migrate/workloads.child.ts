/**
 * Migrates once, to be killed: ACT FOLDER. Acts: `apply`, `rollback`. Says `began` when the work begins and `done` when
 * it has returned.
 */
import { writeSync } from "node:fs";
import { applyMigration, rollBackMigration } from "@holdfast/node";
import { passphrase, placeIn } from "../store/lab.ts";

const [act = "", folder = ""] = process.argv.slice(2);
const say = (line: string): void => void writeSync(1, `${line}\n`);
const options = { ...placeIn(folder), passphrase };
say("began");
await (act === "apply" ? applyMigration(options) : rollBackMigration(options));
say("done");
