/** An example of each of the store's own models: what the reference shows and the round-trip test reads. */

/** A row of a table of the store, as an example. */
export interface RowExample {
  readonly title: string;
  readonly table: string;
  readonly says: string;
  readonly row: Readonly<Record<string, string | number | null>>;
}

/** Rows of the tables that hold the store's own models. */
export const rowExamples: readonly RowExample[] = [
  {
    title: "Outbox entry",
    table: "outbox",
    says: "An own event that the server has not acknowledged; the event id is its idempotency key.",
    row: {
      position: 1,
      lane: "urgent",
      state: "waiting",
      enqueued_at: 1772352000000,
      attempts: 0,
      next_at: null,
    },
  },
  {
    title: "Dead letter",
    table: "outbox",
    says: "An outbox entry in state `dead`: given up on, kept with its attempts, put back by redrive.",
    row: {
      position: 1,
      lane: "normal",
      state: "dead",
      enqueued_at: 1772352000000,
      attempts: 12,
      next_at: null,
    },
  },
  {
    title: "Lease",
    table: "leases",
    says: "Which process may write; `token` is the fencing token and rises with every new holder.",
    row: {
      name: "writer",
      token: 3,
      holder: "host/4711/1772352000000",
      acquired_at: 1772352000000,
      heartbeat_at: 1772352005000,
      expires_at: 1772352035000,
      wanted_at: null,
      metadata: '{"command":"import"}',
    },
  },
  {
    title: "Build of a read model",
    table: "projections",
    says: "Which version of a projection and of the registry a build is of, and how far it is.",
    row: {
      build: 7,
      name: "diary",
      version: 2,
      registry: "5e1f",
      columns: '{"columns":{},"search":[]}',
      state: "stopped",
      incomplete: 0,
      stopped_at: 42,
      cursor: "",
      streams: 12,
    },
  },
];
