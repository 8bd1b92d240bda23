/**
 * Which processes hold files below some folders open, as Linux tells it in `/proc` (proc(5)): descriptors and mapped
 * files, removed ones too. Processes of others are hidden from whoever is not root.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

/** A process and a file that it holds. */
export interface OpenHandle {
  readonly pid: number;
  readonly path: string;
}

/** What a look at all processes found. */
export interface HandleLook {
  readonly handles: readonly OpenHandle[];
  /** Processes that this one may not look into; `undefined`: this system does not tell. */
  readonly hidden: number | undefined;
}

/** Looks at every process for files that `isMeant`. */
export function openHandles(isMeant: (path: string) => boolean): HandleLook {
  if (process.platform !== "linux") return { handles: [], hidden: undefined };
  const handles: OpenHandle[] = [];
  let hidden = 0;
  for (const name of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    const folder = join("/proc", name);
    const held = heldBy(folder);
    if (held === undefined) hidden += 1;
    const paths = new Set(held?.map((path) => path.replace(/ \(deleted\)$/, "")) ?? []);
    for (const path of paths) if (isMeant(path)) handles.push({ pid: Number(name), path });
  }
  return { handles, hidden };
}

/** Paths that a process holds; `undefined`: it does not let itself be looked at. */
function heldBy(folder: string): readonly string[] | undefined {
  try {
    const descriptors = readdirSync(join(folder, "fd")).flatMap((descriptor) => {
      try {
        return [readlinkSync(join(folder, "fd", descriptor))];
      } catch (error) {
        // Closed meanwhile.
        return passed(error, ["ENOENT"], []);
      }
    });
    const mapped = readFileSync(join(folder, "maps"), "utf8")
      .split("\n")
      .flatMap((line) => /^(?:\S+\s+){5}(\/.*)$/.exec(line)?.[1] ?? []);
    return [...descriptors, ...mapped];
  } catch (error) {
    // Ended meanwhile: it holds nothing.
    if (["ENOENT", "ESRCH"].includes(codeOf(error))) return [];
    return passed(error, ["EACCES", "EPERM"], undefined);
  }
}

function codeOf(error: unknown): string {
  return String((error as { readonly code?: unknown }).code);
}

function passed<T>(error: unknown, codes: readonly string[], value: T): T {
  if (codes.includes(codeOf(error))) return value;
  throw error;
}
