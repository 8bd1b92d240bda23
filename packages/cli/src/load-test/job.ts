/** Work that a load test does in processes of its own: what they are told, what they say. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "@holdfast/core";
import type { Place } from "../simulated-device.ts";

/** What a child is to do; sent to it, because command lines are seen by every user of the machine. */
export type Job =
  | {
      readonly kind: "queue";
      readonly place: Place;
      readonly entries: number;
      /** Appended by one call. */
      readonly each: number;
      /** Entries between two looks at the memory. */
      readonly every: number;
    }
  | { readonly kind: "look"; readonly place: Place }
  | { readonly kind: "deliver"; readonly place: Place };

/** Memory of a process, in MB (10^6 bytes): resident, and the JavaScript heap after a collection. */
export interface Memory {
  readonly rss: number;
  readonly heap: number;
}

/** What a child says. */
export type Said =
  | { readonly kind: "ready"; readonly memory: Memory }
  | { readonly kind: "queued"; readonly entries: number; readonly rss: number }
  | { readonly kind: "delivered"; readonly pushed: number }
  | { readonly kind: "done"; readonly memory: Memory }
  | { readonly kind: "failed"; readonly code: string };

/** A child that has opened its store and waits for `go`. */
export interface Hand {
  /** Resolves when it is done. Rejects when it fails. */
  go(): Promise<Memory>;
  /** As it was when the store was open. */
  readonly ready: Memory;
  stop(): Promise<void>;
}

const script = fileURLToPath(
  new URL(`job.child${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`, import.meta.url),
);

/** Starts a child and waits until its store is open. */
export async function startHand(job: Job, hear: (said: Said) => void = () => {}): Promise<Hand> {
  // Collected when its heap is looked at: what is left then is held.
  const execArgv = [...process.execArgv, "--expose-gc"];
  const child = fork(script, { execArgv, stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const ready = Promise.withResolvers<Memory>();
  const done = Promise.withResolvers<Memory>();
  // Whoever waits for neither must not be told as if nobody had listened.
  done.promise.catch(() => undefined);
  const fail = (code: string): void => {
    const error = new HoldfastError("load_test_process_failed", { code });
    ready.reject(error);
    done.reject(error);
  };
  child.on("message", (message) => {
    const said = message as Said;
    if (said.kind === "ready") ready.resolve(said.memory);
    else if (said.kind === "done") done.resolve(said.memory);
    else if (said.kind === "failed") fail(said.code);
    hear(said);
  });
  child.on("error", () => {
    fail("not_started");
  });
  child.once("exit", (code, signal) => {
    fail(`exit ${signal ?? code}`);
  });
  child.send(job);
  const memory = await ready.promise;
  return {
    ready: memory,
    async go() {
      child.send("go");
      return done.promise;
    },
    stop: () => stop(child),
  };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}
