/** Starts a Node child the way every fault tool does: same Node, sources as they are, output collected. */
import { spawn } from "node:child_process";

export interface ChildOptions {
  /** Script and its arguments, without the Node binary. */
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Program and arguments put before the Node binary, such as strace. */
  readonly wrapper?: readonly string[] | undefined;
  /** SIGKILL after this time; default near the limit of a test. */
  readonly timeoutMs?: number | undefined;
}

export interface ChildResult {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Command line of a Node child that resolves workspace packages to their sources. */
export function nodeCommand(argv: readonly string[]): readonly string[] {
  return [process.execPath, "--conditions=@holdfast/source", "--no-warnings", ...argv];
}

/** Environment of a child: ours without what would change Node's behaviour, plus `extra`. */
export function childEnv(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && name !== "NODE_OPTIONS" && name !== "LD_PRELOAD") env[name] = value;
  }
  return { ...env, ...extra };
}

/** Of what is traced or limited, every file counts: it keeps no cache. */
const uncached = { NODE_DISABLE_COMPILE_CACHE: "1" } as const;

/** Runs to the end. Never rejects for the child's exit status; the caller judges it. */
export function runChild(options: ChildOptions): Promise<ChildResult> {
  const [command, ...rest] = [...(options.wrapper ?? []), ...nodeCommand(options.argv)];
  return new Promise((resolve, reject) => {
    const child = spawn(command as string, rest, {
      env: { ...childEnv(options.env), ...(options.wrapper !== undefined && uncached) },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: options.timeoutMs ?? 280_000,
      killSignal: "SIGKILL",
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}
