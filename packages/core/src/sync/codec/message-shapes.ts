/** The shape of every message of protocol v1 that is JSON, and of the control parts of the two binary ones. */
import { roles } from "../../event/system.ts";
import { isIndexRanges, type IndexRanges, type ProvenLeaf } from "../../proof/server-leaf.ts";
import { limits } from "../../std/limits.ts";
import type { ConflictCandidate, ConflictsAnswer } from "../messages/conflicts.ts";
import type {
  CodeRequest,
  EnrolAnswer,
  EnrolledDevice,
  EnrolRequest,
  RevokeRequest,
} from "../messages/enrol.ts";
import type { EpochAnswer, EpochRequest } from "../messages/epoch.ts";
import type { GrantsAnswer, GrantsRequest } from "../messages/grants.ts";
import type { Hello } from "../messages/hello.ts";
import type {
  CheckpointAnswer,
  ConsistencyAnswer,
  ConsistencyRequest,
  InclusionAnswer,
  InclusionRequest,
  LeavesAnswer,
} from "../messages/log.ts";
import type { PresentedReceipt, PresentRequest } from "../messages/present.ts";
import type { PulledEvent, PulledLog, PullPage, PullRequest } from "../messages/pull.ts";
import type { Disposition, PushAnswer, PushRequest } from "../messages/push.ts";
import {
  bytes,
  exactly,
  flag,
  list,
  map,
  pair,
  record,
  type Shape,
  tagged,
  text,
  time,
  where,
  whole,
  word,
  wordOr,
} from "./shape.ts";

const id = text(22, "^[A-Za-z0-9_-]{22}$");
const incarnation = text(16, "^[0-9a-f]{16}$");
const digest = text(43, "^[A-Za-z0-9_-]{43}$");
const tenant = text(32, "^([A-Za-z0-9_-]{22}|[0-9a-f]{32})$");
const code = text(limits.nameBytesMax, "^[a-z0-9_]+$");
const reason = text(limits.nameBytesMax, "^[a-z0-9][a-z0-9._-]*$");
const note = text(limits.noteBytesMax);
const header = text(limits.headerBytesMax);
const role = word(...roles);
const hash = bytes(32);
const path = list(hash, limits.proofPathHashesMax);
const base64Text = text(1_024, "^[A-Za-z0-9+/]+={0,2}$");

const provenLeaf: Shape<ProvenLeaf> = record<ProvenLeaf>({
  text: text(limits.headerBytesMax),
  index: whole(),
  path,
});

const ranges: Shape<IndexRanges> = where(list(pair(whole()), limits.pushLeavesMax), (value) =>
  isIndexRanges(value, Number.MAX_SAFE_INTEGER),
);

/** `GET /v1`. */
export const helloShape: Shape<Hello> = record<Hello>({
  protocol: record<Hello["protocol"]>({ oldest: exactly(1), newest: exactly(1) }),
  schema: text(64, "^[0-9a-f]{64}$"),
  key: base64Text,
  host: text(limits.noteNameBytesMax, "^[A-Za-z0-9.:_-]+$"),
  reads: word("granted", "none"),
  encodings: list(word("zstd", "gzip"), 2),
  limits: record<Hello["limits"]>({
    pushBytes: whole(),
    pushBodies: whole(),
    pushLeaves: whole(),
    pullEvents: whole(),
    pullBytes: whole(),
    eventBytes: whole(),
  }),
  time,
});

/** `POST /v1/enrol`. */
export const enrolRequestShape: Shape<EnrolRequest> = record<EnrolRequest>({
  proof: digest,
  binding: digest,
  opening: header,
  note,
  path,
});

/** Answer to `POST /v1/enrol`. */
export const enrolAnswerShape: Shape<EnrolAnswer> = record<EnrolAnswer>({
  tenant,
  device: id,
  role,
  founder: id,
  enrolment: provenLeaf,
  checkpoint: note,
  node: id,
});

/** `POST /v1/codes`. */
export const codeRequestShape: Shape<CodeRequest> = record<CodeRequest>({
  digest,
  role,
  expires: time,
});

const enrolledLog = record<EnrolledDevice["logs"][number]>(
  { incarnation, size: whole(), receivedAt: time, cutoff: whole(), opening: header },
  ["cutoff"],
);

const enrolledDevice: Shape<EnrolledDevice> = record<EnrolledDevice>(
  {
    device: id,
    role,
    status: word("active", "revoked"),
    enrolledAt: time,
    code: digest,
    binding: digest,
    logs: list(enrolledLog, limits.pullOriginsMax),
  },
  ["code", "binding"],
);

/** Answer to `GET /v1/devices`. */
export interface DevicesAnswer {
  readonly devices: readonly EnrolledDevice[];
}

/** Answer to `GET /v1/devices`. */
export const devicesAnswerShape: Shape<DevicesAnswer> = record<DevicesAnswer>({
  devices: list(enrolledDevice, limits.devicesMax),
});

/** `POST /v1/devices/revoke`. */
export const revokeRequestShape: Shape<RevokeRequest> = record<RevokeRequest>({
  device: id,
  why: reason,
});

const grant = text(limits.grantBytesMax);

/** `POST /v1/grants`. */
export const grantsRequestShape: Shape<GrantsRequest> = record<GrantsRequest>({
  grants: list(grant, limits.grantsMax),
});

/** Answer to `GET /v1/grants`. */
export const grantsAnswerShape: Shape<GrantsAnswer> = record<GrantsAnswer>({
  grants: list(
    record<GrantsAnswer["grants"][number]>({ number: whole(), grant }),
    limits.grantsMax,
  ),
  more: flag,
});

