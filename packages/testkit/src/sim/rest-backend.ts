/**
 * A simulated backend that is no Holdfast server: it remembers idempotency keys, and has an effect for each new
 * one. While faults last it is busy, fails before or after an effect, refuses tokens and events, and finds
 * conflicts; whatever it answers travels over the simulated network.
 */
import { fromUtf8, type HttpAnswer, type HttpRequest } from "@holdfast/core";
import type { Chance } from "../chance.ts";
import type { Knobs } from "./knobs.ts";
import type { Scheduler } from "./scheduler.ts";
import { thinkTime } from "./workload.ts";

/** What a request did. */
export interface Effect {
  /** The event's id. */
  readonly key: string;
  readonly method: string;
  readonly path: string;
  readonly body: string;
}

/** See the module header. */
export interface SimBackend {
  readonly url: string;
  /** In the order in which they happened. */
  readonly effects: readonly Effect[];
  /** Contradictions that it met: the same key for something else. */
  readonly faults: readonly string[];
  /** The token that it takes now. */
  readonly token: string;
  ask(request: HttpRequest): Promise<HttpAnswer>;
  arm(): void;
  heal(): void;
}

/** What a backend needs of its world. */
export interface SimBackendPorts {
  readonly scheduler: Scheduler;
  readonly chance: Chance;
  readonly knobs: Knobs;
}

const answers = {
  busy: [503, 429, 423],
  failed: [500, 502, 504, 302],
  refused: [422, 404],
  conflict: [409, 412],
} as const;

/** A backend without faults at first. */
export function createSimBackend(ports: SimBackendPorts): SimBackend {
  const { scheduler, chance, knobs } = ports;
  const effects: Effect[] = [];
  const done = new Map<string, Effect>();
  const faults: string[] = [];
  let armed = false;
  let tokens = 1;

  const strikes = (times: number): boolean => armed && chance.oneIn(times);
  const token = (): string => `token-number-${tokens}`;

  function take(request: HttpRequest): void {
    const key = request.headers["idempotency-key"] ?? "";
    const { pathname: path } = new URL(request.url);
    const body = request.body === undefined ? "" : fromUtf8(request.body);
    const effect: Effect = { key, method: request.method, path, body };
    const before = done.get(key);
    if (before === undefined) {
      done.set(key, effect);
      effects.push(effect);
    } else if (JSON.stringify(before) !== JSON.stringify(effect)) {
      faults.push(`${key} was ${JSON.stringify(before)} and is ${JSON.stringify(effect)}`);
    }
  }

  function statusOf(request: HttpRequest): number {
    if (strikes(40)) tokens += 1;
    if (request.headers["authorization"] !== `Bearer ${token()}`) return 401;
    const isNew = !done.has(request.headers["idempotency-key"] ?? "");
    if (strikes(12)) return chance.pick(answers.busy);
    if (strikes(12)) return chance.pick(answers.failed);
    // A backend that has had the effect answers as it did then.
    if (isNew && strikes(60)) return chance.pick(answers.refused);
    if (isNew && strikes(60)) return chance.pick(answers.conflict);
    take(request);
    return strikes(20) ? chance.pick(answers.failed) : chance.pick([200, 201, 204]);
  }

  return {
    url: "https://backend.sim/api",
    effects,
    faults,
    get token() {
      return token();
    },
    ask: (request) =>
      new Promise((resolve) => {
        const { method } = request;
        scheduler.after(thinkTime(chance, 20), `backend ${method}`, () => {
          const status = statusOf(request);
          const isBusy = (answers.busy as readonly number[]).includes(status);
          const wish =
            isBusy && chance.oneIn(2) ? { "retry-after": String(chance.integer(9)) } : {};
          scheduler.note(`backend answers ${status}`);
          resolve({ status, headers: wish, body: new Uint8Array(0) });
        });
      }),
    arm() {
      armed = knobs.serverErrors > 0;
    },
    heal() {
      armed = false;
    },
  };
}
