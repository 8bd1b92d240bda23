/**
 * WebCrypto answers from threads of the platform, whenever it likes. While a run lasts its operations are done
 * one at a time, each within the step that asked for it: so their order is that of the asking.
 */

type Operation = (...values: readonly unknown[]) => Promise<unknown>;

const names = [
  "decrypt",
  "deriveBits",
  "deriveKey",
  "encrypt",
  "exportKey",
  "generateKey",
  "importKey",
  "sign",
  "verify",
] as const;

/** What was put in order; `using` it ends that. */
export interface PlatformTurns {
  /** Resolves when every promise that could run on has, and no operation is under way. */
  drain(): Promise<void>;
  [Symbol.dispose](): void;
}

function macrotask(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Puts WebCrypto in order until it is disposed of. */
export function orderPlatform(): PlatformTurns {
  const subtle = globalThis.crypto.subtle as unknown as Record<string, Operation>;
  let last: Promise<unknown> = Promise.resolve();
  const under = { way: 0 };
  for (const name of names) {
    const real = subtle[name] as Operation;
    subtle[name] = (...values) => {
      under.way += 1;
      const turn = last.then(() => real.apply(subtle, values as unknown[]));
      last = turn.then(
        () => {
          under.way -= 1;
        },
        () => {
          under.way -= 1;
        },
      );
      return turn;
    };
  }
  return {
    async drain() {
      await macrotask();
      while (under.way > 0) {
        await last;
        await macrotask();
      }
    },
    [Symbol.dispose]() {
      // The methods are those of the prototype again.
      for (const name of names) Reflect.deleteProperty(subtle, name);
    },
  };
}
