/**
 * Works on an erase, to be killed or watched: ACT FOLDER [ARGUMENT]. Acts: `erase` (against the rescue bundle, opened by
 * the identity ARGUMENT), `resume`, `erase-until` (as `erase`, and ends by SIGKILL once the plan says the phase in
 * HOLDFAST_TEST_PHASE), `hold` (opens the file ARGUMENT and keeps it), `keep` (opens the store and keeps it). Says `began` when the work
 * begins and `done` when it has returned, or `error CODE FILE RESULT`.
 */
import { openSync, writeSync } from "node:fs";
import { isHoldfastError, silentObserver } from "@holdfast/core";
import { eraseStore, releaseOf, resumeErase } from "@holdfast/node";
import { open } from "../store/lab.ts";
import { optionsIn } from "./lab.ts";

const [act = "", folder = "", argument = ""] = process.argv.slice(2);
const say = (line: string): void => void writeSync(1, `${line}\n`);
const options = optionsIn(folder);
const phase = process.env["HOLDFAST_TEST_PHASE"];
const user = process.env["HOLDFAST_TEST_USER"];
if (user !== undefined) process.setuid?.(Number(user));

const observer = {
  ...silentObserver,
  log: (...[, name, fields]: Parameters<typeof silentObserver.log>) => {
    if (name === "erase_advanced" && fields?.["phase"] === phase)
      process.kill(process.pid, "SIGKILL");
  },
};

try {
  if (act === "hold") openSync(argument, "r");
  if (act === "keep") await open(folder, "store", true);
  if (act === "hold" || act === "keep") {
    say("began");
    setInterval(() => undefined, 60_000);
  } else if (act === "resume") {
    say("began");
    await resumeErase(options);
  } else {
    const by = { identities: [argument] };
    const release = await releaseOf({ ...options, bundle: { file: `${folder}/rescue.age`, by } });
    say("began");
    await eraseStore(act === "erase-until" ? { ...options, observer } : options, release);
  }
  say("done");
} catch (error) {
  if (!isHoldfastError(error)) throw error;
  const { file = "", result = "" } = error.details;
  say(`error ${error.code} ${String(file)} ${String(result)}`);
}
