/** Starts a part of a bench in a process of its own; its last line of output is JSON. */
import { spawn } from "node:child_process";

export interface ChildOptions {
  /** Options of Node itself; default: the sources of the workspace. */
  readonly node?: readonly string[];
}

export function runChildJson<T>(
  script: string,
  words: readonly string[],
  options: ChildOptions = {},
): Promise<T> {
  const node = options.node ?? ["--conditions=@holdfast/source"];
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
