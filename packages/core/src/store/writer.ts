/**
 * The writer loop: the one way into a store.
 *
 * Calls wait in a queue; the loop takes all that wait (group commit) and commits them together
 * (`group-commit.ts`) while it holds the store's lease (`tenancy.ts`). A call is answered after COMMIT.
 */
import { rootOf } from "../proof/tree.ts";
import { base64 } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { AppendCall, AppendResult } from "./append.ts";
import { createGroupCommit, type WaitingCall } from "./group-commit.ts";
import type { StreamHead } from "./stream-heads.ts";
import {
  createTenancy,
  rememberHead,
  type StoreSession,
  type Tenure,
  type WriterDeps,
  type WriterIdentity,
} from "./tenancy.ts";

/** What work under the lease may see and tell of what the writer knows. */
export interface TenureView {
  readonly identity: WriterIdentity;
  /** Size and root (base64) of the log that the writer goes on with. */
  head(): { readonly size: number; readonly root: string };
  /** Heads of streams that the work has moved on. */
  moved(heads: ReadonlyMap<string, StreamHead>): void;
  /** The work has changed what the writer knows: it reads everything anew before the next group. */
  forget(): void;
}

export interface Writer {
  append(call: AppendCall): Promise<AppendResult>;
  /** Runs work that needs the lease, between groups; a promise is waited for. */
  exclusively<T>(
    work: (session: StoreSession, token: number, tenure: TenureView) => T | Promise<T>,
  ): Promise<T>;
  /** Ends after the calls that wait; gives the lease back. */
  close(): Promise<void>;
}

export function createWriter(deps: WriterDeps): Writer {
  const { clock, timers } = deps;
  const tenancy = createTenancy(deps);
  const groups = createGroupCommit(deps, tenancy);
  const queue: WaitingCall[] = [];
  const work: (() => Promise<void>)[] = [];
  let running: Promise<void> | undefined;
  let cancelIdle: (() => void) | undefined;
  let idleSince = 0;
  let closed = false;

  function start(): void {
    running ??= Promise.resolve().then(run);
  }

  async function run(): Promise<void> {
    while (queue.length > 0 || work.length > 0) {
      const next = work.shift();
      if (next !== undefined) {
        await next();
        continue;
      }
      // Whoever is about to call joins the group: without this a stream of calls is committed one by one.
      await new Promise<void>((resolve) => timers.soon(resolve));
      await groups.commit(takeGroup(queue));
    }
    running = undefined;
    idleSince = clock.monotonic();
    if (!closed) cancelIdle ??= timers.after(limits.leaseIdleMs, whenIdle, true);
  }

  /** One timer for a burst of calls, not one for each. */
  function whenIdle(): void {
    cancelIdle = undefined;
    const { leaseIdleMs } = limits;
    const left = running === undefined ? idleSince + leaseIdleMs - clock.monotonic() : leaseIdleMs;
    if (left <= 0) giveBack();
    else if (!closed) cancelIdle = timers.after(Math.max(1, left), whenIdle, true);
  }

  function viewOf(held: Tenure): TenureView {
    const { range } = held.head;
    return {
      identity: held.identity,
      head: () => ({ size: range.size, root: base64(rootOf(deps.crypto, range)) }),
      moved(heads) {
        for (const [stream, head] of heads) rememberHead(held, stream, head);
      },
      forget() {
        tenancy.surrender();
      },
    };
  }

  function giveBack(): void {
    if (running === undefined) tenancy.surrender();
  }

  return {
    append(call) {
      if (closed) return Promise.reject(new HoldfastError("store_closed"));
      if (queue.length >= limits.writerQueueCallsMax) {
        return Promise.reject(new HoldfastError("store_overloaded", { calls: queue.length }));
      }
      return new Promise((resolve, reject) => {
        queue.push({ call, since: clock.monotonic(), resolve, reject });
        start();
      });
    },
    exclusively(task) {
      if (closed) return Promise.reject(new HoldfastError("store_closed"));
      return new Promise((resolve, reject) => {
        work.push(async () => {
          try {
            const held = await tenancy.hold();
            const session = deps.session();
            resolve(await task(session, held.token, viewOf(held)));
          } catch (error) {
            groups.recover(error);
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        });
        start();
      });
    },
    async close() {
      closed = true;
      for (let active = running; active !== undefined; active = running) await active;
      cancelIdle?.();
      giveBack();
    },
  };
}

/** All calls that wait, up to what one commit takes; a call is never split. */
function takeGroup(queue: WaitingCall[]): readonly WaitingCall[] {
  let events = 0;
  let bytes = 0;
  let count = 0;
  for (const { call } of queue) {
    const callBytes = call.drafts.reduce((sum, draft) => sum + draft.bytes, 0);
    const fits =
      events + call.drafts.length <= limits.batchEventsMax &&
      bytes + callBytes <= limits.commitBytesMax;
    if (count > 0 && !fits) break;
    events += call.drafts.length;
    bytes += callBytes;
    count += 1;
  }
  return queue.splice(0, count);
}
