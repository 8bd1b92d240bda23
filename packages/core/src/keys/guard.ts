/**
 * A key provider under guard: a deadline on every call, each result counted and told. A call that is not
 * answered in time fails with `key_provider_timeout`; what arrives afterwards is wiped and forgotten.
 *
 * Providers that answer at once (software) have no deadline: nothing can interrupt them, and nothing of
 * theirs hangs.
 */
import { type Bytes, wipe } from "../std/bytes.ts";
import { type ErrorCode, HoldfastError, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { SignatureAlgorithm, Timers } from "../std/ports.ts";
import type { KeyOperation } from "./key-audit.ts";
import type { KeyProvider, MaybePromise, Sign } from "./provider.ts";

/** How long a provider may take for each operation, ms. */
export type KeyDeadlines = Readonly<Record<KeyOperation, number>>;

/** 40 ms for what a commit waits for; making a key and opening a token may take their time. */
export const keyDeadlinesDefault: KeyDeadlines = {
  open: limits.keyOpenMs,
  wrap: limits.keyDeadlineMs,
  unwrap: limits.keyDeadlineMs,
  generate: limits.keyGenerateMs,
  signer: limits.keyDeadlineMs,
  sign: limits.keyDeadlineMs,
};

/** Failures of a provider, not of what it was given: another provider may do better. */
export const providerFailures: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "key_provider_timeout",
  "key_provider_failed",
  "key_answer_wrong",
  "key_pin_refused",
]);

/** Is it the provider that does not work, rather than what it was asked? */
export function isProviderFailure(error: unknown): error is HoldfastError {
  return isHoldfastError(error) && providerFailures.has(error.code);
}

/** Told how each call ended. */
export type CallEnded = (operation: KeyOperation, result: "ok" | ErrorCode) => void;

/** What a guard needs. */
export interface GuardDeps {
  /** Absent: no deadlines. */
  readonly timers: Timers | undefined;
  readonly deadlines: KeyDeadlines;
  readonly ended: CallEnded;
}

/** `late` gets an answer that came after the deadline. */
export function underDeadline<T>(
  timers: Timers | undefined,
  ms: number,
  operation: KeyOperation,
  value: Promise<T>,
  late?: (answer: T) => void,
): Promise<T> {
  if (timers === undefined) return value;
  return new Promise<T>((resolve, reject) => {
    let over = false;
    const cancel = timers.after(ms, () => {
      // This process may have been the one that was busy: what has arrived meanwhile counts.
      timers.soon(() => {
        over = true;
        reject(new HoldfastError("key_provider_timeout", { operation, ms }));
      });
    });
    value.then(
      (answer) => {
        cancel();
        if (over) late?.(answer);
        else resolve(answer);
      },
      (error: unknown) => {
        cancel();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
  });
}

/** A provider under guard. */
export interface GuardedProvider extends KeyProvider {
  /** Takes no more calls, and closes the provider once those under way have ended. */
  retire(): void;
}

/**
 * The provider, guarded. Closing the guard closes it; a call after that is answered by `key_provider_failed`,
 * because whoever makes it may not know yet that the provider was given up.
 */
export function guardProvider(provider: KeyProvider, deps: GuardDeps): GuardedProvider {
  const { timers, deadlines, ended } = deps;
  let over = false;
  let underWay = 0;

  function failed(operation: KeyOperation, error: unknown): never {
    if (isHoldfastError(error)) ended(operation, error.code);
    throw error;
  }

  function call<T>(
    operation: KeyOperation,
    run: () => MaybePromise<T>,
    late?: (answer: T) => void,
  ): MaybePromise<T> {
    if (over) {
      throw new HoldfastError("key_provider_failed", {
        provider: provider.name,
        fault: "replaced",
      });
    }
    let value: MaybePromise<T>;
    try {
      value = run();
    } catch (error) {
      return failed(operation, error);
    }
    if (!(value instanceof Promise)) {
      ended(operation, "ok");
      return value;
    }
    underWay += 1;
    return underDeadline(timers, deadlines[operation], operation, value, late)
      .then(
        (answer) => {
          ended(operation, "ok");
          return answer;
        },
        (error: unknown) => failed(operation, error),
      )
      .finally(() => {
        underWay -= 1;
        if (over && underWay === 0) provider.close();
      });
  }

  const guardedSign =
    (sign: Sign): Sign =>
    (message) =>
      call("sign", () => sign(message));

  const release = provider.releaseSigningKey?.bind(provider);
  const adopt = provider.adoptSigningKey?.bind(provider);
  const forget = (key: Bytes | null): void => {
    if (key !== null) wipe(key);
  };

  return {
    name: provider.name,
    assurance: provider.assurance,
    capabilities: provider.capabilities,
    parameters: provider.parameters,
    wrap: (key, context) => call("wrap", () => provider.wrap(key, context)),
    unwrap: (wrapped, context) => call("unwrap", () => provider.unwrap(wrapped, context), forget),
    generateSigningKey: (algorithm) =>
      call("generate", () => provider.generateSigningKey(algorithm)),
    signer(ref, algorithm) {
      const made = call("signer", () => provider.signer(ref, algorithm));
      if (made instanceof Promise) return made.then((sign) => sign && guardedSign(sign));
      return made && guardedSign(made);
    },
    ...(release !== undefined && {
      releaseSigningKey: (ref: Uint8Array, algorithm: SignatureAlgorithm) =>
        call("unwrap", () => release(ref, algorithm), forget),
    }),
    ...(adopt !== undefined && {
      adoptSigningKey: (privateKey: Uint8Array, algorithm: SignatureAlgorithm) =>
        call("wrap", () => adopt(privateKey, algorithm)),
    }),
    close() {
      over = true;
      provider.close();
    },
    retire() {
      over = true;
      if (underWay === 0) provider.close();
    },
  };
}
