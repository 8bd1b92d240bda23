/** Two processes and one store: a holder that sleeps past its lease is refused and goes on behind the other. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { silentObserver } from "@holdfast/core";
import { systemClock } from "@holdfast/node";
import { expect, test } from "vitest";
import { childEnv, nodeCommand } from "../faults/child.ts";
import { withScratch } from "../faults/native.ts";
import {
  broken,
  childSecrets,
  codesIn,
  draftOf,
  full,
  incarnationsOf,
  makeStore,
  open,
  openWith,
  promiseOf,
  promisesIn,
} from "./lab.ts";

const writer = fileURLToPath(new URL("workloads/write.ts", import.meta.url));
const rounds = full ? 20 : 3;

/** A child whose lines can be waited for. */
function startWriter(folder: string) {
  const [command, ...argv] = nodeCommand([writer, folder, "paced", "0", "1"]);
  const stdio = ["ignore", "pipe", "inherit"] as const;
  const child = spawn(command as string, argv, { env: childEnv(childSecrets), stdio: [...stdio] });
  const lines: string[] = [];
  let partial = "";
  let arrived: (() => void) | undefined;
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    const parts = (partial + text).split("\n");
    partial = parts.pop() as string;
    lines.push(...parts);
    arrived?.();
  });
  return {
    child,
    lines,
    async more(count: number): Promise<void> {
      const wanted = promisesIn(lines).length + count;
      while (promisesIn(lines).length < wanted) {
        await new Promise<void>((resolve) => (arrived = resolve));
      }
    },
  };
}

test.skipIf(process.platform === "win32")(
  "a holder stopped beyond its lease is fenced, reseals, and duplicates nothing",
  { timeout: 300_000 },
  async () => {
    await withScratch("store-lease", async (folder) => {
      await makeStore(folder);
      const { child, lines, more } = startWriter(folder);
      const promises: string[] = [];
      let takenOver = 0;
      const observer = {
        ...silentObserver,
        log: (_level: string, name: string) => (takenOver += name === "lease_taken_over" ? 1 : 0),
      };
      // What the other process sees of the time: the holder's lease has expired long ago.
      const clock = { ...systemClock, now: () => Date.now() + 200_000 };
      try {
        for (let round = 1; round <= rounds; round++) {
          await more(5);
          child.kill("SIGSTOP");
          const other = await openWith(folder, { clock, observer });
          for (let at = 0; at < 5; at++) {
            const n = round * 1_000_000 + at;
            const result = await other.append(draftOf(n));
            expect(result.status).toBe("appended");
            if (result.status === "appended")
              promises.push(promiseOf(result.events[0]?.id ?? "", n));
          }
          await other.close();
          child.kill("SIGCONT");
        }
        await more(5);
      } finally {
        child.kill("SIGKILL");
        await once(child, "close");
      }
      expect(codesIn(lines)).toEqual([]);
      expect(takenOver).toBe(rounds);
      promises.push(...promisesIn(lines));
      const store = await open(folder);
      expect(broken(store, promises)).toEqual([]);
      expect(store.verify().problems).toEqual([]);
      expect(incarnationsOf(store)).toBe(1);
      const numbers = store
        .read({ type: "NoteRecorded", limit: 100_000 })
        .map(({ data }) => (data as { readonly n: number }).n);
      expect(new Set(numbers).size).toBe(numbers.length);
      // The killed child may have committed one more than it said.
      expect(numbers.length - promises.length).toBeLessThanOrEqual(1);
      await store.close();
    });
  },
);
