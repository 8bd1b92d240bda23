/** What a process that appends 10,000 events needs: told, because limits of memory differ between machines. */
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runChild } from "../faults/child.ts";
import { withScratch } from "../faults/native.ts";
import { childSecrets, makeStore } from "./lab.ts";

const grower = fileURLToPath(new URL("workloads/grow.ts", import.meta.url));

test("the memory of a process that appends 10,000 events is told", async () => {
  await withScratch("store-memory", async (folder) => {
    await makeStore(folder);
    const run = await runChild({ argv: [grower, folder, "10000"], env: childSecrets });
    expect(run).toMatchObject({ code: 0, stderr: "" });
    const { before, after, events } = JSON.parse(run.stdout) as Readonly<Record<string, number>>;
    expect(events).toBe(10_000);
    const mebibytes = (bytes = 0): string => `${(bytes / 1_048_576).toFixed(1)} MiB`;
    console.log(
      `memory: ${mebibytes(before)} with the store open, ${mebibytes(after)} after 10,000 events`,
    );
  });
});
