/**
 * The wire of protocol v1: which message has which shape, and the digest of them all that `hello` states.
 * Normative text: spec/sync-protocol.md. Binary messages: codec/bodies.ts and codec/push-codec.ts.
 */
import { hex, utf8 } from "../std/bytes.ts";
import { canonicalJson } from "../std/jcs.ts";
import { limits } from "../std/limits.ts";
import type { Crypto } from "../std/ports.ts";
import * as shapes from "./codec/message-shapes.ts";
import { errorAnswerShape, hintShape } from "./codec/error-codec.ts";
import { tokenAnswerShape } from "./codec/token-codec.ts";
import type { JsonSchema } from "./codec/shape.ts";

/** Version of the wire; a change of any shape raises it. */
export const protocolVersion = 1;

/** JSON Schema (2020-12) of every message part that is JSON, by name. */
export const messageSchemas: Readonly<Record<string, JsonSchema>> = {
  CheckpointAnswer: shapes.checkpointAnswerShape.schema,
  CodeRequest: shapes.codeRequestShape.schema,
  ConflictsAnswer: shapes.conflictsAnswerShape.schema,
  ConsistencyAnswer: shapes.consistencyAnswerShape.schema,
  ConsistencyRequest: shapes.consistencyRequestShape.schema,
  DevicesAnswer: shapes.devicesAnswerShape.schema,
  EnrolAnswer: shapes.enrolAnswerShape.schema,
  EnrolRequest: shapes.enrolRequestShape.schema,
  EpochAnswer: shapes.epochAnswerShape.schema,
  EpochRequest: shapes.epochRequestShape.schema,
  ErrorAnswer: errorAnswerShape.schema,
  GrantsAnswer: shapes.grantsAnswerShape.schema,
  GrantsRequest: shapes.grantsRequestShape.schema,
  Hello: shapes.helloShape.schema,
  Hint: hintShape.schema,
  InclusionAnswer: shapes.inclusionAnswerShape.schema,
  InclusionRequest: shapes.inclusionRequestShape.schema,
  LeavesAnswer: shapes.leavesAnswerShape.schema,
  PresentRequest: shapes.presentRequestShape.schema,
  PullControl: shapes.pullControlShape.schema,
  PullRequest: shapes.pullRequestShape.schema,
  PushAnswer: shapes.pushAnswerShape.schema,
  PushControl: shapes.pushControlShape.schema,
  RevokeRequest: shapes.revokeRequestShape.schema,
  TokenAnswer: tokenAnswerShape.schema,
};

/** What JSON Schema cannot say: the layouts of binary messages, and their bounds. */
const layouts = {
  body: "u32 header length, header, frames",
  frames: "u8 count; u8 name length, name, key 16, u8 state, u32 length, bytes",
  states: "present owed shredded evicted",
  push: "u32 length, control; 0 u32 count, leaf 32 | 1 body | 2 u64 index, body",
  page: "u32 length, control; body per placed",
  token: "grant_type, client_assertion_type, client_assertion",
  bounds: [
    limits.bodyBytesMax,
    limits.eventSectionsMax,
    limits.headerBytesMax,
    limits.messageJsonBytesMax,
    limits.pullPageBytesMax,
    limits.pushBodiesMax,
    limits.pushBytesMax,
    limits.pushLeavesMax,
    limits.pushRequestBytesMax,
  ],
};

/** SHA-256 over all shapes and layouts, hex: what `hello` states as `schema`. */
export function protocolDigest(crypto: Pick<Crypto, "sha256">): string {
  return hex(crypto.sha256(utf8(canonicalJson({ messages: messageSchemas, layouts }))));
}
