/**
 * One seed, and what came of it. The verdict's exit code says what kind of promise was broken: 1 a crash, 2
 * safety, 3 liveness, 4 a run that cannot be repeated.
 */
// The core loads it when the first grant is due; loading takes the machine's time, which a run must not see.
import "@holdfast/core/grant";
import { LivenessError, SafetyError } from "./ledger.ts";
import { orderPlatform } from "./platform-turns.ts";
import { createWorld, type World, type WorldOptions } from "./world.ts";

/** What a seed is run with. */
export type SeedOptions = Omit<WorldOptions, "drain">;

/** What came of one seed. */
export interface Verdict {
  readonly seed: number;
  /** 0 well, 1 crash, 2 safety, 3 liveness, 4 nondeterminism. */
  readonly code: 0 | 1 | 2 | 3 | 4;
  readonly text: string;
  readonly hash: string;
  readonly steps: number;
  readonly tail: readonly string[];
}

function codeOf(error: unknown): Verdict["code"] {
  if (error instanceof SafetyError) return 2;
  return error instanceof LivenessError ? 3 : 1;
}

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const known = error instanceof SafetyError || error instanceof LivenessError;
  return known ? error.message : (error.stack ?? error.message);
}

/** A kind of world. */
export type MakeWorld = (options: WorldOptions) => Pick<World, "scheduler" | "run">;

/** Runs one seed once. */
export async function runSeed(
  options: SeedOptions,
  makeWorld: MakeWorld = createWorld,
): Promise<Verdict> {
  using platform = orderPlatform();
  const world = makeWorld({ ...options, drain: () => platform.drain() });
  const { scheduler } = world;
  const rejections: unknown[] = [];
  const onRejection = (error: unknown): void => {
    rejections.push(error);
  };
  process.on("unhandledRejection", onRejection);
  let failure: unknown;
  try {
    await world.run();
    [failure] = rejections;
  } catch (error) {
    failure = error;
  } finally {
    process.off("unhandledRejection", onRejection);
  }
  const { seed } = options;
  const seen = { seed, hash: scheduler.hash(), steps: scheduler.steps, tail: scheduler.tail(60) };
  if (failure === undefined) return { ...seen, code: 0, text: "well" };
  return { ...seen, code: codeOf(failure), text: textOf(failure) };
}

/** Runs one seed twice: a run that cannot be repeated proves nothing. */
export async function runSeedTwice(
  options: SeedOptions,
  makeWorld: MakeWorld = createWorld,
): Promise<Verdict> {
  const first = await runSeed(options, makeWorld);
  const second = await runSeed(options, makeWorld);
  if (first.hash === second.hash) return first;
  const at = first.tail.findIndex((line, index) => line !== second.tail[index]);
  const text = `the trace is ${first.hash} once and ${second.hash} once, from "${first.tail[at] ?? "the end"}"`;
  return { ...second, code: 4, text };
}
