/**
 * Where the plan of an erase lies: `<state>/<store id>.erase`, beside the store's entry in the state folder, so that
 * it outlives both the entry and the store's folder. Every way into a store looks here first.
 */
import { existsSync, lstatSync, readdirSync, realpathSync, rmSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import {
  type ErasePlan,
  formatErasePlan,
  HoldfastError,
  isHoldfastError,
  parseErasePlan,
} from "@holdfast/core";
import { createNodeCrypto } from "./crypto.ts";
import { guardedFile, syncFolder } from "./files.ts";
import { createRecordFile } from "./record-file.ts";

const crypto = createNodeCrypto();
const ending = ".erase";

/** One name for a place, whether or not something is there now: links in the folders above are followed. */
export function placeOf(path: string): string {
  const whole = resolve(path);
  const above = dirname(whole);
  return above === whole || !existsSync(above)
    ? whole
    : join(
        guardedFile(() => realpathSync(above)),
        basename(whole),
      );
}

/** Name of the plan's file in the state folder. */
export function erasePlanName(storeId: string): string {
  return `${storeId}${ending}`;
}

/** The plan of that store's erase. Throws `erase_plan_unreadable`. */
function readErasePlan(state: string, storeId: string): ErasePlan | undefined {
  const bytes = createRecordFile(join(state, erasePlanName(storeId))).read();
  if (bytes === undefined) return undefined;
  const plan = parseErasePlan(crypto, bytes);
  if (plan.store !== storeId) throw new HoldfastError("erase_plan_unreadable", { part: "store" });
  return plan;
}

/** The plan of an erase of whatever lies, or lay, in that folder. */
export function findErasePlan(state: string, directory: string): ErasePlan | undefined {
  const wanted = placeOf(directory);
  for (const name of existsSync(state) ? guardedFile(() => readdirSync(state)).toSorted() : []) {
    if (!name.endsWith(ending) || !lstatSync(join(state, name)).isFile()) continue;
    try {
      const plan = readErasePlan(state, name.slice(0, -ending.length));
      if (plan?.directory === wanted) return plan;
    } catch (error) {
      // Of which folder it speaks, nobody can tell; by its store id it is met all the same.
      if (!isHoldfastError(error, "erase_plan_unreadable")) throw error;
    }
  }
  return undefined;
}

/** Throws `erase_unfinished` where an erase of that folder was begun. */
export function refuseErased(directory: string, state: string): void {
  const plan = findErasePlan(state, directory);
  if (plan !== undefined) throw new HoldfastError("erase_unfinished", { phase: plan.phase });
}

/** Throws `erase_unfinished` where an erase of that store was begun, wherever it lies now. */
export function refuseErasedStore(storeId: string, state: string): void {
  const plan = readErasePlan(state, storeId);
  if (plan !== undefined) throw new HoldfastError("erase_unfinished", { phase: plan.phase });
}

/** Writes the plan; durable when it returns. */
export function writeErasePlan(state: string, plan: ErasePlan): void {
  createRecordFile(join(state, erasePlanName(plan.store))).replace(formatErasePlan(crypto, plan));
}

/** The erase is over, or was given up: nothing of the plan stays. */
export function removeErasePlan(state: string, storeId: string): void {
  guardedFile(() => {
    rmSync(join(state, erasePlanName(storeId)), { force: true });
    syncFolder(state);
  });
}
