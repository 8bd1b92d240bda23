/** What became of recorded events at the server: receipts, and waiting for them. */
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { AppendResult } from "../store/append.ts";
import type { StoredEvent } from "../store/event-log.ts";
import { isDelivered, receiptOf } from "../sync/receipts.ts";
import { createAcknowledgements } from "../sync/rest/acknowledgements.ts";
import { createSyncTables } from "../sync/sync-tables.ts";
import type { AppendAnswer, EventReceipt, Holdfast, WaitOptions } from "./holdfast.ts";
import type { StoreLife } from "./store-life.ts";

export function createDelivery(life: StoreLife): Pick<Holdfast, "receipt"> & {
  /** Gives the answer of an append the means to wait for its delivery. */
  followed(result: AppendResult): AppendAnswer;
} {
  const tables = () => createSyncTables(life.current().driver);

  function stored(idOrLeaf: string): StoredEvent {
    const { log } = life.current();
    const event = idOrLeaf.length === 43 ? log.byLeaf(idOrLeaf) : log.byId(idOrLeaf);
    if (event === undefined) throw new HoldfastError("event_not_found");
    return event;
  }

  function receipt(idOrLeaf: string): EventReceipt {
    const found = receiptOf(tables(), stored(idOrLeaf).position);
    if (found === undefined) throw new HoldfastError("receipt_missing");
    return found;
  }

  /** Commits of this process tell at once; those of others are looked for from time to time. */
  function delivered(positions: readonly number[], { signal }: WaitOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      let cancelPoll: (() => void) | undefined;
      const left = new Set(positions);
      const end = (finish: () => void): void => {
        life.listeners.delete(listener);
        signal?.removeEventListener("abort", abandon);
        cancelPoll?.();
        finish();
      };
      const abandon = (): void => {
        end(() => {
          reject(new HoldfastError("delivery_abandoned", { events: left.size }));
        });
      };
      const look = (): void => {
        try {
          const of = tables();
          const acknowledged = createAcknowledgements(life.current().driver);
          for (const position of left)
            if (isDelivered(of, acknowledged, position)) left.delete(position);
          if (left.size === 0) end(resolve);
        } catch (error) {
          end(() => {
            reject(error instanceof Error ? error : new Error(String(error)));
          });
        }
      };
      const poll = (): void => {
        look();
        if (life.listeners.has(listener)) rest();
      };
      const rest = (): void => {
        cancelPoll = life.deps.timers.after(limits.livePollMs, poll, true);
      };
      const listener = { committed: look, reopened: () => undefined };
      life.listeners.add(listener);
      signal?.addEventListener("abort", abandon);
      if (signal?.aborted === true) abandon();
      else {
        rest();
        look();
      }
    });
  }

  return {
    receipt,
    followed(result) {
      if (result.status !== "appended") return result;
      const positions = result.events.map(({ position }) => position);
      // Not enumerable: what is printed and compared is the record alone.
      return Object.defineProperties(
        { ...result },
        {
          delivered: { value: (options: WaitOptions = {}) => delivered(positions, options) },
          receipt: {
            value: () => {
              const last = positions.at(-1);
              return last === undefined ? undefined : receiptOf(tables(), last);
            },
          },
        },
      ) as AppendAnswer;
    },
  };
}
