/**
 * The conformance suite of the `KeyProvider` port: every provider runs it in a test of a few lines. It
 * takes the test functions as an argument, so that it runs under any runner of Vitest's shape.
 */
import {
  type Crypto,
  type KeyAlgorithm,
  type KeyProvider,
  type MaybePromise,
  isHoldfastError,
  type Sign,
  utf8,
} from "@holdfast/core";

/** What the suite needs of a test runner. */
export interface SuiteRunner {
  readonly describe: (name: string, body: () => void) => unknown;
  readonly it: (name: string, body: () => Promise<void>) => unknown;
  /** Throws with that text when the fact does not hold. */
  readonly check: (fact: boolean, text: string) => void;
}

/** What the conformance suite of key providers runs on. */
export interface KeyProviderSuiteOptions {
  readonly name: string;
  /** A provider with a key of its own; each call another key. */
  readonly make: () => MaybePromise<KeyProvider>;
  /** The provider of `make` once more, from what it stores: a new process. `undefined`: cannot be tried here. */
  readonly reopen: ((provider: KeyProvider) => MaybePromise<KeyProvider>) | undefined;
  /** Verifies what the provider signs. */
  readonly crypto: Crypto;
  /** Verifies keys that device logs do not use; needed where the provider has such. */
  readonly verify?: (
    algorithm: KeyAlgorithm,
    spki: Uint8Array,
    message: Uint8Array,
    signature: Uint8Array,
  ) => boolean;
  /** Bytes of a wrap that are flipped and cut; default: each one. Slow devices take every so many. */
  readonly stride?: number;
}

const key = Uint8Array.from({ length: 32 }, (_, i) => i * 7 + 1);
const context = utf8('{"v":1,"what":"suite"}');
const message = utf8("a commit note");

function verifies(
  { crypto, verify }: KeyProviderSuiteOptions,
  algorithm: KeyAlgorithm,
  spki: Uint8Array,
  signed: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (algorithm !== "ecdsa-secp256k1") return crypto.verify(algorithm, spki, signed, signature);
  return verify?.(algorithm, spki, signed, signature) === true;
}

async function failureOf(run: () => unknown): Promise<unknown> {
  try {
    await run();
    return undefined;
  } catch (error) {
    return error;
  }
}

