/**
 * Rotating the keys that wrap a keyring, in an open store: slices between the turns of the writer loop, each
 * durable step with the lease held, so that appends go on. What was interrupted goes on from its phase with the
 * next writer; nobody has to ask for it. Every phase is an audit event.
 */
import type { AuditFacts, rotatedKeys } from "../audit/audit-events.ts";
import type { AuditTrail } from "../audit/audit-log.ts";
import type { Keyring } from "../keys/keyring.ts";
import type { KeyProvider } from "../keys/provider.ts";
import { isOver, type RotationPhase, type RotationState } from "../keys/rotation.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock, Timers } from "../std/ports.ts";
import { inTransaction } from "../store/sqlite-event-log.ts";
import type { Writer } from "../store/writer.ts";
import type { Observer } from "../telemetry/observer.ts";

/** Who rotates, and why: recorded with every phase. */
export interface RotationOrder {
  readonly actor?: string;
  /** Reason code. */
  readonly why?: string;
  readonly reason?: string;
}

/** What rotation in an open store stands on. */
export interface RotateKeysDeps {
  readonly writer: Writer;
  readonly keyring: Keyring;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly observer: Observer;
  readonly audit: AuditTrail;
  /** Ends the work after the step under way; the next writer goes on. */
  readonly stopped: () => boolean;
  readonly onProgress?: ((state: RotationState) => void) | undefined;
}

/**
 * Begins a rotation and sees it through. Throws what {@link KeyringRotation.begin} throws, `rotation_unfinished`
 * when the store is closed before the end, and what an append throws.
 */
export async function rotateKeys(
  deps: RotateKeysDeps,
  key: "epoch" | KeyProvider,
  order: RotationOrder,
): Promise<RotationState> {
  const planned = await deps.writer.exclusively(async () => deps.keyring.rotation.begin(key));
  await tell(deps, planned, order);
  const over = await continueRotation(deps, order);
  if (over === undefined || !isOver(over.phase)) throw new HoldfastError("rotation_unfinished");
  return over;
}

/** Goes on with the rotation that is under way, if any; where it then stands. */
export async function continueRotation(
  deps: RotateKeysDeps,
  order: RotationOrder = {},
): Promise<RotationState | undefined> {
  const { rotation } = deps.keyring;
  const end = deps.observer.span("rotate");
  try {
    for (let state = rotation.state(); state !== undefined && !isOver(state.phase);) {
      while (prepareFor(deps, limits.rotationSliceMs)) {
        await giveWay(deps, limits.rotationSliceMs);
        if (deps.stopped()) return state;
      }
      if (deps.stopped()) return state;
      const before = state.phase;
      state = await step(deps);
      deps.observer.gauge("rotation_records_left", state.total - state.done, { key: state.key });
      deps.onProgress?.(state);
      if (state.phase !== before) await tell(deps, state, order);
      await pause(deps.timers);
    }
    end("ok");
    return rotation.state();
  } catch (error) {
    end("error");
    throw error;
  }
}

/** One durable step, fenced: a holder that slept past its lease changes nothing. */
function step({ writer, keyring }: RotateKeysDeps): Promise<RotationState> {
  return writer.exclusively(async ({ driver, lease }, token, tenure) => {
    inTransaction(driver, () => lease.assertHeld(token));
    const after = await keyring.rotation.commit();
    // The signer in use is the former provider's.
    if (after.key === "provider") tenure.forget();
    return after;
  });
}

function tell(deps: RotateKeysDeps, state: RotationState, order: RotationOrder): Promise<void> {
  const { id, key, phase, done, total } = state;
  return tellPhase(deps, { rotation: id, key, phase, done, total }, order);
}

/** Tells observer and audit trail that a rotation came to another phase; durable when it resolves. */
export async function tellPhase(
  { audit, observer }: Pick<RotateKeysDeps, "audit" | "observer">,
  facts: AuditFacts<"KeyRotationAdvanced"> & {
    readonly key: (typeof rotatedKeys)[number];
    readonly phase: RotationPhase;
  },
  order: RotationOrder = {},
): Promise<void> {
  const { key, phase } = facts;
  observer.count("rotation_phases", 1, { key, phase });
  observer.log("info", "rotation_advanced", { key, phase });
  await audit.record({ kind: "KeyRotationAdvanced", facts, ...order });
}

/** Slices for so many milliseconds; `true`: there is more. */
function prepareFor({ keyring, clock }: RotateKeysDeps, milliseconds: number): boolean {
  const end = clock.monotonic() + milliseconds;
  for (;;) {
    if (!keyring.rotation.prepare()) return false;
    if (clock.monotonic() >= end) return true;
  }
}

/** Where others had something to do, they get as long as the rotation took; else it goes on at once. */
async function giveWay({ clock, timers }: RotateKeysDeps, milliseconds: number): Promise<void> {
  const start = clock.monotonic();
  for (;;) {
    const before = clock.monotonic();
    await pause(timers);
    const now = clock.monotonic();
    const isIdle = now - before < idleTurnMs;
    if (isIdle || now - start >= milliseconds) return;
  }
}

/** A turn of the event loop in which nothing was committed. */
const idleTurnMs = 0.1;

/** What is ready now goes first. */
export function pause(timers: Timers): Promise<void> {
  return new Promise((resolve) => {
    timers.soon(resolve);
  });
}