/** Answer to `GET /v1/conflicts`. */
export const conflictsAnswerShape: Shape<ConflictsAnswer> = record<ConflictsAnswer>({
  candidates: list(
    record<ConflictCandidate>({ stream: id, leaves: pair(digest) }),
    limits.conflictsMax,
  ),
});

const logName = text(limits.noteNameBytesMax, "^[A-Za-z0-9._:/[\\]-]+$");

/** Answer to `GET /v1/log/checkpoint`. */
export const checkpointAnswerShape: Shape<CheckpointAnswer> = record<CheckpointAnswer>({
  checkpoint: note,
});

/** Query of `GET /v1/log/inclusion`. */
export const inclusionRequestShape: Shape<InclusionRequest> = record<InclusionRequest>(
  { index: whole(), size: whole(), log: logName },
  ["log"],
);

/** Answer to `GET /v1/log/inclusion`. */
export const inclusionAnswerShape: Shape<InclusionAnswer> = record<InclusionAnswer>({
  leaf: provenLeaf,
});

/** Query of `GET /v1/log/consistency`. */
export const consistencyRequestShape: Shape<ConsistencyRequest> = record<ConsistencyRequest>(
  { before: whole(), size: whole(), log: logName },
  ["log"],
);

/** Answer to `GET /v1/log/consistency`. */
export const consistencyAnswerShape: Shape<ConsistencyAnswer> = record<ConsistencyAnswer>({
  path,
});

/** Answer to `GET /v1/log/leaves`. */
export const leavesAnswerShape: Shape<LeavesAnswer> = record<LeavesAnswer>({
  leaves: list(text(limits.headerBytesMax), limits.logLeavesMax),
});

const logOrigin = text(limits.noteNameBytesMax, "^[^/]+/holdfast/[^/]+/(0|[1-9][0-9]{0,14})$");

/** Query of `GET /v1/log/epoch`. */
export const epochRequestShape: Shape<EpochRequest> = record<EpochRequest>({
  log: logOrigin,
  size: whole(),
});

/** Answer to `GET /v1/log/epoch`. */
export const epochAnswerShape: Shape<EpochAnswer> = record<EpochAnswer>({
  epoch: provenLeaf,
  checkpoint: note,
  last: note,
  consistency: path,
});

/** `POST /v1/log/receipts`. */
export const presentRequestShape: Shape<PresentRequest> = record<PresentRequest>({
  checkpoint: note,
  receipts: list(
    record<PresentedReceipt>({ receipt: provenLeaf, checkpoint: note }),
    limits.presentedReceiptsMax,
  ),
});

/** What of a push request is not binary. */
export type PushControl = Omit<PushRequest, "entries" | "fills">;

/** Control part of `POST /v1/push`. */
export const pushControlShape: Shape<PushControl> = record<PushControl>({
  device: id,
  incarnation,
  from: whole(),
  note,
  checkpoint: whole(),
});

const disposition: Shape<Disposition> = record<Disposition>(
  {
    index: whole(),
    disposition: word("duplicate", "rejected", "quarantined", "owed", "accepted-shredded"),
    code,
  },
  ["code"],
);

type Receipted = Extract<PushAnswer, { readonly status: "receipted" }>;
type Behind = Extract<PushAnswer, { readonly status: "behind" }>;
type Fork = Extract<PushAnswer, { readonly status: "fork" }>;

/** Answer to `POST /v1/push`. */
export const pushAnswerShape: Shape<PushAnswer> = tagged<PushAnswer>("status", {
  receipted: record<Receipted>({
    status: word("receipted"),
    size: whole(),
    owed: ranges,
    receipt: provenLeaf,
    checkpoint: note,
    consistency: path,
    dispositions: list(disposition, limits.pushLeavesMax),
  }),
  behind: record<Behind>({ status: word("behind"), size: whole() }),
  fork: record<Fork>({
    status: word("fork"),
    index: whole(),
    held: note,
    size: whole(),
  }),
});

/** `POST /v1/pull`. */
export const pullRequestShape: Shape<PullRequest> = record<PullRequest>(
  {
    scopes: wordOr("*", list(id, limits.pullScopesMax)),
    after: whole(),
    events: whole(limits.pullEventsMax, 1),
    bytes: whole(limits.pullBytesMax, 1),
    checkpoint: whole(),
    held: map("^[A-Za-z0-9_-]{22}/[0-9a-f]{16}$", whole(), limits.pullOriginsMax),
    own: flag,
  },
  ["own"],
);

const pulledLog: Shape<PulledLog> = record<PulledLog>({
  device: id,
  incarnation,
  note,
  receipt: provenLeaf,
  enrolment: provenLeaf,
  opening: header,
  hashes: list(hash, limits.pullEventsMax * limits.proofPathHashesMax),
  consistency: path,
});

/** What of a pull page is not binary; `placed`: log, index and position of each event. */
export type PullControl = Omit<PullPage, "events"> & {
  readonly placed: readonly Omit<PulledEvent, "body">[];
};

/** Control part of the answer to `POST /v1/pull`. */
export const pullControlShape: Shape<PullControl> = record<PullControl>({
  next: whole(),
  head: whole(),
  checkpoint: note,
  consistency: path,
  logs: list(pulledLog, limits.pullEventsMax),
  placed: list(
    record<Omit<PulledEvent, "body">>({ log: whole(), index: whole(), position: whole() }),
    limits.pullEventsMax,
  ),
});
