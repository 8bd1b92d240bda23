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
      token: null,
    },
  },
  {
    title: "Attempt",
    table: "attempts",
    says: "One try at delivery: with which entries (half-open ranges of positions), and how it ended.",
    row: {
      number: 9,
      token: 4,
      endpoint: "https://server.example",
      first: 1,
      last: 7,
      entries: 6,
      positions: "[[1,4],[5,8]]",
      started_at: 1772352000000,
      ended_at: 1772352000400,
      result: "failed",
      code: "server_busy",
      status: 503,
    },
  },
  {
    title: "Dead letter",
    table: "dead_letters",
    says: "Why an outbox entry was given up on. Put back by redrive; without `purged_at` the entry is in state `dead`, with it the entry is gone and the event stays.",
    row: {
      position: 1,
      attempts: 12,
      code: "event_leaf_wrong",
      message: "the leaf is not that of the header",
      status: 422,
      severity: "high",
      created_at: 1772352000000,
      updated_at: 1772438400000,
      archived_at: 1772438400000,
      purged_at: null,
    },
  },
  {
    title: "Circuit breaker",
    table: "breakers",
    says: "Whether attempts at an endpoint are admitted; `retry_at` is when a probe is, or when a probe is given up.",
    row: {
      endpoint: "https://server.example",
      state: "open",
      failures: 5,
      trips: 1,
      changed_at: 1772352000000,
      retry_at: 1772352030000,
    },
  },
  {
    title: "Lease",
    table: "leases",
    says: "Which process may write (`writer`), and which worker delivers entries (`outbox/<worker>`); `token` is the fencing token and rises with every new holder.",
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
