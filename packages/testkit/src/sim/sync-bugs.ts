/** Bugs between devices and server: messages left out, altered, or believed too early. */
import type {
  EndpointBreaker,
  GrantStore,
  PullPage,
  SqliteDriver,
  Transport,
} from "@holdfast/core";
import type { ServerStore, SyncServer } from "@holdfast/server/engine";
import { carriedDriver } from "./driver-bugs.ts";

/** The page begins one position too late. */
export function offByOne(transport: Transport): Transport {
  return {
    ...transport,
    pull: (request, options) =>
      transport.pull({ ...request, after: request.after === 0 ? 0 : request.after + 1 }, options),
  };
}

/** A token is kept for ever. */
export function tokenForEver(transport: Transport): Transport {
  let kept: ReturnType<Transport["token"]> | undefined;
  return {
    ...transport,
    token(request, options) {
      kept ??= transport.token(request, options);
      return kept;
    },
  };
}

/** Grants are said to be sent. */
export function grantsNotSent(transport: Transport): Transport {
  return { ...transport, sendGrants: () => Promise.resolve() };
}

/** An open breaker never lets a probe through. */
export function breakerStuck(breaker: EndpointBreaker): EndpointBreaker {
  let failures = 0;
  return {
    async admit() {
      const verdict = await breaker.admit();
      if (failures < 2) return verdict;
      return { admitted: false, retryAt: Number.MAX_SAFE_INTEGER };
    },
    async ended(outcome) {
      failures = outcome === "answered" ? 0 : failures + 1;
      await breaker.ended(outcome);
    },
  };
}

/** A page may lack its last event. */
export function pageLacksOne(server: SyncServer): SyncServer {
  return {
    ...server,
    async pull(caller, request) {
      const page = await server.pull(caller, request);
      return page.events.length < 2 ? page : { ...page, events: page.events.slice(0, -1) };
    },
  };
}

/** A header is altered on its way. */
export function alteredHeader(server: SyncServer): SyncServer {
  return {
    ...server,
    async pull(caller, request): Promise<PullPage> {
      const page = await server.pull(caller, request);
      const [first, ...rest] = page.events;
      if (first === undefined) return page;
      const header = first.body.header.replace('"nurse', '"n2rse').replace('"at":1', '"at":2');
      return { ...page, events: [{ ...first, body: { ...first.body, header } }, ...rest] };
    },
  };
}

/** A checkpoint is answered that is not the newest one, in place of it. */
export function staleCheckpoint(server: SyncServer): SyncServer {
  let first: string | undefined;
  return {
    ...server,
    async push(caller, request, raw) {
      const answer = await server.push(caller, request, raw);
      if (answer.status !== "receipted") return answer;
      first ??= answer.checkpoint;
      return { ...answer, checkpoint: first };
    },
  };
}

/** Entries leave the outbox when they are leased, before the server has them. */
export function deliveredWhenLeased(driver: SqliteDriver): SqliteDriver {
  return carriedDriver(driver, (sql, real) => {
    const result = real();
    if (sql.startsWith("UPDATE outbox SET state = 'leased'")) {
      driver.exec("DELETE FROM outbox WHERE state = 'leased' AND position % 3 = 0");
    }
    return result;
  });
}

/** Every device seems to have access to every scope. */
export function everybodyReads(store: GrantStore): GrantStore {
  return {
    ...store,
    access() {
      const access = store.access();
      const devices = [...access.devices].map(
        ([id, device]) => [id, { ...device, scopes: new Map([["*", ""]]) }] as const,
      );
      return { ...access, devices: new Map(devices) };
    },
  };
}

/** Nobody asks which scopes a device may read. */
export function everyScopeServed(store: ServerStore): ServerStore {
  const access = (): readonly string[] => ["*"];
  return {
    ...store,
    read: (tenant, work, seen) => store.read(tenant, (reads) => work({ ...reads, access }), seen),
  };
}
