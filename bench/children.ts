/** Starts parts of a bench in processes of their own. */
import { fork, spawn } from "node:child_process";

const sources = "--conditions=@holdfast/source";

export interface ChildOptions {
  /** Options of Node itself; default: the sources of the workspace. */
  readonly node?: readonly string[];
}

/** Runs a script to its end; its last line of output is JSON. */
export function runChildJson<T>(
  script: string,
  words: readonly string[],
  options: ChildOptions = {},
): Promise<T> {
  const node = options.node ?? [sources];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...node, script, ...words], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
    child.once("error", reject);
    child.once("close", (code) => {
      const last = output.trim().split("\n").at(-1);
      if (code === 0 && last !== undefined) resolve(JSON.parse(last) as T);
      else reject(new Error(`a child of the bench ended with ${code}`));
    });
  });
}

/** What a child can do: each act takes and gives JSON values. */
export type Acts = Readonly<Record<string, (...words: never[]) => unknown>>;

type Answer<Act> = Act extends (...words: never[]) => infer R ? Awaited<R> : never;
type Words<Act> = Act extends (...words: infer W) => unknown ? W : never;

/** A child that does what it is asked, until it is ended. */
export interface Child<A extends Acts> {
  ask<Name extends keyof A & string>(act: Name, ...words: Words<A[Name]>): Promise<Answer<A[Name]>>;
  /** As a crash would end it: at once, without a chance to finish anything. */
  kill(): Promise<void>;
  end(): Promise<void>;
}

interface Asked {
  readonly number: number;
  readonly act: string;
  readonly words: readonly never[];
}

interface Answered {
  readonly number: number;
  readonly answer?: unknown;
  readonly error?: string;
}

/** Starts a script that calls {@link answerParent}. */
export function startChild<A extends Acts>(
  script: URL,
  { node = [] }: ChildOptions = {},
): Child<A> {
  const child = fork(script, [], { execArgv: [sources, ...node] });
  const waiting = new Map<number, (answered: Answered) => void>();
  let asked = 0;
  const ended = new Promise<void>((resolve) => {
    child.once("exit", (code, signal) => {
      for (const [number, settle] of waiting) {
        settle({ number, error: `a child of the bench ended with ${signal ?? code}` });
      }
      resolve();
    });
  });
  child.on("message", (answered: Answered) => {
    waiting.get(answered.number)?.(answered);
    waiting.delete(answered.number);
  });
  return {
    ask(act, ...words) {
      asked += 1;
      const number = asked;
      return new Promise((resolve, reject) => {
        waiting.set(number, ({ answer, error }) => {
          if (error === undefined) resolve(answer as Answer<A[typeof act]>);
          else reject(new Error(`${act}: ${error}`));
        });
        if (child.connected) child.send({ number, act, words });
      });
    },
    kill() {
      child.kill("SIGKILL");
      return ended;
    },
    end() {
      if (child.connected) child.disconnect();
      return ended;
    },
  };
}

/** In a child: does what the parent asks, at once; `left` when the parent has ended it and all is done. */
export function answerParent(acts: Acts, left: () => Promise<void>): void {
  const doing = new Set<Promise<void>>();
  const answer = async ({ number, act, words }: Asked): Promise<void> => {
    try {
      const found = acts[act];
      if (found === undefined) throw new Error("no such act");
      process.send?.({ number, answer: await found(...words) });
    } catch (error) {
      process.send?.({ number, error: error instanceof Error ? error.stack : String(error) });
    }
  };
  process.on("message", (asked: Asked) => {
    const one = answer(asked);
    doing.add(one);
    void one.then(() => doing.delete(one));
  });
  process.once("disconnect", () => {
    void Promise.all(doing).then(left);
  });
}
