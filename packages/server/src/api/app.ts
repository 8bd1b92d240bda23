/**
 * The HTTP application over the engine: bounds, tokens and codecs around the routes of `routes.ts`. It answers
 * every request with a message or with a coded refusal; what is the server's own trouble is told to the observer.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { HttpBindings } from "@hono/node-server";
import {
  base64url,
  canonicalJson,
  type Clock,
  type Crypto,
  type ErrorCode,
  type Hello,
  HoldfastError,
  mediaTypes,
  type Observer,
  protocolDigest,
  type Random,
  type Timers,
} from "@holdfast/core";
import { type Context, Hono } from "hono";
import type { SyncServer } from "../engine/sync-server.ts";
import { addressName } from "./address.ts";
import { headersOf, messageAnswer, refusalAnswer } from "./answers.ts";
import { readBody } from "./body.ts";
import { openApiDocument } from "./openapi.ts";
import { readQuery } from "./query.ts";
import { createRates, type Rate } from "./rates.ts";
import { createReplayMemory, type ReplayMemory } from "../engine/replay-memory.ts";
import { type Route, routes, tailRoute } from "./routes.ts";
import { engineStatus } from "./engine-status.ts";
import { refusalFor } from "./status.ts";
import { openEventTail } from "./event-tail.ts";
import type { Tail } from "./tail.ts";
import { type Admitted, createTokens, type TokenKey, type Tokens } from "./tokens.ts";
import { createUpgrade, type Upgrade } from "./upgrade.ts";

/** Bounds of one server, all from the configuration. */
export interface ApiBounds {
  readonly addressRate: Rate;
  readonly deviceRate: Rate;
  /** Requests at once: of one address, and of all. */
  readonly addressRequests: number;
  readonly allRequests: number;
  /** Tails at once of one device. */
  readonly deviceTails: number;
  readonly headersMax: number;
  readonly bodySilenceMs: number;
}

/** Ports of {@link createApi}. */
export interface ApiDeps {
  readonly server: SyncServer;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly crypto: Pick<Crypto, "sha256">;
  readonly observer: Observer;
  readonly host: string;
  readonly tokenKey: TokenKey;
  /** Shared by all nodes of a server; default: this process's own. */
  readonly replay?: ReplayMemory;
  readonly bounds: ApiBounds;
}

/** The application, and the way to end it. */
export interface Api {
  readonly fetch: (request: Request, env: HttpBindings) => Promise<Response> | Response;
  /** A request that asks for the live tail over a WebSocket. */
  readonly upgrade: Upgrade;
  /** From now on `/readyz` answers `server_busy`, and connections end with their next answer; tails end. */
  drain(): void;
  /** From now on every message answers `server_busy`. */
  stop(): void;
}

/** How far stopping has come. */
interface Stages {
  draining: boolean;
  stopping: boolean;
}

type Bindings = { readonly Bindings: HttpBindings };

