/**
 * Virtual time: a heap of things to do. One step takes the earliest, runs it, and lets every promise that
 * it settled run on; things due at the same moment come in an order that the seed draws. The trace hash
 * covers every step, so that two runs of one seed can be compared in one number.
 *
 * Nothing here waits for the machine: a year passes as fast as its steps run.
 */
import type { Chance } from "../chance.ts";

/** Ends a planned step before it ran. */
export type Cancel = () => void;

/** Time and order of one run; see the module header. */
export interface Scheduler {
  /** Virtual milliseconds since the run began. */
  readonly now: number;
  /** Steps run so far. */
  readonly steps: number;
  /** Steps that wait. */
  readonly pending: number;
  /** Runs `run` in that many virtual milliseconds. The label names the step in the trace. */
  after(milliseconds: number, label: string, run: () => void): Cancel;
  /** Folds a fact into the trace: an answer, a fault, a verdict. */
  note(text: string): void;
  /**
   * Runs steps until `done` says so, until the heap is empty, or until that virtual time. Throws what a
   * step throws.
   */
  run(until: {
    readonly at: number;
    readonly done?: () => boolean;
  }): Promise<"done" | "empty" | "time">;
  /** Hash over everything in the trace so far. */
  hash(): string;
  /** The newest lines of the trace. */
  tail(lines: number): readonly string[];
}

interface Step {
  readonly at: number;
  readonly tie: number;
  readonly number: number;
  readonly label: string;
  readonly run: () => void;
  cancelled: boolean;
}

const tailLines = 4_096;

/** Things to do by (time, drawn tie, number). */
function createHeap() {
  const steps: Step[] = [];
  const before = (a: Step, b: Step): boolean =>
    a.at !== b.at ? a.at < b.at : a.tie !== b.tie ? a.tie < b.tie : a.number < b.number;
  const swap = (a: number, b: number): void => {
    [steps[a], steps[b]] = [steps[b] as Step, steps[a] as Step];
  };
  return {
    get size() {
      return steps.length;
    },
    peek: (): Step | undefined => steps[0],
    push(step: Step): void {
      steps.push(step);
      for (let at = steps.length - 1; at > 0;) {
        const parent = (at - 1) >> 1;
        if (!before(steps[at] as Step, steps[parent] as Step)) break;
        swap(at, parent);
        at = parent;
      }
    },
    pop(): Step | undefined {
      const first = steps[0];
      const last = steps.pop();
      if (first === undefined || last === undefined || steps.length === 0) return first;
      steps[0] = last;
      for (let at = 0; ;) {
        const left = 2 * at + 1;
        if (left >= steps.length) break;
        const right = left + 1;
        const least =
          right < steps.length && before(steps[right] as Step, steps[left] as Step) ? right : left;
        if (!before(steps[least] as Step, steps[at] as Step)) break;
        swap(at, least);
        at = least;
      }
      return first;
    },
  };
}

/** FNV-1a in two lanes: quick, and wide enough to tell two runs apart. */
function createTrace() {
  let low = 0x811c9dc5;
  let high = 0x01000193;
  const lines: string[] = [];
  return {
    add(line: string): void {
      for (let at = 0; at < line.length; at++) {
        const unit = line.charCodeAt(at);
        low = Math.imul(low ^ unit, 0x01000193);
        high = Math.imul(high ^ (unit + 0x9e37), 0x85ebca6b);
      }
      lines.push(line);
      if (lines.length > 2 * tailLines) lines.splice(0, tailLines);
    },
    hash: (): string =>
      (high >>> 0).toString(16).padStart(8, "0") + (low >>> 0).toString(16).padStart(8, "0"),
    tail: (count: number): readonly string[] => lines.slice(-count),
  };
}

/** Promises that are settled run on before the next macrotask does. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** A run that has not begun. Ties are drawn from `chance`, which nothing else should use. */
export function createScheduler(chance: Chance, drain: () => Promise<void> = settled): Scheduler {
  const heap = createHeap();
  const trace = createTrace();
  let now = 0;
  let count = 0;
  let ran = 0;

  async function step(next: Step): Promise<void> {
    if (next.at < now) throw new Error(`the scheduler went back from ${now} to ${next.at}`);
    now = next.at;
    ran += 1;
    trace.add(`${now} ${next.label}`);
    next.run();
    await drain();
  }

  return {
    get now() {
      return now;
    },
    get steps() {
      return ran;
    },
    get pending() {
      return heap.size;
    },
    after(milliseconds, label, run) {
      const at = now + Math.max(0, milliseconds);
      const tie = chance.integer(2 ** 30);
      const planned: Step = { at, tie, number: count++, label, run, cancelled: false };
      heap.push(planned);
      return () => {
        planned.cancelled = true;
      };
    },
    note(text) {
      trace.add(`${now} = ${text}`);
    },
    async run({ at, done }) {
      await drain();
      for (;;) {
        if (done?.() === true) return "done";
        const next = heap.peek();
        if (next === undefined) return "empty";
        if (next.cancelled) {
          heap.pop();
          continue;
        }
        if (next.at > at) {
          now = Math.max(now, at);
          return "time";
        }
        heap.pop();
        await step(next);
      }
    },
    hash: trace.hash,
    tail: trace.tail,
  };
}
