/**
 * Access tokens. One is kept until shortly before it expires; whoever needs one meanwhile shares one request,
 * so that a token that was refused to many callers at once is asked for once.
 *
 * Assertions are dated by the server: `hello` tells its time, the monotonic clock what passed since. The
 * device's own clock may say anything. A server that presents another checkpoint key than the one pinned at
 * enrolment gets no assertion.
 */
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock, Random, Timers } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import { bounded } from "./abort.ts";
import { makeAssertion } from "./assertion.ts";
import { troubleOf } from "./failure.ts";
import type { Hello } from "./messages/hello.ts";
import type { SyncStore } from "./sync-store.ts";
import type { AbortSignalLike, Transport } from "./transport.ts";

/** What {@link createAuthorizer} needs. */
export interface AuthorizerDeps {
  readonly store: Pick<SyncStore, "server" | "origin" | "signer">;
  readonly transport: Pick<Transport, "hello" | "token">;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly observer: Observer;
  /** Told of every hello: limits may have changed. */
  readonly greeted: (hello: Hello) => void;
  /** Set off when the engine ends. */
  readonly closed: AbortSignalLike;
}

/** Hands out access tokens. */
export interface Authorizer {
  /**
   * A token that is good for a while. Throws what the transport throws, `sync_not_enrolled`,
   * `server_key_changed`, and `sync_cancelled` once the signal is set off: the shared request goes on.
   */
  token(signal: AbortSignalLike): Promise<string>;
  /** Says that the server refused a token: the next call asks for another, unless that has happened since. */
  refused(token: string): void;
}

/** A token that was given. */
export interface HeldToken {
  readonly text: string;
  /** On the monotonic clock. */
  readonly goodUntil: number;
}

/** Tokens for the server that the store is enrolled at. */
export function createAuthorizer(deps: AuthorizerDeps): Authorizer {
  return holdTokens(deps, () => askForToken(deps));
}

/**
 * Keeps one token while it is good, whoever gives it, and asks for one at a time. `give` hears which token was
 * refused since the last one was given.
 */
export function holdTokens(
  deps: Pick<AuthorizerDeps, "clock" | "timers" | "observer" | "closed">,
  give: (refused: string | undefined) => Promise<HeldToken>,
): Authorizer {
  const { clock, timers, closed } = deps;
  let held: HeldToken | undefined;
  let asking: Promise<HeldToken> | undefined;
  let lastRefused: string | undefined;

  async function ask(): Promise<HeldToken> {
    try {
      const token = await give(lastRefused);
      held = token;
      lastRefused = undefined;
      deps.observer.count("auth_refreshes", 1, { result: "granted" });
      return token;
    } catch (error) {
      const refused = troubleOf(error).retry === "auth";
      deps.observer.count("auth_refreshes", 1, { result: refused ? "refused" : "failed" });
      throw error;
    } finally {
      asking = undefined;
    }
  }

  return {
    async token(signal) {
      if (held !== undefined && clock.monotonic() < held.goodUntil) return held.text;
      held = undefined;
      if (closed.aborted) throw new HoldfastError("sync_cancelled");
      asking ??= ask();
      const shared = asking;
      // Whoever stops waiting leaves the request to the others; its deadlines are its own.
      const { text } = await bounded(timers, 4 * limits.exchangeMsMax, signal, () => shared);
      return text;
    },
    refused(token) {
      if (held?.text !== token) return;
      held = undefined;
      lastRefused = token;
    },
  };
}

async function askForToken(deps: AuthorizerDeps): Promise<HeldToken> {
  const { clock, timers, transport, closed } = deps;
  const server = deps.store.server();
  if (server === undefined) throw new HoldfastError("sync_not_enrolled");
  const call = <T>(send: (signal: AbortSignalLike) => Promise<T>): Promise<T> =>
    bounded(timers, limits.exchangeMsMax, closed, send);
  const before = clock.monotonic();
  const hello = await call((signal) => transport.hello({ signal }));
  const after = clock.monotonic();
  if (hello.key !== server.key) throw new HoldfastError("server_key_changed");
  deps.greeted(hello);
  // The server read its clock somewhere between the two moments; the middle is off by half at most.
  const passed = clock.monotonic() - (before + after) / 2;
  const serverTime = hello.time + passed;
  const assertion = await makeAssertion(deps, { audience: server.host, serverTime });
  const asked = clock.monotonic();
  const answer = await call((signal) => transport.token({ assertion }, { signal }));
  const life = Math.max(0, Math.min(answer.expiresInMs, limits.tokenLifeMs));
  const margin = Math.min(limits.tokenMarginMs, life / 2);
  return { text: answer.accessToken, goodUntil: asked + life - margin };
}
