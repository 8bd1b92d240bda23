/**
 * SIGKILL at a random moment: nothing in the process gets a chance to tidy up, what was written stays in the
 * page cache (for losing that too, see power-loss).
 */
import { spawn } from "node:child_process";
import { childEnv, nodeCommand } from "./child.ts";
import type { Chance } from "./random.ts";

export interface KilledRun {
  /** Complete lines that the child printed, including those still in the pipe when it died. */
  readonly lines: readonly string[];
  /** Whether the kill hit; false when the child had ended by itself before. */
  readonly killed: boolean;
  /** Exit code of a child that ended by itself. */
  readonly code: number | null;
  readonly stderr: string;
  /** Time from the start, or from `armOn`, to the kill. */
  readonly killedAfterMs: number;
}

export interface KillOptions {
  /** Script and arguments. It prints one line for each promise, in one write, after the promise holds. */
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Uniform in [from, to). */
  readonly killAfterMs: { readonly from: number; readonly to: number; readonly chance: Chance };
  /** The clock to the kill starts at the first line that this accepts, else at the start of the process. */
  readonly armOn?: (line: string) => boolean;
  readonly onLine?: (line: string) => void;
}

/** Runs a child, kills it, and returns what it had promised. A line without its end is no promise. */
export function runKilled(options: KillOptions): Promise<KilledRun> {
  const [command, ...rest] = nodeCommand(options.argv);
  const { from, to, chance } = options.killAfterMs;
  const delay = from + chance.next() * (to - from);
  return new Promise((resolve, reject) => {
    const child = spawn(command as string, rest, {
      env: childEnv(options.env),
      stdio: ["ignore", "pipe", "pipe"],
    });
    const lines: string[] = [];
    let partial = "";
    let stderr = "";
    let timer: NodeJS.Timeout | undefined;
    const arm = (): void => {
      timer ??= setTimeout(() => child.kill("SIGKILL"), delay);
    };
    child.once("error", reject);
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      const parts = (partial + text).split("\n");
      partial = parts.pop() as string;
      for (const line of parts) {
        lines.push(line);
        options.onLine?.(line);
        if (options.armOn?.(line) === true) arm();
      }
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    // "close" comes after both pipes are drained, "exit" may come before.
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ lines, killed: signal === "SIGKILL", code, stderr, killedAfterMs: delay });
    });
    if (options.armOn === undefined) arm();
  });
}
