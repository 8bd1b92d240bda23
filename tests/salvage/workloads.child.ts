/** Salvages once, to be killed or to meet an error of the medium: FOLDER. Says `began`, then what came of it. */
import { writeSync } from "node:fs";
import { isHoldfastError } from "@holdfast/core";
import { salvage } from "./lab.ts";

const [folder = ""] = process.argv.slice(2);
const say = (line: string): void => void writeSync(1, `${line}\n`);
say("began");
try {
  const done = await salvage(folder);
  say(`done ${done.status}`);
} catch (error) {
  if (!isHoldfastError(error)) throw error;
  say(`error ${error.code}`);
}
