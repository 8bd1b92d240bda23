/**
 * Every metric, span and log-event name of Holdfast, once, and the `Observer` port through which they
 * leave. Telemetry never throws and never changes control flow; an exporter maps these names to its own.
 *
 * Labels are closed sets of words (codes, operations, results): never an identifier, a name or content.
 */

export interface MetricDeclaration {
  readonly kind: "counter" | "gauge" | "histogram";
  readonly unit: "1" | "ms" | "bytes" | "events";
  readonly help: string;
  readonly labels?: readonly string[];
  /** Upper bounds of a histogram's buckets, in its unit; +Inf follows. */
  readonly buckets?: readonly number[];
}

/** Every metric, with kind, unit and labels. */
export const metrics = {
  append_calls: {
    kind: "counter",
    unit: "1",
    help: "Append calls answered",
    labels: ["result"],
  },
  append_events: { kind: "counter", unit: "events", help: "Events made durable by append" },
  append_latency: {
    kind: "histogram",
    unit: "ms",
    help: "From the append call to the durable answer (event-creation latency)",
  },
  commits: { kind: "counter", unit: "1", help: "Commits made durable" },
  commit_events: { kind: "histogram", unit: "events", help: "Events of one commit" },
  commit_unknown: {
    kind: "counter",
    unit: "1",
    help: "Commits whose outcome was decided by reopening the store",
    labels: ["outcome"],
  },
  store_reopens: {
    kind: "counter",
    unit: "1",
    help: "Reopenings after a storage error",
    labels: ["code"],
  },
  open_duration: { kind: "histogram", unit: "ms", help: "Opening a store, key derivation apart" },
  lease_waits: {
    kind: "counter",
    unit: "1",
    help: "Waits for the store's lease",
    labels: ["result"],
  },
  outbox_entries: {
    kind: "gauge",
    unit: "events",
    help: "Events not yet acknowledged (queue depth)",
  },
  outbox_dead_letters: {
    kind: "gauge",
    unit: "events",
    help: "Dead letters that are not archived (failed operations)",
  },
  outbox_delivered: {
    kind: "counter",
    unit: "events",
    help: "Entries delivered (processed total)",
  },
  outbox_failed: {
    kind: "counter",
    unit: "events",
    help: "Entries given up on (failed total)",
    labels: ["class"],
  },
  outbox_attempts: {
    kind: "counter",
    unit: "1",
    help: "Attempts ended",
    labels: ["result"],
  },
  outbox_attempt_latency: {
    kind: "histogram",
    unit: "ms",
    help: "From the beginning of an attempt to its end (processing latency)",
  },
  outbox_retries: {
    kind: "counter",
    unit: "events",
    help: "Entries attempted again after a failure",
  },
  outbox_backoffs: {
    kind: "counter",
    unit: "1",
    help: "Failed attempts whose entries wait for their next try (backoff events)",
    labels: ["class"],
  },
  outbox_active_leases: {
    kind: "gauge",
    unit: "1",
    help: "Leases of outbox entries that are held (active processors)",
  },
  outbox_takeovers: {
    kind: "counter",
    unit: "1",
    help: "Leases of outbox entries that ended otherwise than by their worker",
    labels: ["reason"],
  },
  outbox_redriven: { kind: "counter", unit: "events", help: "Dead letters put back" },
  outbox_refusals: {
    kind: "counter",
    unit: "1",
    help: "Append calls refused because the outbox is full",
  },
  breaker_trips: { kind: "counter", unit: "1", help: "Circuit breakers opened (circuit trips)" },
  audit_events: {
    kind: "counter",
    unit: "1",
    help: "Audit events recorded",
    labels: ["kind"],
  },
  audit_failures: {
    kind: "counter",
    unit: "1",
    help: "Tries at recording audit events that failed; they are tried again",
    labels: ["code"],
  },
  projection_stopped: {
    kind: "counter",
    unit: "1",
    help: "Projections stopped at an event that their fold refuses",
  },
  grants_sent: { kind: "counter", unit: "1", help: "Grants handed to the server" },
  grants_unsendable: {
    kind: "counter",
    unit: "1",
    help: "Installations whose HPKE key cannot be wrapped to",
  },
  grants_received: {
    kind: "counter",
    unit: "1",
    help: "Grants judged, by what became of them: taken, known, pending or a code",
    labels: ["result"],
  },
  rotation_phases: {
    kind: "counter",
    unit: "1",
    help: "Phases that rotations of keys came to",
    labels: ["key", "phase"],
  },
  rotation_records_left: {
    kind: "gauge",
    unit: "1",
    help: "Records, or events, that a rotation still has to move",
    labels: ["key"],
  },
  shred_phases: {
    kind: "counter",
    unit: "1",
    help: "Phases that shreds came to on this device, for each scope",
    labels: ["phase"],
  },
  shreds_open: {
    kind: "gauge",
    unit: "1",
    help: "Scopes of shreds in force that this device has not acknowledged",
  },
  recovery_drills: {
    kind: "counter",
    unit: "1",
    help: "Drills with a recovery key",
    labels: ["result"],
  },
  start_checks: {
    kind: "counter",
    unit: "1",
    help: "Start-up checks, by their verdict",
    labels: ["status"],
  },
  key_operations: {
    kind: "counter",
    unit: "1",
    help: "Operations of key providers",
    labels: ["provider", "operation", "result"],
  },
  key_fallbacks: {
    kind: "counter",
    unit: "1",
    help: "Changes to a weaker key provider because the preferred one does not work",
    labels: ["from", "to", "reason"],
  },
  sync_exchanges: {
    kind: "counter",
    unit: "1",
    help: "Exchanges with the server (processed and failed total, success rate)",
    labels: ["lane", "result"],
  },
  sync_latency: {
    kind: "histogram",
    unit: "ms",
    help: "One exchange from its plan to the stored answer (processing latency)",
    labels: ["lane"],
    buckets: [10, 50, 100, 500, 1_000],
  },
  sync_retries: {
    kind: "counter",
    unit: "1",
    help: "Failed exchanges that are tried again, by how",
    labels: ["lane", "retry"],
  },
  sync_backoffs: {
    kind: "counter",
    unit: "1",
    help: "Waits of a lane after a failure (backoff events)",
    labels: ["lane"],
  },
  sync_active: {
    kind: "gauge",
    unit: "1",
    help: "Exchanges under way (active processors)",
    labels: ["lane"],
  },
  sync_lane_restarts: {
    kind: "counter",
    unit: "1",
    help: "Lanes that the watchdog found idle with work to do",
    labels: ["lane"],
  },
  sync_tail_ends: { kind: "counter", unit: "1", help: "Live tails that ended by themselves" },
  sync_oldest_unacknowledged: {
    kind: "gauge",
    unit: "ms",
    help: "Age of the oldest own event that the server has not acknowledged",
  },
  sync_logs_followed: {
    kind: "counter",
    unit: "1",
    help: "Server logs that were followed into the log that goes on for them",
    labels: ["result"],
  },
  auth_refreshes: {
    kind: "counter",
    unit: "1",
    help: "Requests for an access token",
    labels: ["result"],
  },
  conflicts_resolved: {
    kind: "counter",
    unit: "1",
    help: "Conflicts at a backend that its route's strategy settled",
    labels: ["strategy"],
  },
  certificate_pin_failures: {
    kind: "counter",
    unit: "1",
    help: "Connections given up because the server's key is not pinned",
  },
  verify_problems: {
    kind: "counter",
    unit: "1",
    help: "Problems found by verify",
    labels: ["code"],
  },
  backups: {
    kind: "counter",
    unit: "1",
    help: "Backups, rescue bundles, restores and drills that ended",
    labels: ["operation", "result"],
  },
  backup_duration: {
    kind: "histogram",
    unit: "ms",
    help: "One backup, rescue bundle, restore or drill, from its start to the durable result",
    labels: ["operation"],
  },
  backup_bytes: {
    kind: "gauge",
    unit: "bytes",
    help: "Size of the newest backup that was written",
  },
  migrations: {
    kind: "counter",
    unit: "1",
    help: "Migrations and rollbacks that ended",
    labels: ["operation", "result"],
  },
  salvages: {
    kind: "counter",
    unit: "1",
    help: "Runs of salvage (corruption events): healthy, declined, salvaged, failed",
    labels: ["result"],
  },
  migration_duration: {
    kind: "histogram",
    unit: "ms",
    help: "Time in the steps of one migration, over all its runs (migration duration)",
  },
  backups_removed: {
    kind: "counter",
    unit: "1",
    help: "Backups removed because newer ones are kept",
  },
  compact_freed_bytes: {
    kind: "gauge",
    unit: "bytes",
    help: "What the last run of compact made the store's files smaller by",
  },
  erases: {
    kind: "counter",
    unit: "1",
    help: "Runs of erase that ended: done, or with a code",
    labels: ["result"],
  },
  api_requests: {
    kind: "counter",
    unit: "1",
    help: "Requests answered by the server, by route and class of status",
    labels: ["operation", "result"],
  },
  api_refusals: {
    kind: "counter",
    unit: "1",
    help: "Requests refused by the server",
    labels: ["code"],
  },
  api_auth: {
    kind: "counter",
    unit: "1",
    help: "Assertions and access tokens judged by the server",
    labels: ["operation", "result"],
  },
  api_tails: { kind: "gauge", unit: "1", help: "Open live tails" },
  server_pushes: {
    kind: "counter",
    unit: "1",
    help: "Pushes that the server answered",
    labels: ["result"],
  },
  server_push_latency: {
    kind: "histogram",
    unit: "ms",
    help: "From the arrival of a push to its durable, checkpointed answer",
  },
  server_placed_events: {
    kind: "counter",
    unit: "events",
    help: "Events that the server took into the shared view",
  },
  server_dispositions: {
    kind: "counter",
    unit: "events",
    help: "Bodies that were not accepted as they came",
    labels: ["disposition", "code"],
  },
  server_shredded: {
    kind: "counter",
    unit: "1",
    help: "Events without their content, and grants taken away, because of a shred",
    labels: ["what"],
  },
  server_quarantined: {
    kind: "counter",
    unit: "1",
    help: "Requests kept in quarantine",
    labels: ["code"],
  },
  server_group_calls: {
    kind: "histogram",
    unit: "1",
    help: "Calls of one transaction of the server",
  },
  server_checkpoints: { kind: "counter", unit: "1", help: "Checkpoints signed" },
  server_pulls: {
    kind: "counter",
    unit: "1",
    help: "Pulls that the server answered",
    labels: ["result"],
  },
  server_pulled_events: { kind: "counter", unit: "events", help: "Events handed out by pulls" },
  server_enrolments: { kind: "counter", unit: "1", help: "Devices enrolled", labels: ["role"] },
  server_logs_begun: {
    kind: "counter",
    unit: "1",
    help: "Server logs that go on for another one: tenants moved between shards, servers restored",
  },
  server_revocations: { kind: "counter", unit: "1", help: "Devices revoked" },
} as const satisfies Readonly<Record<string, MetricDeclaration>>;

