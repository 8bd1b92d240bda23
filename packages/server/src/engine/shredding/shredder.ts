/**
 * Takes away what shreds in force concern: frames and grants, in steps of one write each, behind the pushes that wait.
 * A server that is stopped in between goes on when it is up again; until then readers see none of it (`shredded-frames.ts`).
 */
import { HoldfastError, isHoldfastError, limits, shreddedBy } from "@holdfast/core";
import type { EngineDeps } from "../engine-deps.ts";
import { decodeFrames, encodeFrames } from "../ingest/frames.ts";
import type { ServerReads, ServerWrites, ShredRow } from "../server-store.ts";
import type { WriteLoop } from "../write-loop.ts";
import { withoutShredded } from "./shredded-frames.ts";

export interface Shredder {
  /** Goes on with the tenant's shreds in the background. Never throws. */
  wake(tenant: string): void;
  /** Goes on with those of every tenant. */
  wakeAll(): void;
  /** Begins nothing more; resolves when the step under way is over. */
  close(): Promise<void>;
}

/** Events, and grants, of one step. */
const stepRows = 200;

export function createShredder(deps: EngineDeps, loop: WriteLoop): Shredder {
  const { observer } = deps;
  const waiting = new Set<string>();
  let cancelRetry: (() => void) | undefined;
  let everyone = false;
  /** Tenants that are tried again when the time has come. */
  const stopped: string[] = [];
  let closed = false;
  let running: Promise<void> | undefined;

  async function shredAll(tenant: string): Promise<void> {
    for (;;) {
      const rows = await deps.store.read(tenant, (reads) => reads.unfinishedShreds(tenant));
      if (rows.length === 0 || closed) return;
      await shredRows(tenant, rows);
      if (closed) return;
    }
  }

  /** Scope by scope over the events, then once over the tenant's grants; a crash begins anew, which changes nothing. */
  async function shredRows(tenant: string, rows: readonly ShredRow[]): Promise<void> {
    for (const step of [...rows.map(frameStep), grantStep(rows)]) {
      for (let after: number | undefined = 0; after !== undefined;) {
        if (closed) return;
        after = await submit(loop, tenant, step, after, (gone) => {
          if (gone > 0) observer.count("server_shredded", gone, { what: step.what });
        });
      }
    }
    await loop.submit<void>({
      tenant,
      bytes: 0,
      judge: () => async (tx) => {
        for (const row of rows) await tx.endShred(tenant, row);
        return () => undefined;
      },
    });
    for (const shred of new Set(rows.map((row) => row.shred))) {
      observer.log("info", "shred_done", { shred });
    }
  }

  async function run(): Promise<void> {
    for (;;) {
      if (everyone) {
        everyone = false;
        const shards = await deps.store.read(undefined, (reads) => reads.shards());
        for (const { tenant } of shards) waiting.add(tenant);
      }
      const [tenant] = waiting;
      if (tenant === undefined || closed) return;
      waiting.delete(tenant);
      // What stops one tenant is no business of the others.
      await shredAll(tenant).catch((error: unknown) => later(error, tenant));
    }
  }

  /** Tries again after a while; a tenant that is not named: all of them. */
  function later(error: unknown, tenant: string | undefined): void {
    const code = isHoldfastError(error) ? error.code : "internal";
    if (closed || code === "store_closed") return;
    observer.log("warn", "shred_stopped", { code });
    cancelRetry?.();
    const failed = tenant === undefined ? [] : [tenant];
    stopped.push(...failed);
    cancelRetry = deps.timers.after(
      limits.shredRetryMs,
      () => {
        everyone ||= tenant === undefined;
        for (const one of stopped.splice(0)) waiting.add(one);
        start();
      },
      true,
    );
  }

  function start(): void {
    if (running !== undefined || closed) return;
    running = run()
      .catch((error: unknown) => {
        later(error, undefined);
      })
      .then(() => {
        running = undefined;
        // Whoever was waked while this was ending.
        if (waiting.size > 0 || everyone) start();
      });
  }

  return {
    wake(tenant) {
      waiting.add(tenant);
      start();
    },
    wakeAll() {
      everyone = true;
      start();
    },
    async close() {
      closed = true;
      cancelRetry?.();
      await running;
    },
  };
}

/** What a step found: where the next one begins, `undefined`: nowhere; and how much is gone. */
interface Stepped {
  readonly next: number | undefined;
  readonly gone: number;
}

interface Step {
  readonly what: "frames" | "grants";
  find(reads: ServerReads, tenant: string, after: number): Promise<Found>;
}

interface Found {
  readonly next: number | undefined;
  readonly gone: number;
  write(tx: ServerWrites): Promise<void>;
}

async function submit(
  loop: WriteLoop,
  tenant: string,
  step: Step,
  after: number,
  told: (gone: number) => void,
): Promise<number | undefined> {
  const { next, gone } = await loop.submit<Stepped>({
    tenant,
    bytes: 0,
    async judge(reads) {
      const found = await step.find(reads, tenant, after);
      return async (tx) => {
        await found.write(tx);
        return () => ({ next: found.next, gone: found.gone });
      };
    },
  });
  told(gone);
  return next;
}

function frameStep(row: ShredRow): Step {
  const isShredded = shreddedBy([row]);
  return {
    what: "frames",
    async find(reads, tenant, after) {
      const events = await reads.events(
        tenant,
        [row.scope],
        after,
        stepRows,
        undefined,
        limits.pullBytesMax,
      );
      const changed = events.flatMap(({ position, frames }) => {
        const before = decodeFrames(frames);
        const left = withoutShredded(isShredded, row.scope, before);
        return left === before ? [] : [{ position, frames: encodeFrames(left) }];
      });
      return {
        next: events.at(-1)?.position,
        gone: changed.length,
        async write(tx) {
          await tx.setFrames(tenant, changed);
        },
      };
    },
  };
}

/** Grants of keys of what is shredded. */
function grantStep(rows: readonly ShredRow[]): Step {
  const isShredded = shreddedBy(rows);
  const isGone = ({ grant }: { readonly grant: string }): boolean => {
    const { kind, scope, section } = envelopeOf(grant);
    return kind === "data" && isShredded({ scope: String(scope), section: String(section) });
  };
  return {
    what: "grants",
    async find(reads, tenant, after) {
      const grants = await reads.grantsOf(tenant, after, stepRows);
      const numbers = grants.filter(isGone).map(({ number }) => number);
      return {
        next: grants.at(-1)?.number,
        gone: numbers.length,
        async write(tx) {
          if (numbers.length > 0) await tx.dropGrantsAt(tenant, numbers);
        },
      };
    },
  };
}

/** The server has read it before it kept it. */
function envelopeOf(grant: string): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(grant);
  if (typeof value !== "object" || value === null) {
    throw new HoldfastError("store_corrupt", { part: "grants" });
  }
  return value as Readonly<Record<string, unknown>>;
}
