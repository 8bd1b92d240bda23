/**
 * When an open store shreds: behind every commit that put something in force, at every start, and when a former HPKE
 * key has gone. One run at a time, in turn with rotations; what waits for others is not tried with every commit, but
 * after a while.
 */
import { continueDataKeyRotation, type RotateDataKeysDeps } from "../lifecycle/rotate-data-keys.ts";
import { continueRotation, type RotateKeysDeps } from "../lifecycle/rotate-keys.ts";
import { continueShreds, type ShredDeps } from "../lifecycle/shred.ts";
import { isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { ownNames } from "../store/own-names.ts";
import { systemDraft } from "./system-draft.ts";

/** What the life of a store lends it. */
export interface ShreddingDeps extends Pick<
  ShredDeps,
  "session" | "transact" | "rekey" | "retireHpkeKeys" | "room"
> {
  /** Is the store open for writing, and not about to be closed? */
  readonly isWriter: () => boolean;
  readonly rotateDeps: () => RotateKeysDeps;
  readonly rotateDataKeysDeps: () => RotateDataKeysDeps;
  /** In turn with rotations. */
  readonly rotate: <T>(work: () => Promise<T>) => Promise<T>;
  /** A finding for the operator; without a message it is over. */
  readonly find: (code: string, message: string | undefined) => void;
}

export interface Shredding {
  /** Is there something that this device has not seen through? */
  isOpen(): boolean;
  /** Sees it through, as far as that can be done now; never rejects. */
  goOn(): Promise<void>;
  /** After every commit: begins where it put something in force. */
  committed(): void;
}

const resumed = { why: "resumed" };

/** Over the life of one open store. */
export function createShredding(deps: ShreddingDeps): Shredding {
  let running: Promise<void> | undefined;
  /** What was open when the last run ended. */
  let left = "";
  let cancel: (() => void) | undefined;

  function open(): string {
    const rows = deps.session().log.shreds.open();
    return rows.map((row) => Object.values(row).join("/")).join(" ");
  }

  function shredDeps(): ShredDeps {
    const ports = deps.rotateDeps();
    const { session, transact, rekey, retireHpkeKeys, room } = deps;
    return {
      ...ports,
      session,
      transact,
      rekey,
      retireHpkeKeys,
      room,
      async acknowledge(shred) {
        const own = ownNames(session().driver);
        const draft = { type: "ShredAcknowledged", pub: { shred } } as const;
        const prepared = systemDraft(draft, own, ports.clock.now());
        await ports.writer.append({ drafts: [prepared], expect: undefined });
      },
    };
  }

  /** Once, and again while it meets something new at its end: what came in the midst of it told nobody. */
  async function run(): Promise<void> {
    for (let before = ""; ;) {
      await runOnce();
      if (!deps.isWriter()) return;
      unlessFailing(() => (left = open()));
      if (left === "" || left === before) return;
      before = left;
    }
  }

  async function runOnce(): Promise<void> {
    const { observer, timers } = deps.rotateDeps();
    const waits = (code: string): void => {
      deps.find("shred_waits", `A shred cannot go on: ${code}.`);
      observer.log("warn", "shred_waits", { code });
      cancel?.();
      cancel = timers.after(limits.shredRetryMs, () => void goOn(), true);
    };
    try {
      const outcome = await deps.rotate(async () => {
        await continueRotation(deps.rotateDeps(), resumed);
        await continueDataKeyRotation(deps.rotateDataKeysDeps(), resumed);
        return continueShreds(shredDeps());
      });
      deps.find("shred_waits", undefined);
      if (outcome.status === "waiting" && outcome.code !== undefined) waits(outcome.code);
    } catch (error) {
      waits(isHoldfastError(error) ? error.code : "internal");
    }
  }

  function goOn(): Promise<void> {
    if (!deps.isWriter()) return Promise.resolve();
    running ??= run().finally(() => {
      running = undefined;
      committed();
    });
    return running;
  }

  function committed(): void {
    if (running !== undefined || !deps.isWriter()) return;
    unlessFailing(() => {
      if (open() !== left) void goOn();
    });
  }

  return { goOn, isOpen: () => open() !== "", committed };
}

/** What was committed stands, whatever this reading meets: the next commit asks again. */
function unlessFailing(read: () => void): void {
  try {
    read();
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
  }
}
