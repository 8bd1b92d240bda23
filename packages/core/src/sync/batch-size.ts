/**
 * How much one push exchange carries. It begins with a few bodies, doubles while exchanges stay below half of
 * the time aimed at, grows by a quarter below the whole of it, and shrinks in proportion above. What was too
 * large, or not answered in time, is halved: bodies first, then the leaves between them, down to one. The
 * bounds that the server advertises win. Pure; time is measured by whoever calls, on the monotonic clock.
 */
import { limits } from "../std/limits.ts";
import type { PushBounds } from "./sync-store.ts";

/** What the next exchange may carry, and what none may exceed. */
export interface BatchSize {
  readonly bounds: PushBounds;
  readonly ceiling: PushBounds;
}

/** What an exchange carried. */
export interface Carried {
  readonly bodies: number;
  readonly bytes: number;
  /** Entries of the device log: bodies and leaves alone. */
  readonly leaves: number;
}

/** Bounds that a server advertises; see `Hello.limits`. */
export interface AdvertisedPush {
  readonly pushBodies: number;
  readonly pushBytes: number;
  readonly pushLeaves: number;
}

const own: PushBounds = {
  bodies: limits.pushBodiesMax,
  bytes: limits.pushBytesMax,
  leaves: limits.pushLeavesMax,
};

/** The size of the first exchange. */
export function firstBatch(): BatchSize {
  return { bounds: { ...own, bodies: limits.pushBodiesFirst }, ceiling: own };
}

/** Takes over what the server advertises; never more than this side's own bounds, never less than one. */
export function withAdvertised(size: BatchSize, advertised: AdvertisedPush): BatchSize {
  const ceiling = least(own, {
    bodies: whole(advertised.pushBodies),
    bytes: whole(advertised.pushBytes),
    leaves: whole(advertised.pushLeaves),
  });
  return { bounds: least(size.bounds, ceiling), ceiling };
}

/** After an exchange that got through in `elapsedMs`. One that was not full says nothing of larger ones. */
export function afterSuccess(size: BatchSize, carried: Carried, elapsedMs: number): BatchSize {
  const { bounds, ceiling } = size;
  const target = limits.exchangeMsTarget;
  if (elapsedMs > target) {
    const factor = Math.max(0.5, target / elapsedMs);
    return { bounds: { ...bounds, bodies: whole(carried.bodies * factor) }, ceiling };
  }
  const full =
    carried.bodies >= bounds.bodies ||
    carried.bytes >= bounds.bytes / 2 ||
    carried.leaves >= bounds.leaves;
  if (!full) return size;
  const factor = elapsedMs <= target / 2 ? 2 : 1.25;
  const grown = {
    bodies: Math.ceil(bounds.bodies * factor),
    bytes: Math.ceil(bounds.bytes * factor),
    leaves: Math.ceil(bounds.leaves * factor),
  };
  return { bounds: least(grown, ceiling), ceiling };
}

/**
 * After an exchange that was too large or too slow: half of it. `undefined`: it carried one entry and cannot
 * be made smaller.
 */
export function smaller(size: BatchSize, carried: Carried): BatchSize | undefined {
  const { bounds, ceiling } = size;
  if (carried.bodies > 1) {
    const bodies = half(Math.min(bounds.bodies, carried.bodies));
    const bytes = half(Math.min(bounds.bytes, Math.max(1, carried.bytes)));
    // One body goes whatever its bytes are: the byte bound only spares larger exchanges a refusal.
    return { bounds: { ...bounds, bodies, bytes: Math.max(bytes, bytesFloor) }, ceiling };
  }
  if (carried.leaves > 1 && bounds.leaves > 1) {
    const leaves = half(Math.min(bounds.leaves, carried.leaves));
    return { bounds: { ...bounds, bodies: 1, leaves }, ceiling };
  }
  return undefined;
}

/** Below this a body bound would be halved for a handful of small events. */
const bytesFloor = 4_096;

function half(value: number): number {
  return whole(value / 2);
}

function whole(value: number): number {
  return Number.isFinite(value) ? Math.max(1, Math.floor(value)) : 1;
}

function least(a: PushBounds, b: PushBounds): PushBounds {
  return {
    bodies: Math.min(a.bodies, b.bodies),
    bytes: Math.min(a.bytes, b.bytes),
    leaves: Math.min(a.leaves, b.leaves),
  };
}
