/**
 * Opening a store after its process was killed in the midst of appending, in a process of its own each time. Key
 * derivation (Argon2id) is apart, as in `open`.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { runChildJson } from "./children.ts";
import { createGround, makeDrafts, makeLoadedStore, openBenchStore } from "./ground.ts";
import { gate, type Report, round, timing } from "./measure.ts";

export interface CrashOptions {
  readonly folder?: string | undefined;
  readonly events: number;
  readonly rounds: number;
}

const self = fileURLToPath(import.meta.url);
const opener = fileURLToPath(new URL("open.ts", import.meta.url));

export async function benchCrash(options: CrashOptions): Promise<Report> {
  const ground = createGround(options.folder);
  try {
    const store = await makeLoadedStore(ground, {
      count: options.events,
      each: 10_000,
      streams: 1_000,
    });
    await store.close();
    const opens: number[] = [];
    for (let at = 0; at < options.rounds; at++) {
      const words = [ground.directory, ground.stateDirectory];
      const killed = spawnSync(process.execPath, [...process.execArgv, self, ...words, String(at)]);
      if (killed.signal !== "SIGKILL") throw new Error(`the child ended: ${String(killed.stderr)}`);
      opens.push((await runChildJson<{ open: number }>(opener, [...words, "ours"])).open);
    }
    const open = timing(opens);
    return {
      subject: "crash",
      ratio: round(1_000 / open.p95),
      events: options.events,
      open,
      gates: [gate("open after a crash, key derivation apart, p95 ms", open.p95, "<", 1_000)],
    };
  } finally {
    ground.remove();
  }
}

/** The child: appends until it is killed, by itself, with a call under way. */
async function crash(directory: string, stateDirectory: string, run: number): Promise<void> {
  const store = await openBenchStore({ directory, stateDirectory });
  const from = 50_000_000 + run * 1_000_000;
  for (let at = 0; at < 200; at++) await store.append(makeDrafts(from + at, 1, 1_000));
  void store.append(makeDrafts(from + 500, 100, 1_000));
  setImmediate(() => process.kill(process.pid, "SIGKILL"));
}

if (import.meta.main) {
  const [directory = "", stateDirectory = "", run = "0"] = process.argv.slice(2);
  await crash(directory, stateDirectory, Number(run));
}
