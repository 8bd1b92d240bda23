/**
 * Every route of protocol v1, once: what it takes, what it answers, who may ask, and which method of the engine it
 * is. The server is built from this table, and so is the OpenAPI document.
 */
import {
  checkpointAnswerShape,
  codeRequestShape,
  conflictsAnswerShape,
  consistencyAnswerShape,
  decodePush,
  decodeTokenRequest,
  devicesAnswerShape,
  encodePage,
  enrolAnswerShape,
  enrolRequestShape,
  epochAnswerShape,
  grantsAnswerShape,
  grantsRequestShape,
  type Hello,
  helloShape,
  HoldfastError,
  inclusionAnswerShape,
  leavesAnswerShape,
  limits,
  mediaTypes,
  presentRequestShape,
  pullRequestShape,
  pushAnswerShape,
  readJson,
  revokeRequestShape,
  type Shape,
  tailSubprotocol,
  tokenAnswerShape,
  writeJson,
} from "@holdfast/core";
import type { Caller, SyncServer } from "../engine/sync-server.ts";
import type { Tokens } from "./tokens.ts";

/** Type and bounds of a request's body. */
export interface RequestBody {
  readonly type: string;
  readonly bytesMax: number;
  /** Name of its JSON schema; for a binary message, of its control part. */
  readonly schema: string;
}

/** How a parameter of the address is written. */
export type Parameter = "count" | "log" | "stream";

/** What a route works on; `caller` is there exactly when the route needs a token. */
export interface Asked {
  readonly server: SyncServer;
  readonly tokens: Tokens;
  readonly caller: Caller | undefined;
  readonly body: Uint8Array;
  readonly query: Readonly<Record<string, number | string>>;
  /** What HTTP adds to the engine's greeting. */
  readonly greeting: Pick<Hello, "schema" | "encodings">;
}

/** One route. */
export interface Route {
  readonly method: "get" | "post";
  readonly path: string;
  /** Name in metrics and in the OpenAPI document. */
  readonly name: string;
  readonly summary: string;
  readonly token: boolean;
  readonly body?: RequestBody;
  readonly query?: Readonly<Record<string, Parameter>>;
  /** Parameters that may be left out. */
  readonly optional?: readonly string[];
  /** `undefined`: 204. */
  readonly answer?: { readonly type: string; readonly schema: string };
  /** It may also be upgraded to a WebSocket that brings such messages. */
  readonly socket?: { readonly subprotocol: string; readonly message: string };
  /** The tail is a stream and is opened by the application. */
  readonly run?: (asked: Asked) => Promise<Uint8Array | undefined>;
}

const json = (schema: string, bytesMax: number = limits.messageJsonBytesMax): RequestBody => ({
  type: mediaTypes.json,
  bytesMax,
  schema,
});
const jsonAnswer = (schema: string) => ({ type: mediaTypes.json, schema });
const smallBytes = 64 * 1024;
const openingBytes = 1024 * 1024;

function callerOf({ caller }: Asked): Caller {
  if (caller === undefined) throw new HoldfastError("token_refused");
  return caller;
}

async function answered<T>(shape: Shape<T>, answer: Promise<T>): Promise<Uint8Array> {
  return writeJson(shape, await answer);
}

async function nothing(done: Promise<void>): Promise<undefined> {
  await done;
  return undefined;
}

const count = (asked: Asked, name: string): number => Number(asked.query[name]);

/** The log that a request names, where it names one. */
const logIn = ({ query: { log } }: Asked): { readonly log?: string } =>
  log === undefined ? {} : { log: String(log) };

const joining: readonly Route[] = [
  {
    method: "get",
    path: "/v1",
    name: "hello",
    summary: "Who the server is, what it speaks, and its bounds",
    token: false,
    answer: jsonAnswer("Hello"),
    run: async ({ server, greeting }) =>
      writeJson(helloShape, { ...(await server.hello()), ...greeting }),
  },
  {
    method: "post",
    path: "/v1/enrol",
    name: "enrol",
    summary: "A device presents a code and its opening",
    token: false,
    body: json("EnrolRequest", openingBytes),
    answer: jsonAnswer("EnrolAnswer"),
    run: ({ server, body }) =>
      answered(enrolAnswerShape, server.enrol(readJson(enrolRequestShape, body))),
  },
  {
    method: "post",
    path: "/v1/token",
    name: "token",
    summary: "Client credentials with private_key_jwt (RFC 6749, RFC 7523)",
    token: false,
    body: { type: mediaTypes.form, bytesMax: limits.tokenFormBytesMax, schema: "TokenRequest" },
    answer: jsonAnswer("TokenAnswer"),
    run: ({ tokens, body }) =>
      answered(tokenAnswerShape, tokens.exchange(decodeTokenRequest(body).assertion)),
  },
];

/** The live tail, also over a WebSocket: `upgrade.ts`. */
export const tailRoute: Route = {
  method: "get",
  path: "/v1/tail",
  name: "tail",
  summary: "Live tail: hints of growth as server-sent events, or over a WebSocket",
  token: true,
  answer: { type: mediaTypes.events, schema: "Hint" },
  socket: { subprotocol: tailSubprotocol, message: "Hint" },
};

