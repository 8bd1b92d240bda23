/** Processes that a test talks to in lines of JSON: a command goes in, its answer comes out. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { childEnv, nodeCommand } from "../faults/child.ts";

/** A running child. */
export interface Talker {
  readonly process: ChildProcess;
  /** Sends a command and waits for its answer; rejects when the child dies first. */
  ask<Answer>(command: string, parameters?: Readonly<Record<string, unknown>>): Promise<Answer>;
  /** What the child said of its own accord. */
  readonly said: readonly Readonly<Record<string, unknown>>[];
  readonly stderr: () => string;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** Asks it to end, and waits. */
  end(): Promise<number | null>;
}

/** An answer that a child refused to give. */
class Refused extends Error {
  override readonly name = "Refused";
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

interface Waiting {
  readonly resolve: (answer: never) => void;
  readonly reject: (error: Error) => void;
}

/** Starts a script under Node; resolves with its first line, which says that it is ready. */
export async function startTalker(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Talker> {
  const [command, ...rest] = nodeCommand(argv);
  const child = spawn(command as string, rest, {
    env: childEnv(env),
    stdio: ["pipe", "pipe", "pipe"],
  });
  const waiting = new Map<number, Waiting>();
  const said: Readonly<Record<string, unknown>>[] = [];
  let stderr = "";
  let partial = "";
  let next = 0;
  const ready = Promise.withResolvers<void>();

  function take(line: string): void {
    const message = JSON.parse(line) as Readonly<Record<string, unknown>>;
    const { re } = message;
    if (typeof re !== "number") {
      said.push(message);
      ready.resolve();
      return;
    }
    const asked = waiting.get(re);
    waiting.delete(re);
    if ("error" in message) {
      const { code, message: text } = message["error"] as { code: string; message: string };
      asked?.reject(new Refused(code, text));
    } else asked?.resolve(message["answer"] as never);
  }

  child.stdin.on("error", () => undefined);
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const lines = (partial + text).split("\n");
    partial = lines.pop() as string;
    for (const line of lines) take(line);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const gone = once(child, "close");
  void gone.then(() => {
    const error = new Refused("process_gone", `the process ended: ${stderr.slice(-2000)}`);
    ready.reject(error);
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  });
  await ready.promise;
  return {
    process: child,
    said,
    stderr: () => stderr,
    ask(name, parameters = {}) {
      const number = next++;
      return new Promise((resolve, reject) => {
        waiting.set(number, { resolve, reject });
        child.stdin.write(`${JSON.stringify({ re: number, command: name, ...parameters })}\n`);
      });
    },
    async kill() {
      child.kill("SIGKILL");
      await gone;
    },
    async end() {
      child.stdin.end();
      await gone;
      return child.exitCode;
    },
  };
}

/** The other side: answers commands, one after another, until its input ends. */
export async function listen(
  commands: Readonly<Record<string, (parameters: never) => unknown>>,
  ready: Readonly<Record<string, unknown>>,
): Promise<void> {
  const say = (value: unknown): void => {
    process.stdout.write(`${JSON.stringify(value)}\n`);
  };
  say(ready);
  let partial = "";
  for await (const text of process.stdin.setEncoding("utf8")) {
    const lines = (partial + String(text)).split("\n");
    partial = lines.pop() as string;
    for (const line of lines) {
      const { re, command, ...parameters } = JSON.parse(line) as Record<string, unknown> & {
        re: number;
        command: string;
      };
      // Commands run side by side: a cancel must be heard while a sync runs.
      void Promise.resolve()
        .then(() => commands[command]?.(parameters as never))
        .then(
          (answer) => say({ re, answer: answer ?? null }),
          (error: unknown) => {
            const { code = "bug", message = String(error) } = error as Partial<Refused>;
            say({ re, error: { code, message } });
          },
        );
    }
  }
}