function same(a: Uint8Array | null, b: Uint8Array): boolean {
  return a !== null && a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** Runs the suite. */
export function keyProviderSuite(runner: SuiteRunner, options: KeyProviderSuiteOptions): void {
  const { describe } = runner;
  describe(`key provider: ${options.name}`, () => {
    wrapping(runner, options);
    signing(runner, options);
    lifetime(runner, options);
  });
}

function wrapping({ it, check }: SuiteRunner, { make, stride = 1 }: KeyProviderSuiteOptions): void {
  it("unwraps what it wrapped, and wraps differently each time", async () => {
    const provider = await make();
    const first = await provider.wrap(key, context);
    const second = await provider.wrap(key, context);
    check(same(await provider.unwrap(first, context), key), "the key comes back");
    check(same(await provider.unwrap(second, context), key), "the key comes back again");
    check(!same(first, second), "two wraps of one key differ");
    const text = String.fromCharCode(...first);
    check(!text.includes(String.fromCharCode(...key)), "the key does not stand in its wrap");
    provider.close();
  });

  it("answers null for what another provider wrapped", async () => {
    const [one, other] = [await make(), await make()];
    const wrapped = await other.wrap(key, context);
    check((await one.unwrap(wrapped, context)) === null, "not mine is null");
    check((await one.unwrap(new Uint8Array(0), context)) === null, "nothing is not mine");
    one.close();
    other.close();
  });

  it("never answers with a key when a byte or the context was changed", async () => {
    const provider = await make();
    const wrapped = await provider.wrap(key, context);
    const tries: (readonly [Uint8Array, Uint8Array])[] = [
      [wrapped, utf8("another context")],
      [wrapped, new Uint8Array(0)],
    ];
    for (let at = 0; at < wrapped.length; at += stride) {
      const flipped = Uint8Array.from(wrapped);
      flipped[at] = (flipped[at] as number) ^ (1 << (at % 8));
      tries.push([flipped, context], [wrapped.slice(0, at), context]);
    }
    let coded = 0;
    for (const [bytes, bound] of tries) {
      let answer: Uint8Array | null = null;
      const error = await failureOf(async () => {
        answer = await provider.unwrap(bytes, bound);
      });
      check(answer === null, "no key comes out");
      if (error === undefined) continue;
      check(isHoldfastError(error, "key_unwrap_failed"), "mine but broken has its code");
      coded++;
    }
    check(coded >= 2, "a changed context is refused with a code");
    provider.close();
  });
}

function signing({ it, check }: SuiteRunner, options: KeyProviderSuiteOptions): void {
  const { make } = options;
  it("signs with each algorithm that its capabilities name", async () => {
    const provider = await make();
    const other = await make();
    for (const algorithm of provider.capabilities.sign) {
      const { ref, spki } = await provider.generateSigningKey(algorithm);
      const sign = await provider.signer(ref, algorithm);
      check(sign !== null, "its own reference gives a signer");
      if (sign === null) continue;
      const signature = await sign(message);
      check(verifies(options, algorithm, spki, message, signature), "the signature verifies");
      check(!verifies(options, algorithm, spki, context, signature), "and of this message only");
      if (algorithm !== "ed25519") await checkLowS(check, algorithm, sign);
      check((await other.signer(ref, algorithm)) === null, "another's reference is null");
      const again = await provider.generateSigningKey(algorithm);
      check(!same(again.spki, spki), "each key is new");
      const broken = Uint8Array.from(ref);
      broken[broken.length - 1] = (broken.at(-1) as number) ^ 1;
      let signer: unknown = null;
      const error = await failureOf(async () => {
        signer = await provider.signer(broken, algorithm);
      });
      check(signer === null, "a broken reference signs nothing");
      check(error === undefined || isHoldfastError(error, "key_unwrap_failed"), "with its code");
    }
    provider.close();
    other.close();
  });
}

/** Half the order of each curve (SEC 2 §2.4.1, §2.4.2), rounded down. */
const halfOrders = {
  "ecdsa-p256": 0x7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8n,
  "ecdsa-secp256k1": 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n,
} as const;

async function checkLowS(
  check: SuiteRunner["check"],
  algorithm: keyof typeof halfOrders,
  sign: Sign,
): Promise<void> {
  for (let times = 0; times < 8; times++) {
    check(isLowS(algorithm, await sign(utf8(`low ${times}`))), "s is in the lower half");
  }
}

function isLowS(algorithm: keyof typeof halfOrders, signature: Uint8Array): boolean {
  const s = [...signature.subarray(32)].reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  return s <= halfOrders[algorithm];
}

function lifetime({ it, check }: SuiteRunner, options: KeyProviderSuiteOptions): void {
  const { make, reopen } = options;
  it("answers at once exactly when its capabilities say so", async () => {
    const provider = await make();
    const answer = provider.wrap(key, context);
    check(answer instanceof Promise !== provider.capabilities.synchronous, "as stated");
    await answer;
    provider.close();
  });

  it("does nothing after close", async () => {
    const provider = await make();
    const wrapped = await provider.wrap(key, context);
    const algorithm = provider.capabilities.sign[0];
    const made = algorithm && (await provider.generateSigningKey(algorithm));
    const sign = made && (await provider.signer(made.ref, algorithm));
    provider.close();
    provider.close();
    for (const run of [
      () => provider.wrap(key, context),
      () => provider.unwrap(wrapped, context),
      ...(sign ? [() => sign(message)] : []),
    ]) {
      check((await failureOf(run)) !== undefined, "a closed provider refuses");
    }
  });

  if (reopen === undefined) return;
  it("finds its keys again in a new process", async () => {
    const provider = await make();
    const wrapped = await provider.wrap(key, context);
    const algorithm = provider.capabilities.sign[0];
    const made = algorithm && (await provider.generateSigningKey(algorithm));
    const again = await reopen(provider);
    provider.close();
    check(same(await again.unwrap(wrapped, context), key), "unwraps");
    if (made) {
      const sign = await again.signer(made.ref, algorithm);
      check(sign !== null, "signs");
      if (sign !== null) {
        check(
          verifies(options, algorithm, made.spki, message, await sign(message)),
          "with the same key",
        );
      }
    }
    again.close();
  });
}