const exchanging: readonly Route[] = [
  {
    method: "post",
    path: "/v1/push",
    name: "push",
    summary: "What a device log has grown by",
    token: true,
    body: { type: mediaTypes.push, bytesMax: limits.pushRequestBytesMax, schema: "PushControl" },
    answer: jsonAnswer("PushAnswer"),
    run: (asked) =>
      answered(
        pushAnswerShape,
        asked.server.push(callerOf(asked), decodePush(asked.body), asked.body),
      ),
  },
  {
    method: "post",
    path: "/v1/pull",
    name: "pull",
    summary: "Events of scopes after a position, with all that proves them",
    token: true,
    body: json("PullRequest"),
    answer: { type: mediaTypes.page, schema: "PullControl" },
    run: async (asked) =>
      encodePage(await asked.server.pull(callerOf(asked), readJson(pullRequestShape, asked.body))),
  },
  tailRoute,
  {
    method: "get",
    path: "/v1/conflicts",
    name: "conflicts",
    summary: "Candidates of conflicts, from headers alone",
    token: true,
    query: { stream: "stream" },
    optional: ["stream"],
    answer: jsonAnswer("ConflictsAnswer"),
    run: (asked) => {
      const { stream } = asked.query;
      const named = stream === undefined ? undefined : String(stream);
      return answered(conflictsAnswerShape, asked.server.conflicts(callerOf(asked), named));
    },
  },
];

const administering: readonly Route[] = [
  {
    method: "get",
    path: "/v1/grants",
    name: "grants",
    summary: "Wrapped keys for the asking installation",
    token: true,
    query: { after: "count" },
    answer: jsonAnswer("GrantsAnswer"),
    run: (asked) =>
      answered(grantsAnswerShape, asked.server.grants(callerOf(asked), count(asked, "after"))),
  },
  {
    method: "post",
    path: "/v1/grants",
    name: "send_grants",
    summary: "Wrapped keys on their way to other installations",
    token: true,
    body: json("GrantsRequest"),
    run: (asked) =>
      nothing(asked.server.sendGrants(callerOf(asked), readJson(grantsRequestShape, asked.body))),
  },
  {
    method: "get",
    path: "/v1/devices",
    name: "devices",
    summary: "Every enrolled device of the tenant",
    token: true,
    answer: jsonAnswer("DevicesAnswer"),
    run: async (asked) =>
      writeJson(devicesAnswerShape, { devices: await asked.server.devices(callerOf(asked)) }),
  },
  {
    method: "post",
    path: "/v1/devices/revoke",
    name: "revoke",
    summary: "Ends a device's part in the tenant (admin)",
    token: true,
    body: json("RevokeRequest", smallBytes),
    run: (asked) =>
      nothing(asked.server.revoke(callerOf(asked), readJson(revokeRequestShape, asked.body))),
  },
  {
    method: "post",
    path: "/v1/codes",
    name: "codes",
    summary: "Registers an enrolment code (admin)",
    token: true,
    body: json("CodeRequest", smallBytes),
    run: (asked) =>
      nothing(asked.server.addCode(callerOf(asked), readJson(codeRequestShape, asked.body))),
  },
];

const proving: readonly Route[] = [
  {
    method: "get",
    path: "/v1/log/checkpoint",
    name: "checkpoint",
    summary: "Newest checkpoint of the server log, or of a former one",
    token: true,
    query: { log: "log" },
    optional: ["log"],
    answer: jsonAnswer("CheckpointAnswer"),
    run: (asked) =>
      answered(checkpointAnswerShape, asked.server.checkpoint(callerOf(asked), logIn(asked).log)),
  },
  {
    method: "get",
    path: "/v1/log/inclusion",
    name: "inclusion",
    summary: "Inclusion proof of one leaf",
    token: true,
    query: { index: "count", size: "count", log: "log" },
    optional: ["log"],
    answer: jsonAnswer("InclusionAnswer"),
    run: (asked) => {
      const place = { index: count(asked, "index"), size: count(asked, "size") };
      const request = { ...place, ...logIn(asked) };
      return answered(inclusionAnswerShape, asked.server.inclusion(callerOf(asked), request));
    },
  },
  {
    method: "get",
    path: "/v1/log/consistency",
    name: "consistency",
    summary: "Consistency proof between two sizes",
    token: true,
    query: { before: "count", size: "count", log: "log" },
    optional: ["log"],
    answer: jsonAnswer("ConsistencyAnswer"),
    run: (asked) => {
      const sizes = { before: count(asked, "before"), size: count(asked, "size") };
      const request = { ...sizes, ...logIn(asked) };
      return answered(consistencyAnswerShape, asked.server.consistency(callerOf(asked), request));
    },
  },
  {
    method: "get",
    path: "/v1/log/leaves",
    name: "leaves",
    summary: "Leaves of the server log, for monitors",
    token: true,
    query: { from: "count", to: "count", log: "log" },
    optional: ["log"],
    answer: jsonAnswer("LeavesAnswer"),
    run: (asked) => {
      const { server } = asked;
      const [from, to] = [count(asked, "from"), count(asked, "to")];
      const found = server.leaves(callerOf(asked), from, to, logIn(asked).log);
      return answered(leavesAnswerShape, found);
    },
  },
  {
    method: "get",
    path: "/v1/log/epoch",
    name: "epoch",
    summary: "How a server log of the tenant goes on in another one",
    token: true,
    query: { log: "log", size: "count" },
    answer: jsonAnswer("EpochAnswer"),
    run: (asked) => {
      const request = { log: String(asked.query["log"]), size: count(asked, "size") };
      return answered(epochAnswerShape, asked.server.epoch(callerOf(asked), request));
    },
  },
];

const presenting: Route = {
  method: "post",
  path: "/v1/log/receipts",
  name: "present",
  summary: "What the server has signed and does not know any more",
  token: true,
  body: json("PresentRequest"),
  run: (asked) =>
    nothing(asked.server.present(callerOf(asked), readJson(presentRequestShape, asked.body))),
};

/** Every route of protocol v1. */
export const routes: readonly Route[] = [
  ...joining,
  ...exchanging,
  ...administering,
  ...proving,
  presenting,
];
