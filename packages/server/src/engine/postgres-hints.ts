/**
 * How nodes on one database learn of each other's events: a node tells the name of a shard after it committed, and
 * every node that watches the shard's tenant reads its head. What is told is a hint: it is sent outside of the
 * transactions (inside, it halves their rate: measured, docs/decisions/0013), a few at once, and may be lost; a look
 * at the heads every `pollMs` finds what was not told. The name of a shard says nothing to who may not read it.
 */
import { isHoldfastError, type Timers } from "@holdfast/core";
import { textArray } from "./postgres-arrays.ts";
import type { PostgresDriver } from "./postgres-driver.ts";
import type { ServerStore } from "./server-store.ts";

/** Times in milliseconds. */
export interface HintTimes {
  /** How long a hint may wait for others. */
  readonly gatherMs: number;
  /** How often heads are looked at, whatever was told. */
  readonly pollMs: number;
}

export interface HintDeps {
  readonly driver: PostgresDriver;
  readonly store: Pick<ServerStore, "read">;
  readonly timers: Timers;
  readonly times: HintTimes;
}

export interface Hints {
  /** Tells the other nodes, soon. */
  grown(shard: string): void;
  /** Calls `listener` with the head of the tenant's shard whenever it is seen to have grown; returns the end of it. */
  watch(tenant: string, listener: (head: number) => void): () => void;
  close(): Promise<void>;
}

interface Watched {
  readonly tenant: string;
  readonly listeners: Set<(head: number) => void>;
  shard: string | undefined;
  head: number;
}

const channel = "holdfast_events";

export function createHints(deps: HintDeps): Hints {
  const { driver, store, timers, times } = deps;
  const watched = new Map<string, Watched>();
  const untold = new Set<string>();
  let telling: (() => void) | undefined;
  let polling: (() => void) | undefined;
  let listening: Promise<() => Promise<void>> | undefined;
  let closed = false;

  function tell(): void {
    telling = undefined;
    const shards = [...untold];
    untold.clear();
    const sql = `SELECT pg_notify('${channel}', told.shard) FROM unnest($1::text[]) AS told (shard)`;
    // Whoever does not hear of it looks for itself.
    driver.lend((connection) => connection.rows(sql, textArray(shards))).catch(() => undefined);
  }

  /** Reads the head and tells what has grown since. */
  async function look(one: Watched): Promise<void> {
    const head = await store.read(one.tenant, async (reads) => {
      const row = await reads.tenant(one.tenant);
      return row === undefined ? undefined : reads.head(row.shard);
    });
    if (head === undefined || closed) return;
    const grown = head.shard !== one.shard || head.events > one.head;
    const first = one.shard === undefined;
    one.shard = head.shard;
    one.head = head.events;
    if (grown && !first) for (const listener of one.listeners) listener(head.events);
  }

  function listen(): void {
    if (driver.listen === undefined || listening !== undefined) return;
    const heard = (shard: string): void => {
      for (const one of watched.values()) if (one.shard === shard) attempt(look(one));
    };
    const lost = (): void => {
      listening = undefined;
    };
    listening = driver.listen(channel, heard, lost);
    listening.catch(lost);
  }

  function poll(): void {
    if (closed || watched.size === 0) {
      polling = undefined;
      return;
    }
    listen();
    for (const one of watched.values()) attempt(look(one));
    polling = timers.after(times.pollMs, poll, true);
  }

  return {
    grown(shard) {
      if (closed || driver.listen === undefined) return;
      untold.add(shard);
      telling ??= timers.after(times.gatherMs, tell, true);
    },
    watch(tenant, listener) {
      const one = watched.get(tenant) ?? {
        tenant,
        listeners: new Set(),
        shard: undefined,
        head: 0,
      };
      watched.set(tenant, one);
      one.listeners.add(listener);
      if (polling === undefined) poll();
      else if (one.shard === undefined) attempt(look(one));
      return () => {
        one.listeners.delete(listener);
        if (one.listeners.size === 0) watched.delete(tenant);
      };
    },
    async close() {
      closed = true;
      telling?.();
      polling?.();
      await listening?.then((end) => end()).catch(() => undefined);
    },
  };
}

/** A look that fails is made again at the next poll. */
function attempt(look: Promise<void>): void {
  look.catch((error: unknown) => {
    if (!isHoldfastError(error)) throw error;
  });
}
