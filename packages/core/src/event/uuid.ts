/**
 * UUIDv7 (RFC 9562 §5.7), monotonic within one generator: the 12 bits after the time are a counter that
 * starts at random in each millisecond (§6.2, method 1). The platform's own v7 is not ordered within a
 * millisecond (measured: half of all pairs).
 */
import type { Clock, Random } from "../std/ports.ts";
import { hex } from "../std/bytes.ts";

const pattern = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Is this a UUIDv7 in lower case (RFC 9562 §5.7)? */
export function isUuidV7(text: string): boolean {
  return pattern.test(text);
}

/** Milliseconds since 1970 that a UUIDv7 names. */
export function uuidTime(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

/** A generator of UUIDv7 in ascending order, whatever the clock does. */
export function createUuidV7(clock: Pick<Clock, "now">, random: Random): () => string {
  let time = 0;
  let counter = 0;
  return () => {
    const now = Math.min(Math.max(0, Math.floor(clock.now())), 2 ** 48 - 1);
    const chance = random.bytes(10);
    if (now > time) {
      time = now;
      counter = ((chance[0] as number) << 3) | ((chance[1] as number) >> 5);
    } else if (++counter > 0xfff) {
      // The counter ran over, or the clock stands still: borrow from the future, order stays.
      time += 1;
      counter = 0;
    }
    const stamp = time.toString(16).padStart(12, "0");
    const tail = hex(chance.subarray(2));
    const variant = "89ab"[(chance[2] as number) & 3] as string;
    return `${stamp.slice(0, 8)}-${stamp.slice(8)}-7${counter.toString(16).padStart(3, "0")}-${variant}${tail.slice(1, 4)}-${tail.slice(4)}`;
  };
}
