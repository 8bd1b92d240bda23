/**
 * Every bound of the core, in one place. The unit stands last in the name; relations between limits are
 * asserted when the module loads.
 */
import { invariant } from "./errors.ts";

/** The bounds; the unit stands last in each name. */
export const limits = {
  /** Header, JCS bytes. With the tree's own framing an entry stays below the 65,535 of C2SP tlog-tiles. */
  headerBytesMax: 60 * 1024,
  /** One event: header plus all section bytes. */
  eventBytesMax: 256 * 1024,
  /** Sections of one event. */
  eventSectionsMax: 8,
  /** Nesting of arrays and objects in any JSON that is read or recorded. */
  jsonDepthMax: 32,
  /** Text handed to the JSON parser in one piece (a FHIR bundle is one piece). */
  jsonTextBytesMax: 256 * 1024 * 1024,
  /** Entries of one version vector. */
  vectorEntriesMax: 256,
  /** Plaintext fields of one system event. */
  pubBytesMax: 4 * 1024,
  /** Events of one append call and of one commit. */
  batchEventsMax: 10_000,
  /** Bytes of section plaintext that one commit takes before it is closed. */
  commitBytesMax: 64 * 1024 * 1024,
  /** How often one command is decided while others extend its stream. */
  commandAttemptsMax: 8,
  /** Calls that may wait for the writer loop before append answers `store_overloaded`. */
  writerQueueCallsMax: 100_000,
  /** How long a writer waits for the store's lease. */
  leaseWaitMsMax: 5_000,
  /** A lease that was not renewed for this long may be taken over. */
  leaseExpiryMs: 120_000,
  /** An idle writer gives its lease back after this long. */
  leaseIdleMs: 250,
  /** Names: event types, sections, roles, reason codes, models. */
  nameBytesMax: 128,
  /** Words for a stream, a scope, an actor, a reason. */
  wordsCharactersMax: 4_096,
  /** Values of one `in` condition. */
  queryListMax: 1_000,
  /** Words of one full-text search. */
  searchWordsMax: 32,
  /** Events of a stream between two snapshots of a read model. */
  snapshotEvery: 64,
  /** Snapshots kept of one stream and read model; older ones are thinned out. */
  snapshotsPerStreamMax: 256,
  /** Streams that one step of a rebuild folds before appends get their turn. */
  rebuildStreamsPerStep: 200,
  /** Streams folded again before a new build of a read model is swapped in. */
  rebuildSampleMax: 64,
  /** Rows of a read model, and streams of snapshots, that one slice of compacting takes. */
  compactRowsPerSlice: 500,
  compactStreamsPerSlice: 100,
  /** How long compacting stays away from the lease when another process wants it; longer than that looks again. */
  compactGiveWayMs: 60,
  /** Pages that one slice of compacting gives back: a millisecond or two. */
  compactPagesPerSlice: 128,
  /** Rows of read models kept in memory. */
  cacheRowsMax: 10_000,
  cacheTtlMs: 60_000,
  /** How often live queries look for what other processes wrote. */
  livePollMs: 200,
  /** Rows of one query answer unless the caller asks for another number. */
  queryRowsDefault: 1_000,
  /** Bodies of one push exchange, headers and frames together. */
  pushBytesMax: 1024 * 1024,
  /** Events that one push exchange brings with their bodies. */
  pushBodiesMax: 1_000,
  /** How many bodies the first exchange tries. */
  pushBodiesFirst: 64,
  /** Leaves of one push exchange, bodies and leaf-only together. */
  pushLeavesMax: 131_072,
  /** Ranges of owed bodies that a receipt lists; beyond that it states their digest. */
  owedRangesMax: 256,
  /** Events and bytes of one pull page. */
  pullEventsMax: 1_000,
  pullBytesMax: 4 * 1024 * 1024,
  /** What a device asks for in one page: it is stored in one turn of the writer loop, and appends wait for that. */
  pullPageEvents: 256,
  pullPageBytes: 1024 * 1024,
  /** Own events of one log that are taken back from the server, after the device was put back to an older copy. */
  ownEventsTakenMax: 10_000,
  /** Pages in a row that bring nothing new, before the puller waits. */
  barrenPagesMax: 256,
  /** Scopes that one pull asks for by name. */
  pullScopesMax: 256,
  /** Device logs of which one pull says what it holds. */
  pullOriginsMax: 4_096,
  /** Receipts that are presented at once to a server that was put back to an older copy. */
  presentedReceiptsMax: 256,
  /** An enrolment code as text. */
  enrolmentCodeCharactersMax: 4_096,
  /** Keys that one KeyGranted event names: they fit `pubBytesMax`. */
  keysPerEventMax: 32,
  /** Scopes that one hold or shred names, and devices that one certificate does: they fit `pubBytesMax`. */
  scopesPerShredMax: 64,
  devicesPerCertificateMax: 100,
  /** Grants that wait for the event that names them. */
  pendingGrantsMax: 1_000,
  /** Grants of one exchange. */
  grantsMax: 1_000,
  /** A lease of outbox entries that was not renewed for this long may be taken over. */
  outboxLeaseExpiryMs: 120_000,
  /** Backoff between attempts: full jitter up to first · 2^n, at most the second. */
  backoffFirstMs: 1_000,
  backoffMostMs: 300_000,
  /** The longest wait that a server may ask for (Retry-After). */
  retryAfterMsMax: 3_600_000,
  /** First cooldown of a circuit breaker; doubles up to backoffMostMs. */
  breakerCooldownFirstMs: 30_000,
  /** A probe that did not end for this long is given up. */
  breakerProbeMs: 60_000,
  /** Entries of the outbox before appends in the normal lane are refused. */
  outboxEntriesMax: 1_000_000,
  /** Entries of one lease. */
  outboxLeaseEntriesMax: 10_000,
  /** Blocked entries of a lane that one lease passes over before it gives up finding one that may go. */
  outboxWalkEntriesMax: 2_048,
  /** How long an archived dead letter is kept before it may be purged: 30 days. */
  deadLetterRetentionMs: 2_592_000_000,
  /** Between two purges of archived dead letters that a running engine makes. */
  purgeEveryMs: 86_400_000,
  /** Message of a dead letter, and reason of a forced release. */
  deadLetterMessageCharactersMax: 500,
  /** How long the server may gather pushes before it signs a checkpoint. */
  checkpointWaitMs: 50,
  /** Lifetime of an access token, and of the assertion that asks for one. */
  tokenLifeMs: 600_000,
  assertionLifeMs: 60_000,
  /** Between two heartbeats of a live tail. */
  tailHeartbeatMs: 20_000,
  /** Time for a WebSocket to open before the tail is opened another way. */
  tailOpenMs: 10_000,
  /** One message of a tail over a WebSocket, either way. */
  tailMessageBytesMax: 1_024,
  /** Exchanges that a lane of sync repeats at once before it waits. */
  syncImmediateMax: 3,
  /** Steps from one server log to the next that one exchange follows. */
  logStepsMax: 16,
  /** Halvings that take the largest exchange to one entry, bodies and leaves; beyond that a lane waits. */
  syncHalvingsMax: 32,
  /** An exchange that takes longer is ended and made smaller. */
  exchangeMsMax: 60_000,
  /** What the size of a push aims at: how long one exchange takes. */
  exchangeMsTarget: 2_000,
  /** Between two looks for events while no live tail is open, and while one is. */
  pollMs: 30_000,
  pollBesideTailMs: 300_000,
  /** A tail that lived so long ended for a reason of its own: it is opened again at once. */
  tailSteadyMs: 10_000,
  /** How often sync looks for a lane that forgot itself. */
  watchdogMs: 60_000,
  /** An access token is asked for anew so long before it expires. */
  tokenMarginMs: 30_000,
  /** A signed note; room for all its signatures, post-quantum ones of some 5 kB among them. */
  noteBytesMax: 512 * 1024,
  /** Signatures of one note or envelope. C2SP signed-note demands that 16 are accepted. */
  noteSignaturesMax: 64,
  /** Key name of a note, origin of a log. */
  noteNameBytesMax: 512,
  /** Text of a DSSE envelope. */
  dsseBytesMax: 1024 * 1024,
  /** Blocks of 511 nodes (16 KiB of hashes) that one proof source keeps. */
  proofBlocksMax: 64,
  /** Roots of blocks that one proof source keeps. */
  proofBlockRootsMax: 4_096,
  /** Rows that are read at once when a tree is opened. */
  proofReadRowsMax: 4_096,
  /** One copy of the keyring, and one of its lines. */
  keyringBytesMax: 256 * 1024 * 1024,
  keyringLineBytesMax: 64 * 1024,
  /** How long a rotation works before it gives way to whoever has something to do. */
  rotationSliceMs: 8,
  /** Records that a rotation moves with one fsync of each copy. */
  rotationChunkRecords: 512,
  /** Events whose frames a rotation of data keys encrypts anew in one transaction. */
  rotationChunkEvents: 50,
  /** Checks of a rotation that may fail in a row before it is given to an operator. */
  rotationChecksMax: 3,
  /** Events whose content a shred looks through in one transaction. */
  shredWindowEvents: 4_096,
  /** Streams that a shred folds anew in one transaction. */
  shredWindowStreams: 64,
  /** Tries at writing the file anew in one run, and the wait between two of them. */
  shredCleanTriesMax: 5,
  shredCleanWaitMs: 200,
  /** How long a shred that cannot go on waits in an open store before it is tried again. */
  shredRetryMs: 60_000,
  /** How long an opening waits for an interrupted rotation before it goes on behind it. */
  rotationResumeMs: 500,
  /** Recovery keys of one keyring. */
  recoveryKeysMax: 8,
  /** What a key provider may take for an operation that a commit waits for. */
  keyDeadlineMs: 40,
  /** To open a provider: its process, its device, its login. */
  keyOpenMs: 1_500,
  /** To make a key; a TPM searches for primes. */
  keyGenerateMs: 15_000,
  /** Providers of one keyring; also how often one commit is tried with another of them. */
  keyProvidersMax: 8,
  /** Argon2id as stored in a keyring: what a hostile file may make this process spend. */
  argon2MemoryKibMax: 256 * 1024,
  argon2PassesMax: 16,
  argon2LanesMax: 16,
  /** One event on the wire: header and frames with their nonces, tags, salts and lengths. */
  bodyBytesMax: 260 * 1024,
  /** A JSON message, and the control part of a binary one. */
  messageJsonBytesMax: 8 * 1024 * 1024,
  /** One push request: leaves, bodies and control. */
  pushRequestBytesMax: 8 * 1024 * 1024,
  /** One pull page: bodies and all that proves them. */
  pullPageBytesMax: 32 * 1024 * 1024,
  /** Hashes of one inclusion or consistency path. */
  proofPathHashesMax: 128,
  /** Text of one grant. */
  grantBytesMax: 8 * 1024,
  /** Access tokens and assertions. */
  tokenBytesMax: 8 * 1024,
  tokenFormBytesMax: 16 * 1024,
  /** Devices of one tenant that one answer lists. */
  devicesMax: 100_000,
  /** Incarnations of one device that a server takes. */
  deviceLogsMax: 256,
  /** What a server keeps of one device outside the shared view. */
  quarantineBytesMax: 256 * 1024 * 1024,
  /** Of that, what shows forks: more of them says nothing new. */
  forkEvidenceBytesMax: 32 * 1024 * 1024,
  /** Headers that are looked at for one answer about conflicts, and of one stream. */
  conflictHeadersMax: 20_000,
  conflictStreamHeadersMax: 2_000,
  /** Candidates that one answer lists. */
  conflictsMax: 10_000,
  /** Leaves of the server log of one answer. */
  logLeavesMax: 1_000,
  /** One request to a server, from its start to the last byte of the answer. */
  requestMsMax: 60_000,
  /** One request to a backend without receipts, from its start to the last byte of the answer. */
  backendRequestMsMax: 20_000,
  /** An exchange with such a backend begins requests for so long, and then settles. */
  backendBeginMsMax: 30_000,
  /** Entries of one such exchange, and requests under way at once. */
  backendBatchEntriesMax: 64,
  backendRequestsMax: 8,
  /** One request's body, and what is read of an answer unless the application says otherwise. */
  backendBodyBytesMax: 1024 * 1024,
  backendAnswerBytesMax: 1024 * 1024,
  /** Events refused one after the other, none taken between, before refusals are not taken for the events' fault. */
  backendRefusalsInRowMax: 16,
  /** Rows are gathered to entries of a backup of this size; one row may go beyond. */
  backupEntryBytes: 1024 * 1024,
  /** One entry of a backup, as it is read. */
  backupEntryBytesMax: 64 * 1024 * 1024,
  /** Events whose indices are sorted at the end of a restore: in memory, some 60 bytes an event and index. */
  backupSortedEventsMax: 200_000,
  /** Cost of a passphrase that a backup was encrypted with (scrypt, 2^n · 1 KiB of memory), as it is read. */
  backupScryptLogMax: 20,
} as const;

