/**
 * The port through which access tokens of a backend come: never from configuration. An application signs in
 * there, or renews a token that a key provider keeps (`kept-token.ts`).
 */
import { HoldfastError } from "../../std/errors.ts";
import { limits } from "../../std/limits.ts";
import type { Clock, Timers } from "../../std/ports.ts";
import type { Observer } from "../../telemetry/observer.ts";
import { bounded } from "../abort.ts";
import { type Authorizer, type HeldToken, holdTokens } from "../auth.ts";
import type { AbortSignalLike } from "../transport.ts";

/** A bearer token (RFC 6750). */
export interface AccessToken {
  readonly text: string;
  /** How long it is good; default: until it is refused. */
  readonly expiresInMs?: number;
}

/** Gives tokens. Asked once at a time, and only once after a refusal before delivery waits for a person. */
export interface TokenSource {
  /**
   * A token; `refused` is the last one that the backend did not accept, and must not be given again. Throws
   * `token_refused` when somebody must sign in, and what a network throws.
   */
  token(options: {
    readonly signal: AbortSignalLike;
    readonly refused: string | undefined;
  }): Promise<AccessToken>;
}

/** RFC 6750 §2.1, b64token, with room for other visible characters; no space, no control character. */
const tokenForm = /^[\x21-\x7e]+$/;

/** Holds the tokens of a source. Without one requests go without a token. */
export function tokenAuthorizer(
  source: TokenSource | undefined,
  deps: {
    readonly clock: Clock;
    readonly timers: Timers;
    readonly observer: Observer;
    readonly closed: AbortSignalLike;
  },
): Authorizer {
  if (source === undefined) {
    return { token: () => Promise.resolve(""), refused: () => undefined };
  }
  const { clock, timers, closed } = deps;
  return holdTokens(deps, async (refused): Promise<HeldToken> => {
    const asked = clock.monotonic();
    const { text, expiresInMs = Infinity } = await bounded(
      timers,
      limits.exchangeMsMax,
      closed,
      (signal) => source.token({ signal, refused }),
    );
    const fits = tokenForm.test(text) && text.length <= limits.tokenBytesMax;
    if (!fits || text === refused) throw new HoldfastError("token_refused", { part: "source" });
    const life = Math.max(0, expiresInMs);
    return { text, goodUntil: asked + life - Math.min(limits.tokenMarginMs, life / 2) };
  });
}
