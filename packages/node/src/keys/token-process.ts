/** The other end of `token.child.ts`: requests to the process that holds a token, and its end. */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "@holdfast/core";
import type { TokenAnswer, TokenEnvelope, TokenFault, TokenRequest } from "./token-messages.ts";

const script = fileURLToPath(
  new URL(`token.child${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`, import.meta.url),
);
/** How long a process may take to close its token before it is ended. */
const closeMsMax = 1_000;

/** A process that holds a token. */
export interface TokenProcess {
  /** Process id, for whoever watches processes. */
  readonly pid: number | undefined;
  /**
   * The value of the answer. Throws `key_provider_failed` {fault, name} for what the token says and when the process
   * is gone, `key_unwrap_failed` for bytes that the token refuses, `key_pin_refused`, `key_module_missing`.
   */
  ask<T>(request: TokenRequest, of?: number): Promise<T>;
  /** Is it gone, or has it not answered what it was asked? */
  busyOrGone(): boolean;
  /** No request is answered any more; the process closes its token and ends, or is ended. */
  close(): void;
}

interface Waiting {
  readonly resolve: (value: never) => void;
  readonly reject: (error: HoldfastError) => void;
}

function failure(fault: TokenFault, name: string): HoldfastError {
  const details = { fault, name };
  switch (fault) {
    case "pin":
      return new HoldfastError("key_pin_refused", details);
    case "bytes":
    case "key":
      // A key that is not there is the key of a reference that was changed, or destroyed.
      return fault === "key" && name === "CKR_TOKEN_NOT_PRESENT"
        ? new HoldfastError("key_provider_failed", details)
        : new HoldfastError("key_unwrap_failed", details);
    case "module":
      return new HoldfastError("key_module_missing", details);
    case "token":
    case "device":
      return new HoldfastError("key_provider_failed", details);
    default:
      return fault satisfies never;
  }
}

/** Processes that were started; one that hangs does not see its channel close, and would stay. */
const started = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of started) child.kill("SIGKILL");
});

/** Processes that several providers of one token share, and how many do. */
const shared = new Map<string, { readonly holder: TokenProcess; users: number }>();

/**
 * The process that holds that token, shared with the other providers of it. One that does not answer any more is
 * left to those that still wait for it: whoever comes later gets another one.
 */
export function shareTokenProcess(
  place: string,
  environment: Readonly<Record<string, string>>,
): TokenProcess {
  const name = JSON.stringify([place, environment]);
  let entry = shared.get(name);
  if (entry?.holder.busyOrGone() === true) entry = undefined;
  if (entry === undefined) {
    entry = { holder: takePrepared() ?? startTokenProcess(), users: 0 };
    shared.set(name, entry);
  }
  const used = entry;
  const { holder } = used;
  used.users += 1;
  let open = true;
  return {
    ...holder,
    close() {
      if (!open) return;
      open = false;
      used.users -= 1;
      const hangs = holder.busyOrGone();
      if (shared.get(name) === used && (used.users === 0 || hangs)) shared.delete(name);
      if (used.users === 0) holder.close();
    },
  };
}

/** Started before anybody asked for it. */
let prepared: TokenProcess | undefined;

/**
 * Starts a process for the next token that is opened: most of the time until a token answers is the start of its
 * process (measured: 15 of 100 ms are the token's). Nothing to do when there is one.
 */
export function prepareTokenProcess(): void {
  if (prepared?.busyOrGone() !== false) prepared = startTokenProcess();
}

function takePrepared(): TokenProcess | undefined {
  const found = prepared;
  prepared = undefined;
  return found?.busyOrGone() === false ? found : undefined;
}

/** Starts the process; it is there at once, and answers when it has loaded. */
function startTokenProcess(): TokenProcess {
  const waiting = new Map<number, Waiting>();
  let last = 0;
  let gone = false;
  const child: ChildProcess = fork(script, {
    execArgv: ["--disable-warning=ExperimentalWarning"],
    serialization: "advanced",
    // Modules print to where programs print.
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    env: { ...process.env, NODE_OPTIONS: "" },
  });
  started.add(child);
  child.once("exit", () => started.delete(child));
  // A process that waits for nothing keeps nobody alive.
  child.unref();
  child.channel?.unref();

  function end(name: string): void {
    gone = true;
    for (const { reject } of waiting.values()) reject(failure("device", name));
    waiting.clear();
    child.channel?.unref();
  }

  child.on("message", (answer: TokenAnswer) => {
    const asked = waiting.get(answer.number);
    if (asked === undefined) return;
    waiting.delete(answer.number);
    if (waiting.size === 0) child.channel?.unref();
    if ("fault" in answer) asked.reject(failure(answer.fault, answer.name));
    else asked.resolve(answer.value as never);
  });
  child.on("error", () => {
    end("process");
  });
  child.on("exit", () => {
    end("process");
  });

  return {
    pid: child.pid,
    busyOrGone: () => gone || waiting.size > 0,
    ask: (request, of = 0) =>
      new Promise((resolve, reject) => {
        if (gone || !child.connected) {
          reject(failure("device", "process"));
          return;
        }
        last += 1;
        waiting.set(last, { resolve, reject });
        child.channel?.ref();
        const envelope: TokenEnvelope = { number: last, of, request };
        child.send(envelope);
      }),
    close() {
      if (gone) return;
      end("closed");
      if (child.connected) {
        child.send({ number: 0, of: 0, request: { ask: "close" } } satisfies TokenEnvelope);
      }
      const timer = setTimeout(() => child.kill("SIGKILL"), closeMsMax);
      timer.unref();
      child.once("exit", () => {
        clearTimeout(timer);
      });
    },
  };
}