/** The application. */
export function createApi(deps: ApiDeps): Api {
  const { observer, bounds } = deps;
  const app = new Hono<Bindings>();
  const state: Stages = { draining: false, stopping: false };
  const addressShare = createRates(deps.clock, bounds.addressRate);
  const enter = createEntrance(deps, state, addressShare);
  const gate = createGate(deps, state, enter);
  const callers = createCounts(deviceRequestsMax);
  const tails = createTails(deps);
  const replay = deps.replay ?? createReplayMemory();
  const tokens = counted(createTokens({ ...deps, key: deps.tokenKey, replay }), observer);
  const schema = protocolDigest(deps.crypto);
  const greeting: Pick<Hello, "schema" | "encodings"> = { schema, encodings: ["zstd", "gzip"] };
  const deviceShare = createRates(deps.clock, bounds.deviceRate);

  const admitted = async (given: readonly string[]): Promise<Admitted> => {
    try {
      const caller = await tokens.admit(given);
      deviceShare(`${caller.tenant}/${caller.device}`);
      return caller;
    } catch (error) {
      observer.count("api_auth", 1, { operation: "token", result: "refused" });
      throw error;
    }
  };

  const answer = async (
    route: Route,
    context: Context<Bindings>,
    requestId: string,
  ): Promise<Response> => {
    const { incoming, outgoing } = context.env;
    const given = incoming.headersDistinct["authorization"] ?? [];
    const caller = route.token ? await admitted(given) : undefined;
    const query = readQuery(route, new URL(context.req.url).search);
    if (route.run === undefined && caller !== undefined) {
      // A HEAD would open a stream that nobody reads.
      if (incoming.method !== "GET") throw new HoldfastError("method_refused");
      const { body } = await tails.open(caller, (ended) => openEventTail(deps, caller, ended));
      return new Response(body, { headers: headersOf(requestId, mediaTypes.events) });
    }
    if (caller !== undefined) {
      whenSent(outgoing, callers.enter(`${caller.tenant}/${caller.device}`));
    }
    const body =
      route.body === undefined
        ? new Uint8Array()
        : await readBody(incoming, { ...route.body, silenceMs: bounds.bodySilenceMs });
    const asked = { server: deps.server, tokens, caller, body, query, greeting };
    const message = await route.run?.(asked);
    const type = route.answer?.type ?? mediaTypes.json;
    return messageAnswer(requestId, type, message, context.req.header("accept-encoding"));
  };

  for (const route of routes) {
    app.on(route.method.toUpperCase(), route.path, (context) =>
      gate(route, context, (requestId) => answer(route, context, requestId)),
    );
  }
  addPlainRoutes(app, deps, state, addressShare);
  return {
    fetch: (request, env) => app.fetch(request, env),
    upgrade: createUpgrade({
      ...deps,
      enter,
      admitted,
      openTail: tails.open,
      opened: () => {
        count(observer, tailRoute.name, 101);
      },
      refuse: (error) => refuse(deps, tailRoute.name, requestIdOf(deps), error),
    }),
    drain() {
      state.draining = true;
      tails.endAll();
    },
    stop() {
      state.draining = true;
      state.stopping = true;
      tails.endAll();
    },
  };
}

/** Counts what came of assertions. */
function counted(tokens: Tokens, observer: Observer): Tokens {
  return {
    ...tokens,
    async exchange(assertion) {
      const count = (result: string): void => {
        observer.count("api_auth", 1, { operation: "assertion", result });
      };
      try {
        const answer = await tokens.exchange(assertion);
        count("ok");
        return answer;
      } catch (error) {
        count("refused");
        throw error;
      }
    },
  };
}

/**
 * Requests of one device at once, until their answers were taken: a page may have megabytes, and whoever asks and
 * does not read would fill the memory of all.
 */
const deviceRequestsMax = 16;

/** Counts of what is under way, by name. */
function createCounts(most: number) {
  const active = new Map<string, number>();
  return {
    /** Throws `requests_too_many`; what it answers takes one off again, once. */
    enter(name: string): () => void {
      const count = active.get(name) ?? 0;
      if (count >= most) throw new HoldfastError("requests_too_many", { retry_after_ms: 1_000 });
      active.set(name, count + 1);
      return () => {
        const left = (active.get(name) ?? 1) - 1;
        if (left === 0) active.delete(name);
        else active.set(name, left);
      };
    },
  };
}

/** Once the answer was taken, or nobody is there to take it. */
function whenSent(outgoing: ServerResponse, leave: () => void): void {
  if (outgoing.closed || outgoing.destroyed) leave();
  else outgoing.once("close", leave);
}

/** Counts a request in; what it returns counts it out. */
type Enter = (incoming: IncomingMessage) => () => void;

/** What stands before every message: is the server there for it, and is it within the address's share? */
function createEntrance(
  { bounds }: ApiDeps,
  state: Readonly<Stages>,
  addressShare: (name: string) => void,
): Enter {
  const addresses = createCounts(bounds.addressRequests);
  let all = 0;

  return (incoming) => {
    const address = addressName(incoming.socket.remoteAddress);
    if (state.stopping) throw new HoldfastError("server_busy");
    if (incoming.rawHeaders.length / 2 > bounds.headersMax) {
      throw new HoldfastError("headers_too_many", { max: bounds.headersMax });
    }
    addressShare(address);
    if (all >= bounds.allRequests) throw new HoldfastError("server_busy");
    const leave = addresses.enter(address);
    all++;
    return () => {
      all--;
      leave();
    };
  };
}

