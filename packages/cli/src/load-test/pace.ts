/**
 * How far long work is, how fast it goes and how long it will take: a line on standard error, rewritten on a
 * terminal, a few lines elsewhere.
 */

/** Told of the work as it goes on. */
export interface Pace {
  update(done: number): void;
  /** Ends the line; the work is done. */
  end(): void;
}

/** Where it is written. */
export interface PaceSink {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

const grouped = (value: number): string => Math.round(value).toLocaleString("en-US");

/** `1,200 of 5,000, 310/s, 13 s left`; without rate and rest until they are known. */
export function paceText(done: number, total: number, elapsedMs: number): string {
  const far = `${grouped(done)} of ${grouped(total)}`;
  const rate = (done * 1_000) / elapsedMs;
  if (!Number.isFinite(rate) || rate <= 0) return far;
  const shown = rate < 10 ? rate.toFixed(1) : grouped(rate);
  if (done >= total) return `${far}, ${shown}/s`;
  return `${far}, ${shown}/s, ${spanText((total - done) / rate)} left`;
}

function spanText(seconds: number): string {
  const whole = Math.max(1, Math.ceil(seconds));
  return whole < 120 ? `${whole} s` : `${Math.ceil(whole / 60)} min`;
}

/** Lines elsewhere than on a terminal. */
const linesMost = 5;
const redrawMs = 200;

/** A pace that writes; `now` in milliseconds. */
export function createPace(
  label: string,
  total: number,
  sink: PaceSink,
  now: () => number = () => performance.now(),
): Pace {
  const began = now();
  let drawnAt = Number.NEGATIVE_INFINITY;
  let lines = 0;
  let last = "";
  const draw = (done: number): void => {
    last = `${label}: ${paceText(done, total, now() - began)}`;
    drawnAt = now();
    sink.write(sink.isTTY === true ? `\r${last}\u001B[K` : `${last}\n`);
  };
  return {
    update(done) {
      if (sink.isTTY === true) {
        if (done >= total || now() - drawnAt >= redrawMs) draw(done);
        return;
      }
      const line = Math.floor((done * linesMost) / Math.max(1, total));
      if (line <= lines) return;
      lines = line;
      draw(done);
    },
    end() {
      if (sink.isTTY === true && last !== "") sink.write("\n");
    },
  };
}