/** Every span, with what it covers. */
export const spans = {
  open: "Opening a store: keys, pragmas, start-up checks",
  commit: "One commit: seal, write, answer",
  verify: "One run of verify",
  rotate: "Rotating keys, from where it stands to its end",
  backup: "One backup, rescue bundle, restore or drill",
  erase: "One run of erase, from where it stands",
  salvage: "Looking for damage in a store, and putting it together again",
  migrate: "One migration, from where it stands to its end",
  rebuild: "Rebuilding a read model or the outbox",
} as const;

/** Every log event, with what it tells. */
export const logEvents = {
  store_opened: "A store was opened",
  store_reopened: "A storage error made the store close and open again",
  incarnation_opened: "A new incarnation was opened",
  key_provider_failed: "A key provider did not open, answer in time, or answer rightly",
  key_provider_returned: "A key provider that had failed works again",
  key_fallback: "A weaker key provider signs and unwraps, because the preferred one does not work",
  key_fallback_ended: "The preferred key provider signs and unwraps again",
  key_setting_weak: "A capability flag allows something weaker than the default",
  lease_taken_over: "A lease was taken over from a holder that is gone",
  rotation_advanced: "A rotation of keys came to another phase",
  rotation_stopped: "A rotation of keys cannot go on just now; the next start tries again",
  shred_advanced: "A shred came to another phase on this device",
  shred_waits:
    "A shred cannot go on just now; it is tried again after a while, and at the next start",
  shred_done: "What a shred concerns is gone from this server",
  shred_stopped: "A shred cannot go on just now; the next one, or the next start, goes on with it",
  audit_unwritten: "An audit event could not be recorded yet; it is tried again",
  mark_unwritable: "The high-water mark could not be written",
  projection_stopped: "A projection stopped at an event",
  sync_halted: "Sync stopped for a person: the server contradicts what it has signed",
  sync_resumed: "A person let sync go on",
  sync_log_tail_lost: "The server log goes on from before what this device holds of it",
  sync_needs_auth: "The server refuses this device a token",
  outbox_lease_taken_over: "A lease of outbox entries was taken over after its expiry",
  outbox_lease_forced: "A lease of outbox entries was released by force",
  outbox_dead_letter: "An outbox entry was given up on",
  outbox_redriven: "Dead letters were put back into the outbox",
  outbox_purged: "Archived dead letters were removed; their events stay",
  outbox_filling: "The outbox holds more entries than its warning level",
  outbox_full: "The outbox is full: appends in the normal lane are refused",
  breaker_opened: "A circuit breaker opened",
  breaker_closed: "A circuit breaker closed",
  http_request:
    "A request to a backend: method, path without ids, redacted headers; never the body",
  http_answer: "A backend's answer: status, time, redacted headers; never the body",
  http_failed: "A request to a backend had no answer",
  backup_written: "A backup was written",
  keyring_copies_stale: "Registered copies of a keyring could not be brought up to date",
  backup_second_failed: "A backup could not be copied to its second place",
  rescue_written: "A rescue bundle was written",
  migration_ended: "A migration was committed or rolled back",
  store_restored: "A store was put back from a backup",
  store_compacted: "A store was compacted",
  erase_advanced: "An erase came to another phase",
  api_failed: "The server failed on a request through no fault of its caller",
  server_tenant_moved: "A tenant was moved to another shard",
  server_log_restored:
    "A server log goes on in the next one: its database was put back to an older copy",
  server_put_back: "A device has shown what the server had signed and does not know any more",
  server_started: "The server listens",
  server_stopped: "The server has stopped",
} as const;

/** Name of a declared metric. */
export type MetricName = keyof typeof metrics;
/** Name of a declared span. */
export type SpanName = keyof typeof spans;
/** Name of a declared log event. */
export type LogEventName = keyof typeof logEvents;
/** Labels of a metric, span or log event: words from closed sets. */
export type Labels = Readonly<Record<string, string | number>>;
/** Severity of a log event. */
export type LogLevel = "debug" | "info" | "warn" | "error" | "fatal";

/** Where telemetry goes. Implementations never throw. */
export interface Observer {
  count(metric: MetricName, by: number, labels?: Labels): void;
  gauge(metric: MetricName, value: number, labels?: Labels): void;
  observe(metric: MetricName, value: number, labels?: Labels): void;
  /** Starts a span; the returned function ends it. */
  span(name: SpanName, labels?: Labels): (result: "ok" | "error") => void;
  log(level: LogLevel, event: LogEventName, labels?: Labels): void;
}

/** Telemetry for nobody. */
export const silentObserver: Observer = {
  count: () => undefined,
  gauge: () => undefined,
  observe: () => undefined,
  span: () => () => undefined,
  log: () => undefined,
};
