/**
 * A network by script: before each call a function decides its fate. What is lost after its effect is the case
 * that matters most: the server acted, and the device does not know.
 */
import { HoldfastError, type CallOptions, type Timers, type Transport } from "@holdfast/core";

/** What happens to one call. */
export type Fate =
  | "answered"
  /** Never reaches the server. */
  | "dropped"
  /** The server acts, its answer is lost. */
  | "lost"
  /** Neither answer nor failure, until the caller gives up. */
  | "hangs"
  /** Fails with that error instead of reaching the server. */
  | HoldfastError
  | { readonly delayMs: number; readonly fate?: "answered" | "lost" };

/** One call that is about to be made. */
export interface FakeCall {
  readonly method: keyof Transport;
  /** From 1, of all calls. */
  readonly number: number;
}

type Request = (...parameters: never[]) => Promise<unknown>;

/** The same doors over another transport, each call at the mercy of `fate`. */
export function createFakeTransport(deps: {
  readonly over: Transport;
  readonly timers: Timers;
  readonly fate: (call: FakeCall) => Fate;
}): Transport {
  const { over, timers, fate } = deps;
  let number = 0;
  const unreachable = (): HoldfastError => new HoldfastError("network_unreachable");

  async function suffer(
    method: keyof Transport,
    options: CallOptions,
    send: () => Promise<unknown>,
  ): Promise<unknown> {
    if (options.signal?.aborted === true) throw new HoldfastError("sync_cancelled");
    number += 1;
    const met = fate({ method, number });
    if (met instanceof HoldfastError) throw met;
    if (met === "dropped") throw unreachable();
    if (met === "hangs") return aborted(options);
    if (typeof met === "object") {
      await Promise.race([
        new Promise<void>((resolve) => {
          timers.after(met.delayMs, resolve);
        }),
        aborted(options),
      ]);
    }
    const answer = await send();
    if (met === "lost" || (typeof met === "object" && met.fate === "lost")) throw unreachable();
    return answer;
  }

  return new Proxy(over, {
    get(target, name: keyof Transport) {
      if (name === "endpoint") return target.endpoint;
      if (name === "tail") {
        return ((listener, options) => {
          number += 1;
          const met = fate({ method: "tail", number });
          if (met === "answered") return target.tail(listener, options);
          const error = met instanceof HoldfastError ? met : unreachable();
          timers.soon(() => {
            listener.ended(error);
          });
          return () => undefined;
        }) satisfies Transport["tail"];
      }
      const method = target[name] as Request;
      return (...parameters: never[]) =>
        suffer(name, parameters.at(-1) as unknown as CallOptions, () => method(...parameters));
    },
  });
}

function aborted({ signal }: CallOptions): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener("abort", () => {
      reject(new HoldfastError("sync_cancelled"));
    });
  });
}
