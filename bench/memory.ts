/**
 * Memory of a process that appends 10,000 events one at a time, against a Node process that does nothing.
 *
 * Resident set size (RSS) as the system counts it. Steady: half a second after the last append, nothing
 * forced. Peak: the system's high-water mark of the process, key derivation included.
 */
import { fileURLToPath } from "node:url";
import { createGround, makeDrafts, makeStore, openBenchStore } from "./ground.ts";
import { runChildJson } from "./children.ts";
import { gate, type Report, round } from "./measure.ts";

export interface MemoryOptions {
  readonly folder?: string | undefined;
  readonly events: number;
}

/** In MB (10^6 bytes). */
interface Usage {
  readonly steady: number;
  readonly peak: number;
}

const streams = 500;
const settleMs = 500;

export async function benchMemory(options: MemoryOptions): Promise<Report> {
  const ground = createGround(options.folder);
  const script = fileURLToPath(import.meta.url);
  const empty = fileURLToPath(new URL("empty.mjs", import.meta.url));
  try {
    await makeStore(ground);
    const nothing = await runChildJson<Usage>(empty, [], { node: [] });
    const loaded = await runChildJson<Usage>(script, ["load"]);
    const words = [ground.directory, ground.stateDirectory, String(options.events)];
    const appended = await runChildJson<Usage>(script, ["append", ...words]);
    const above = round(appended.steady - nothing.steady, 1);
    return {
      subject: "memory",
      ratio: round(appended.steady / nothing.steady),
      events: options.events,
      empty_node_mb: nothing,
      modules_loaded_mb: loaded,
      appended_mb: appended,
      steady_above_empty_mb: above,
      peak_above_empty_mb: round(appended.peak - nothing.peak, 1),
      gates: [gate("steady RSS above an empty Node, MB", above, "<", 50)],
    };
  } finally {
    ground.remove();
  }
}

async function usage(): Promise<Usage> {
  await new Promise((resolve) => setTimeout(resolve, settleMs));
  const steady = process.memoryUsage.rss() / 1e6;
  return {
    steady: round(steady, 1),
    peak: round((process.resourceUsage().maxRSS * 1_024) / 1e6, 1),
  };
}

async function append(directory: string, stateDirectory: string, count: number): Promise<Usage> {
  const store = await openBenchStore({ directory, stateDirectory });
  for (let from = 0; from < count; from += 1) {
    for (const draft of makeDrafts(from, 1, streams)) await store.append(draft);
  }
  const used = await usage();
  await store.close();
  return used;
}

if (import.meta.main) {
  const [what, directory = "", stateDirectory = "", count = "0"] = process.argv.slice(2);
  const used = await (what === "load" ? usage() : append(directory, stateDirectory, Number(count)));
  console.log(JSON.stringify(used));
}