/** Refusals with a code, whatever a request fails of. */
function createGate(deps: ApiDeps, state: Readonly<Stages>, enter: Enter) {
  return async (
    route: Route,
    context: Context<Bindings>,
    work: (requestId: string) => Promise<Response>,
  ): Promise<Response> => {
    const requestId = requestIdOf(deps);
    // The next request of this client goes to a node that stays.
    if (state.draining) context.env.outgoing.setHeader("connection", "close");
    let leave: (() => void) | undefined;
    try {
      leave = enter(context.env.incoming);
      const response = await work(requestId);
      count(deps.observer, route.name, response.status);
      return response;
    } catch (error) {
      return refuse(deps, route.name, requestId, error);
    } finally {
      // Tails have a bound of their own; they are open for as long as their token.
      if (leave !== undefined && route.run === undefined) leave();
      else if (leave !== undefined) whenSent(context.env.outgoing, leave);
    }
  };
}

function requestIdOf({ random }: ApiDeps): string {
  return base64url(random.bytes(12));
}

function count(observer: Observer, route: string, status: number): void {
  observer.count("api_requests", 1, { operation: route, result: `${Math.floor(status / 100)}xx` });
}

function refuse({ observer }: ApiDeps, route: string, requestId: string, error: unknown): Response {
  const refusal = refusalFor(error, engineStatus);
  count(observer, route, refusal.status);
  observer.count("api_refusals", 1, { code: refusal.code });
  if (refusal.status >= 500) {
    const cause = error instanceof HoldfastError ? error.code : "unexpected";
    observer.log("error", "api_failed", { operation: route, code: cause, request: requestId });
  }
  return refusalAnswer(requestId, refusal);
}

/** Open tails, bounded for each device whatever carries them, so that they can be ended. */
function createTails(deps: ApiDeps) {
  const open = new Map<string, Set<Tail>>();
  let all = 0;
  let isStopping = false;
  const gauge = (by: number): void => {
    all += by;
    deps.observer.gauge("api_tails", all);
  };
  return {
    async open<T extends Tail>(caller: Admitted, start: (ended: () => void) => T): Promise<T> {
      const name = `${caller.tenant}/${caller.device}`;
      // Revoked devices read nothing more; the engine says so to any reader's question.
      await deps.server.checkpoint(caller);
      // Whoever was let in before may have waited while the others were ended.
      if (isStopping) throw new HoldfastError("server_busy");
      const own = open.get(name) ?? new Set<Tail>();
      if (own.size >= deps.bounds.deviceTails) {
        throw new HoldfastError("requests_too_many", { retry_after_ms: 1_000 });
      }
      const tail = start(() => {
        own.delete(tail);
        if (own.size === 0) open.delete(name);
        gauge(-1);
      });
      own.add(tail);
      open.set(name, own);
      gauge(1);
      return tail;
    },
    endAll() {
      isStopping = true;
      for (const own of open.values()) for (const tail of own) tail.end("stopping");
    },
  };
}

/** Health, the document, and what there is not. */
function addPlainRoutes(
  app: Hono<Bindings>,
  deps: ApiDeps,
  state: Readonly<Stages>,
  addressShare: (name: string) => void,
): void {
  const document = canonicalJson(openApiDocument());
  const plain = (text: string, status = 200): Response =>
    new Response(text, { status, headers: headersOf(requestIdOf(deps), mediaTypes.json) });
  const take = (context: Context<Bindings>): void => {
    addressShare(addressName(context.env.incoming.socket.remoteAddress));
  };
  app.get("/healthz", () => plain('{"status":"ok"}'));
  app.get("/readyz", async (context) => {
    try {
      if (state.draining) throw new HoldfastError("server_busy");
      take(context);
      await deps.server.ready();
      return plain('{"status":"ready"}');
    } catch (error) {
      return refuse(deps, "readyz", requestIdOf(deps), error);
    }
  });
  app.get("/openapi.json", (context) => {
    take(context);
    return plain(document);
  });
  const known = new Set(routes.map(({ path }) => path));
  app.all("*", (context) => {
    take(context);
    const code: ErrorCode = known.has(context.req.path) ? "method_refused" : "not_found";
    return refuse(deps, "none", requestIdOf(deps), new HoldfastError(code));
  });
  app.onError((error) => refuse(deps, "none", requestIdOf(deps), error));
}
