/**
 * Rotating the epoch key over 100,000 data keys while single appends go on, one after the other. `quiet` are
 * appends without a rotation, before and after it; both belong to the same process, keyring and file.
 */
import { createKeyDesk, type Holdfast, lifeOf } from "@holdfast/core";
import { createGround, makeDrafts, makeLoadedStore } from "./ground.ts";
import { gate, type Report, round, stopwatchAsync, timing } from "./measure.ts";

export interface RotationOptions {
  readonly folder?: string | undefined;
  /** Data keys. */
  readonly keys: number;
  /** Appends before the rotation, and as many after it. */
  readonly appends: number;
}

export async function benchRotation(options: RotationOptions): Promise<Report> {
  const ground = createGround(options.folder);
  try {
    const store = await makeLoadedStore(ground, { count: 500, each: 100, streams: 500 });
    const { keyring } = lifeOf(store).deps;
    for (let at = 0; at < options.keys; at++) keyring.dataKeyToSeal(`scope-${at}`, "content");
    keyring.flush();
    const append = createAppender(store);
    await append(options.appends);
    const quiet: number[] = [...(await append(options.appends))];
    let over = false;
    let seconds = 0;
    const rotating = stopwatchAsync(() => createKeyDesk(store).rotateEpoch()).then((taken) => {
      seconds = taken / 1_000;
      over = true;
    });
    const busy = await append(Number.POSITIVE_INFINITY, () => over);
    await rotating;
    quiet.push(...(await append(options.appends)));
    await store.close();
    const [alone, during] = [timing(quiet), timing(busy)];
    const worst = Math.max(...busy);
    return {
      subject: "rotation",
      ratio: round(30 / seconds),
      keys: options.keys,
      rotation_s: round(seconds),
      quiet: alone,
      during,
      longest_append_ms: round(worst),
      gates: [
        gate("epoch rotation s", seconds, "<", 30),
        gate("append p95 during the rotation, times that without", during.p95 / alone.p95, "<", 2),
      ],
    };
  } finally {
    ground.remove();
  }
}

/** Appends one event at a time; the milliseconds of each. */
function createAppender(store: Holdfast) {
  let next = 1_000;
  return async (most: number, ended: () => boolean = () => false): Promise<readonly number[]> => {
    const taken: number[] = [];
    while (taken.length < most && !ended()) {
      const [draft] = makeDrafts(next++, 1, 500);
      if (draft === undefined) break;
      const start = performance.now();
      await store.append(draft);
      taken.push(performance.now() - start);
    }
    return taken;
  };
}
