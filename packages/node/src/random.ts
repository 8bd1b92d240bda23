/**
 * The `Random` port on Node. One draw from the system costs 2.7 µs whatever its size, so small requests
 * are served from a block; what was handed out is wiped from it at once.
 */
import { randomFillSync } from "node:crypto";
import { invariant, type Random } from "@holdfast/core";

const blockBytes = 4096;
/** Requests above this are drawn by themselves. */
const pooledBytesMax = 256;

const block = new Uint8Array(blockBytes);
let used = blockBytes;

/** The system's generator. Each thread has its own block: modules are not shared between workers. */
export const systemRandom: Random = {
  bytes(length) {
    invariant(
      Number.isSafeInteger(length) && length >= 0,
      "a number of random bytes is not negative",
    );
    if (length > pooledBytesMax) return randomFillSync(new Uint8Array(length));
    if (used + length > blockBytes) {
      randomFillSync(block);
      used = 0;
    }
    const out = block.slice(used, used + length);
    block.fill(0, used, used + length);
    used += length;
    return out;
  },
};
