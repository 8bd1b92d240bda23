/**
 * A start that is refused writes nothing to the store: its audit event waits in a side file,
 * `<state>/<store id>/blocked-starts`, and is appended at the next good start. A line is
 * {id, at, code}: the id of the event to be, so that a crash between append and removal repeats nothing.
 */
import {
  appendFileSync,
  existsSync,
  lstatSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { createUuidV7, errorCodes, type Holdfast, isHoldfastError, isUuidV7 } from "@holdfast/core";
import { systemClock } from "./clock.ts";
import { fromSystem } from "./files.ts";
import { systemRandom } from "./random.ts";

interface BlockedStart {
  readonly id: string;
  /** UTC milliseconds. */
  readonly at: number;
  readonly code: string;
}

const fileName = "blocked-starts";
/** Past this the file takes no more: somebody tries in a loop, and what is told would stay the same. */
const fileBytesMax = 64 * 1024;
/** Refusals that say nothing about the store. */
const passing: ReadonlySet<string> = new Set(["store_busy", "store_missing"]);
const newId = createUuidV7(systemClock, systemRandom);

function pathIn(state: string, storeId: string): string {
  return join(state, storeId, fileName);
}

/** What goes wrong in operation must not hide the refusal, or stop the start; a bug is told. */
function passOver(error: unknown): void {
  if (!isHoldfastError(fromSystem(error))) throw error;
}

/** Notes a refused start beside the store. Throws bugs alone: the refusal itself is what the caller must hear. */
export function noteBlockedStart(state: string, storeId: string, refusal: unknown): void {
  if (!isHoldfastError(refusal) || passing.has(refusal.code)) return;
  const path = pathIn(state, storeId);
  const line: BlockedStart = { id: newId(), at: systemClock.now(), code: refusal.code };
  try {
    // Only where the store is registered: nothing is made for a store that nobody knows here.
    if (!existsSync(dirname(path))) return;
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat !== undefined && (!stat.isFile() || stat.size > fileBytesMax)) return;
    appendFileSync(path, `${JSON.stringify(line)}\n`, { mode: 0o600, flush: true });
  } catch (error) {
    // A medium that cannot be written is often the very reason of the refusal.
    passOver(error);
  }
}

function readBlocked(path: string): readonly BlockedStart[] {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined || !stat.isFile()) return [];
  return readFileSync(path, "utf8")
    .split("\n")
    .flatMap((line) => {
      try {
        const { id, at, code } = JSON.parse(line) as BlockedStart;
        const known = Object.hasOwn(errorCodes, code) && isUuidV7(id) && Number.isSafeInteger(at);
        return known ? [{ id, at, code }] : [];
      } catch {
        // The last line of a crash.
        return [];
      }
    });
}

/** Appends what refused starts left, and removes the side file. What cannot be appended now stays for the next start. */
export async function recordBlockedStarts(
  state: string,
  storeId: string,
  store: Holdfast,
): Promise<void> {
  const path = pathIn(state, storeId);
  const taken = `${path}.taken`;
  if (!existsSync(path) && !existsSync(taken)) return;
  try {
    // Moved first: what another process notes meanwhile goes into a new file.
    if (!existsSync(taken)) renameSync(path, taken);
    for (const { id, at, code } of readBlocked(taken)) {
      await store.audit.record({ id, kind: "StartBlocked", facts: { code, at } });
    }
    rmSync(taken, { force: true });
  } catch (error) {
    // The trail counts what it could not write; the file is there for the next start.
    passOver(error);
  }
}
