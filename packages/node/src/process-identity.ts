/**
 * Names this process so that another can tell whether it still runs: host, boot, process id and, where the
 * system tells it, the start of the process (process ids are used again).
 */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { randomBytes } from "node:crypto";
import type { ProcessIdentity } from "@holdfast/core";

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** Start of a process in clock ticks since boot (proc(5), field 22); `undefined` when it is not there. */
function startOf(pid: number): string | undefined {
  const stat = readText(`/proc/${pid}/stat`);
  // The command in parentheses may hold spaces.
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
}

/** Does a process of that id run? */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it runs, as somebody else.
    return (error as { readonly code?: string }).code !== "ESRCH";
  }
}

/** The identity of one opener of a store; each has its own, so that two in one process exclude each other. */
export function createProcessIdentity(): ProcessIdentity {
  const boot = (readText("/proc/sys/kernel/random/boot_id") ?? "").trim();
  const machine = `${hostname()}/${boot}`;
  const own = randomBytes(6).toString("base64url");
  return {
    holder: `${machine}/${process.pid}/${startOf(process.pid) ?? ""}/${own}`,
    isGone(holder) {
      const parts = holder.split("/");
      const [host, holderBoot, pid, start] = parts;
      if (parts.length !== 5 || host !== hostname()) return false;
      if (holderBoot !== boot) return true;
      const id = Number(pid);
      if (!isRunning(id)) return true;
      const now = startOf(id);
      return start !== "" && now !== undefined && now !== start;
    },
  };
}
