/**
 * The serial write loop. Calls that wait are taken together, tenant by tenant: one transaction for a group, one
 * checkpoint over what it appended, then every call is answered. Nothing waits while the loop is idle.
 *
 * A call first judges, with reads alone: what it throws there is its refusal and concerns nobody else. Only what
 * it returns may write, and must not fail for anything that the call brought; when it does (storage), the whole
 * group is undone and its calls are tried one by one.
 */
import { HoldfastError, isHoldfastError, type MaybePromise, type Timers } from "@holdfast/core";
import {
  type CheckpointDeps,
  createShardProof,
  keepCheckpoint,
  type ShardProof,
} from "./log/checkpoints.ts";
import type { ServerReads, ServerStore, ServerWrites, ShardHead } from "./server-store.ts";

/** Answers once the checkpoint over the group is there; absent for a call of no tenant. */
export type Answer<T> = (proof: ShardProof | undefined) => MaybePromise<T>;

export interface WriteCall<T> {
  /** `undefined`: concerns no tenant that is there. */
  readonly tenant: string | undefined;
  /** Bytes that it brings: bounds the group. */
  readonly bytes: number;
  /** It is a group of its own: those before it are answered under the log that they wrote to. */
  readonly alone?: true;
  judge(reads: ServerReads): MaybePromise<(tx: ServerWrites) => MaybePromise<Answer<T>>>;
}

export interface WriteLoop {
  /** Throws what `judge` throws, the storage codes, and `store_closed`. */
  submit<T>(call: WriteCall<T>): Promise<T>;
  /** Told after the answers of a group that placed events; must not throw. */
  onEvents(listener: (tenant: string, head: number) => void): () => void;
  /** Takes no more calls; resolves when those that wait are answered. */
  close(): Promise<void>;
}

export interface WriteLoopDeps extends CheckpointDeps {
  readonly store: ServerStore;
  readonly timers: Timers;
}

/** One group stays well below `checkpointWaitMs` of work. */
const groupCallsMax = 64;
const groupBytesMax = 2 * 1024 * 1024;
/** A tenant moves seldom: a group that meets a sealed shard so often meets a defect. */
const sealedAttemptsMax = 3;

interface Waiting {
  readonly call: WriteCall<unknown>;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

export function createWriteLoop(deps: WriteLoopDeps): WriteLoop {
  const { observer, timers } = deps;
  const queue: Waiting[] = [];
  const listeners = new Set<(tenant: string, head: number) => void>();
  let running = false;
  let closed = false;
  const resting: (() => void)[] = [];

  async function run(): Promise<void> {
    while (queue.length > 0) {
      const group = takeGroup(queue);
      observer.observe("server_group_calls", group.length);
      await commit(group);
    }
    running = false;
    for (const rest of resting.splice(0)) rest();
  }

  async function commit(group: readonly Waiting[]): Promise<void> {
    let settled: Settled;
    try {
      settled = await commitJudged(deps, group);
    } catch (error) {
      if (group.length === 1) group[0]?.reject(error);
      else for (const waiting of group) await commit([waiting]);
      return;
    }
    for (const [at, waiting] of group.entries()) {
      const outcome = settled.outcomes[at] as Outcome;
      if ("refused" in outcome) waiting.reject(outcome.refused);
      else waiting.resolve(outcome.value);
    }
    if (settled.events === undefined) return;
    for (const listener of listeners) listener(...settled.events);
  }

  return {
    submit<T>(call: WriteCall<T>): Promise<T> {
      if (closed) return Promise.reject(new HoldfastError("store_closed"));
      return new Promise<T>((resolve, reject) => {
        queue.push({ call, resolve, reject });
        if (running) return;
        running = true;
        timers.soon(() => void run());
      });
    },
    onEvents(listener) {
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
      };
    },
    close() {
      closed = true;
      if (!running) return Promise.resolve();
      return new Promise((resolve) => {
        resting.push(resolve);
      });
    },
  };
}

/** The first call and those of the same tenant that wait behind it, in their order. */
function takeGroup(queue: Waiting[]): readonly Waiting[] {
  const tenant = queue[0]?.call.tenant;
  const group: Waiting[] = [];
  let bytes = 0;
  for (let at = 0; at < queue.length && group.length < groupCallsMax && bytes < groupBytesMax;) {
    const waiting = queue[at] as Waiting;
    if (waiting.call.tenant !== tenant) {
      at += 1;
      continue;
    }
    if (waiting.call.alone === true && group.length > 0) break;
    queue.splice(at, 1);
    group.push(waiting);
    bytes += waiting.call.bytes;
    if (tenant === undefined || waiting.call.alone === true) break;
  }
  return group;
}

type Outcome = { readonly value: unknown } | { readonly refused: unknown };
type Staged = { readonly answer: Answer<unknown> } | { readonly refused: unknown };

interface Settled {
  readonly outcomes: readonly Outcome[];
  /** Tenant and last position, where events were placed. */
  readonly events: readonly [tenant: string, head: number] | undefined;
}

/** Another node may have moved the tenant since the group was judged: then it is judged again, where it is now. */
async function commitJudged(deps: WriteLoopDeps, group: readonly Waiting[]): Promise<Settled> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await commitGroup(deps, group);
    } catch (error) {
      const isSealed = isHoldfastError(error, "server_log_sealed");
      if (!isSealed || attempt >= sealedAttemptsMax) throw error;
    }
  }
}

function commitGroup(deps: WriteLoopDeps, group: readonly Waiting[]): Promise<Settled> {
  const tenant = group[0]?.call.tenant;
  return deps.store.write(tenant, async (tx) => {
    const before = tenant === undefined ? undefined : await shardHead(tx, tenant);
    const staged: Staged[] = [];
    for (const { call } of group) staged.push(await stage(tx, call));
    const head = tenant === undefined ? undefined : await shardHead(tx, tenant);
    let proof: ShardProof | undefined;
    if (head !== undefined) {
      const checkpoint = await keepCheckpoint(deps, tx, head.shard);
      proof = createShardProof(deps.crypto, tx, head, checkpoint);
    }
    const outcomes: Outcome[] = [];
    for (const one of staged) {
      outcomes.push("refused" in one ? one : { value: await one.answer(proof) });
    }
    const grown = head !== undefined && head.events > (before?.events ?? 0);
    return { outcomes, events: grown ? [tenant as string, head.events] : undefined };
  });
}

async function shardHead(tx: ServerWrites, tenant: string): Promise<ShardHead | undefined> {
  const row = await tx.tenant(tenant);
  return row === undefined ? undefined : tx.head(row.shard);
}

async function stage(tx: ServerWrites, call: WriteCall<unknown>): Promise<Staged> {
  let write: Awaited<ReturnType<typeof call.judge>>;
  try {
    write = await call.judge(tx);
  } catch (error) {
    // After a failure of the medium the transaction may be gone: nothing more may run in it.
    if (!isHoldfastError(error) || error.code.startsWith("store_")) throw error;
    return { refused: error };
  }
  return { answer: await write(tx) };
}
