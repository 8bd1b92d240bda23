/**
 * The port between the sync engine and a server: one method a message, decoded on both sides. HTTP is in
 * `http-transport.ts`; the simulator has its own. A method either answers or throws a `HoldfastError` whose
 * code `retryOf` (retry.ts) classifies; whether the server acted on a request that threw is never known.
 */
import type {
  CodeRequest,
  EnrolAnswer,
  EnrolledDevice,
  EnrolRequest,
  RevokeRequest,
} from "./messages/enrol.ts";
import type { ConflictsAnswer } from "./messages/conflicts.ts";
import type { EpochAnswer, EpochRequest } from "./messages/epoch.ts";
import type { GrantsAnswer, GrantsRequest } from "./messages/grants.ts";
import type { Hello } from "./messages/hello.ts";
import type {
  CheckpointAnswer,
  ConsistencyAnswer,
  ConsistencyRequest,
  InclusionAnswer,
  InclusionRequest,
} from "./messages/log.ts";
import type { PresentRequest } from "./messages/present.ts";
import type { PullPage, PullRequest } from "./messages/pull.ts";
import type { PushAnswer, PushRequest } from "./messages/push.ts";
import type { TokenAnswer, TokenRequest } from "./messages/token.ts";

/** What every call takes: an end, and the access token where the message needs one. */
export interface CallOptions {
  readonly signal?: AbortSignalLike;
  readonly token?: string;
}

/** As much of an AbortSignal as the core uses. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  addEventListener(type: "abort", listener: () => void): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/** Told by the live tail; a lost hint is harmless. */
export interface TailListener {
  /** There are events up to that position. */
  hint(head: number): void;
  /** The tail ended; the engine opens it again later. */
  ended(error: unknown): void;
}

/** A server as the engine sees it: one method a message. Throws the codes that retry.ts classifies. */
export interface Transport {
  /** Names breaker and attempts: scheme, host and port, without credentials. */
  readonly endpoint: string;
  hello(options: CallOptions): Promise<Hello>;
  enrol(request: EnrolRequest, options: CallOptions): Promise<EnrolAnswer>;
  token(request: TokenRequest, options: CallOptions): Promise<TokenAnswer>;
  push(request: PushRequest, options: CallOptions): Promise<PushAnswer>;
  pull(request: PullRequest, options: CallOptions): Promise<PullPage>;
  grants(after: number, options: CallOptions): Promise<GrantsAnswer>;
  sendGrants(request: GrantsRequest, options: CallOptions): Promise<void>;
  devices(options: CallOptions): Promise<readonly EnrolledDevice[]>;
  addCode(request: CodeRequest, options: CallOptions): Promise<void>;
  revoke(request: RevokeRequest, options: CallOptions): Promise<void>;
  conflicts(stream: string | undefined, options: CallOptions): Promise<ConflictsAnswer>;
  checkpoint(options: CallOptions): Promise<CheckpointAnswer>;
  inclusion(request: InclusionRequest, options: CallOptions): Promise<InclusionAnswer>;
  consistency(request: ConsistencyRequest, options: CallOptions): Promise<ConsistencyAnswer>;
  /** How a log of the tenant goes on in another one. Throws `not_found` where it does not. */
  epoch(request: EpochRequest, options: CallOptions): Promise<EpochAnswer>;
  /** What the server has signed and does not know any more. Throws `server_put_back` where it had not known it. */
  present(request: PresentRequest, options: CallOptions): Promise<void>;
  /** Opens the live tail; the returned function closes it. */
  tail(listener: TailListener, options: CallOptions): () => void;
}
