/**
 * The `simulator`: a key provider that takes its time, hangs, vanishes and answers wrongly on command, over
 * another provider that holds the keys. For tests and for trying an installation out; no policy allows it
 * unless it is named, and the production profile refuses it.
 */
import {
  type Assurance,
  type Bytes,
  HoldfastError,
  invariant,
  type KeyProvider,
  type MaybePromise,
  type ProviderParameters,
  type Timers,
} from "@holdfast/core";

/** What a simulated device does from now on. */
export interface SimulatedDevice {
  /** Time of each answer, ms. */
  latencyMs: number;
  /**
   * `well`: answers. `hangs`: never answers. `gone`: refuses at once. `lies`: signatures of another message, keys
   * with a changed byte.
   */
  state: "well" | "hangs" | "gone" | "lies";
  /** Calls that reached it. */
  readonly calls: () => number;
}

/** A device that works at once. */
export function createSimulatedDevice(): SimulatedDevice & { count(): void } {
  let calls = 0;
  return { latencyMs: 0, state: "well", calls: () => calls, count: () => void (calls += 1) };
}

/** What {@link createSimulatedProvider} takes. */
export interface SimulatedProviderOptions {
  /** Holds the keys; owned from here on. */
  readonly over: KeyProvider;
  readonly device: ReturnType<typeof createSimulatedDevice>;
  readonly timers: Timers;
  /** What it passes for. */
  readonly assurance: Assurance;
}

/** A provider over a simulated device. Opening it while the device is away throws `key_provider_failed`. */
export function createSimulatedProvider(options: SimulatedProviderOptions): KeyProvider {
  const { over, device, timers, assurance } = options;
  let closed = false;

  function away(): HoldfastError {
    return new HoldfastError("key_provider_failed", { provider: "simulator", fault: "gone" });
  }

  async function call<T>(
    run: () => MaybePromise<T>,
    lie: (answer: T) => MaybePromise<T>,
  ): Promise<T> {
    invariant(!closed, "a key provider is not used after close");
    device.count();
    if (device.state === "gone") throw away();
    if (device.state === "hangs") await new Promise(() => {});
    if (device.latencyMs > 0) {
      await new Promise<void>((resolve) => timers.after(device.latencyMs, resolve));
    }
    const answer = await run();
    return device.state === "lies" ? lie(answer) : answer;
  }

  const parameters: ProviderParameters = { ...over.parameters, assurance };
  const same = <T>(answer: T): T => answer;
  return {
    name: "simulator",
    assurance,
    capabilities: { ...over.capabilities, synchronous: false, volatile: true },
    parameters,
    wrap: (key, context) => call(() => over.wrap(key, context), same),
    unwrap: (wrapped, context) => call(() => over.unwrap(wrapped, context), changed),
    generateSigningKey: (algorithm) => call(() => over.generateSigningKey(algorithm), same),
    async signer(ref, algorithm) {
      const sign = await call(() => over.signer(ref, algorithm), same);
      if (sign === null) return null;
      return (message) =>
        call(
          () => sign(message),
          (signature) => changed(signature) as Bytes,
        );
    },
    close() {
      if (!closed) over.close();
      closed = true;
    },
  };
}

function changed(bytes: Bytes | null): Bytes | null {
  if (bytes !== null) bytes[0] = (bytes[0] as number) ^ 1;
  return bytes;
}
