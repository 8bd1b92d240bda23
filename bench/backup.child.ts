/** Backs up or restores in a process of its own, with the memory settings of the command, and says what it took. */
import { readFileSync, writeFileSync } from "node:fs";
import { backUp, keepMemorySmall, restoreStore } from "@holdfast/node";
import { passphrase } from "./ground.ts";
import { round } from "./measure.ts";

const [act = "", directory = "", stateDirectory = "", file = "", key = ""] = process.argv.slice(2);

// As the command does, which this stands for.
keepMemorySmall();

/** Resident set size and its peak since {@link forgetPeak}, in MB. */
function memory(): { readonly now: number; readonly peak: number } {
  const status = readFileSync("/proc/self/status", "utf8");
  const read = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) / 976.5625;
  return { now: round(read("VmRSS"), 1), peak: round(read("VmHWM"), 1) };
}

function forgetPeak(): void {
  writeFileSync("/proc/self/clear_refs", "5");
}

const place = { directory, stateDirectory, passphrase };
const before = memory().now;
forgetPeak();
const used = process.cpuUsage();
const began = performance.now();
const result =
  act === "backup"
    ? await backUp({ ...place, out: file, to: { recipients: [key] } })
    : await restoreStore({ ...place, file, by: { identities: [key] } });
const milliseconds = round(performance.now() - began, 1);
const { user, system } = process.cpuUsage(used);
const cpu = round((user + system) / 1_000, 1);
console.log(JSON.stringify({ milliseconds, cpu, before, peak: memory().peak, ...result }));
