/** Memory of a process, where the system's limit is near. */
import { setFlagsFromString } from "node:v8";

/**
 * Tells the garbage collector of this process to prefer small memory to speed. What an export or a first sync
 * holds is a page; the rest is garbage that V8 would let grow to 250 MB before it collects (measured: Parquet
 * of 50,000 events, 215 MiB above the opened store without this, 45 MiB with it; a first sync of 100,000
 * events, see `docs/reference/benchmarks.md`). It holds for the whole process and cannot be taken back, so
 * that the program decides and not this library.
 */
export function keepMemorySmall(): void {
  setFlagsFromString("--optimize-for-size");
  setFlagsFromString("--semi-space-growth-factor=1");
}
