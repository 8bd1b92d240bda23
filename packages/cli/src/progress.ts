/** A progress bar on standard error, for long work on a terminal; nothing elsewhere. */
import { progress } from "@clack/prompts";

export interface Progress {
  update(done: number, total: number): void;
  stop(message: string): void;
}

export function createProgress(message: string, json: boolean): Progress {
  if (json || !process.stderr.isTTY) return { update: () => undefined, stop: () => undefined };
  let bar: ReturnType<typeof progress> | undefined;
  let shown = 0;
  return {
    update(done, total) {
      if (bar === undefined) {
        bar = progress({ max: Math.max(1, total), output: process.stderr });
        bar.start(message);
      }
      bar.advance(done - shown, `${message}: ${done} of ${total}`);
      shown = done;
    },
    stop(text) {
      bar?.stop(text);
    },
  };
}