invariant(
  limits.backupEntryBytesMax > limits.backupEntryBytes + limits.pullPageBytesMax,
  "an entry of a backup holds the largest row beside others",
);
invariant(limits.headerBytesMax < 65_535, "a header fits a tlog-tiles entry");
invariant(limits.eventBytesMax > limits.headerBytesMax, "an event holds its header");
invariant(limits.leaseExpiryMs > limits.leaseWaitMsMax, "nobody takes over a lease by waiting");
invariant(limits.commitBytesMax > limits.eventBytesMax, "a commit holds at least one event");
invariant(limits.noteSignaturesMax >= 16, "a note may carry the 16 signatures that C2SP demands");
invariant(
  limits.bodyBytesMax > limits.eventBytesMax + limits.eventSectionsMax * 256,
  "a body holds the largest event with what encryption adds",
);
invariant(
  // A conflict takes three requests: the first try, the fetch, the second try.
  limits.outboxLeaseExpiryMs > limits.backendBeginMsMax + 3 * limits.backendRequestMsMax,
  "an exchange with a backend ends before its lease",
);
invariant(limits.exchangeMsMax > limits.backendRequestMsMax, "a request ends before its exchange");
invariant(limits.backendBodyBytesMax > limits.eventBytesMax, "a request holds the largest event");
invariant(limits.pushBytesMax >= limits.bodyBytesMax, "an exchange holds the largest event");
invariant(
  limits.pushRequestBytesMax >
    limits.pushLeavesMax * 32 + limits.pushBytesMax + limits.noteBytesMax,
  "a push request holds its leaves, bodies and note",
);
