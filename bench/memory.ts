/**
 * Memory of a process that appends 10,000 events one at a time, against a Node process that does nothing.
 *
 * Resident set size (RSS) as the system counts it. Steady: half a second after the last append, nothing
 * forced. Peak: the system's high-water mark of the process, key derivation (Argon2id, 64 MiB) included.
 * Live: what the JavaScript heap holds after a forced collection. The children run the built packages,
 * because Node's own TypeScript reader takes 30 MB.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createGround, makeDrafts, makeStore, openBenchStore } from "./ground.ts";
import { runChildJson } from "./children.ts";
import { gate, type Report, round } from "./measure.ts";

export interface MemoryOptions {
  readonly folder?: string | undefined;
  readonly events: number;
  /** Measure the built packages (slower to start), or the sources as they are. */
  readonly built: boolean;
}

/** In MB (10^6 bytes). */
interface Usage {
  readonly steady: number;
  readonly peak: number;
  readonly live?: number;
}

const streams = 500;
const settleMs = 500;

const root = fileURLToPath(new URL("..", import.meta.url));
/** V8 sized for small devices: the young generation at 1 MB, compact code and heap. */
const smallHeap = ["--optimize-for-size", "--max-semi-space-size=1"];

/** The child's script as JavaScript, where it finds the built packages of the workspace. */
function buildChild(): string {
  const compiler = join(root, "node_modules/@typescript/native/bin/tsc");
  const projects = ["core", "node"].map((name) =>
    join(root, `packages/${name}/tsconfig.build.json`),
  );
  execFileSync(process.execPath, [compiler, "-b", ...projects], { stdio: "inherit" });
  const folder = join(root, "node_modules/.cache/holdfast-bench");
  mkdirSync(folder, { recursive: true });
  for (const name of ["memory", "ground", "children", "measure"]) {
    const source = readFileSync(new URL(`${name}.ts`, import.meta.url), "utf8");
    const code = stripTypeScriptTypes(source).replaceAll(
      /from "\.\/(\w+)\.ts"/g,
      'from "./$1.mjs"',
    );
    writeFileSync(join(folder, `${name}.mjs`), code);
  }
  return join(folder, "memory.mjs");
}

export async function benchMemory(options: MemoryOptions): Promise<Report> {
  const ground = createGround(options.folder);
  const script = options.built ? buildChild() : fileURLToPath(import.meta.url);
  const node = options.built ? [] : ["--conditions=@holdfast/source"];
  const empty = fileURLToPath(new URL("empty.mjs", import.meta.url));
  try {
    await makeStore(ground);
    const words = ["append", ground.directory, ground.stateDirectory, String(options.events)];
    const run = (flags: readonly string[], what: readonly string[]) =>
      runChildJson<Usage>(script, what, { node: ["--expose-gc", ...node, ...flags] });
    const nothing = await runChildJson<Usage>(empty, [], { node: [] });
    const loaded = await run([], ["load"]);
    const appended = await run([], words);
    const small = await run(smallHeap, words);
    const above = round(appended.steady - nothing.steady, 1);
    return {
      subject: "memory",
      ratio: round(nothing.steady / appended.steady),
      events: options.events,
      empty_node_mb: nothing,
      modules_loaded_mb: loaded,
      appended_mb: appended,
      small_heap_mb: small,
      steady_above_empty_mb: above,
      small_heap_above_empty_mb: round(small.steady - nothing.steady, 1),
      peak_above_empty_mb: round(appended.peak - nothing.peak, 1),
      gates: [
        gate("steady RSS above an empty Node, MB", above, "<", 50),
        gate("the same with V8's heap kept small, MB", small.steady - nothing.steady, "<", 50),
      ],
    };
  } finally {
    ground.remove();
  }
}

async function usage(): Promise<Usage> {
  await new Promise((resolve) => setTimeout(resolve, settleMs));
  const steady = process.memoryUsage.rss() / 1e6;
  const peak = (process.resourceUsage().maxRSS * 1_024) / 1e6;
  globalThis.gc?.();
  const live = process.memoryUsage().heapUsed / 1e6;
  return { steady: round(steady, 1), peak: round(peak, 1), live: round(live, 1) };
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
