/**
 * A real server for tests: the engine over SQLite in memory, the application, a listening socket, and devices that
 * prove themselves by assertions.
 */
import { generateKeyPairSync } from "node:crypto";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import {
  base64url,
  createHttpTransport,
  enrolmentProof,
  formatEnrolmentCode,
  type Holdfast,
  keyFingerprint,
  proofDigest,
  utf8,
} from "@holdfast/core";
import { createNodeCrypto, createNodeHttp, openSqlite } from "@holdfast/node";
import {
  createRecordingObserver,
  createTestServer,
  type PushingDevice,
  type TestEngine,
  testHost,
  type TestServer,
} from "@holdfast/testkit";
import {
  type Api,
  type ApiBounds,
  createApi,
  createListener,
  type ListenerBounds,
  type ReplayMemory,
} from "@holdfast/server";

export const crypto = createNodeCrypto();

/** What a test changes in the bounds of a server. */
export type ServingBounds = Partial<ApiBounds & ListenerBounds>;

/** Bounds that no test meets unless it asks for smaller ones. */
const generous: ApiBounds & ListenerBounds = {
  addressRate: { perSecond: 1_000, burst: 10_000 },
  deviceRate: { perSecond: 1_000, burst: 10_000 },
  addressRequests: 100,
  allRequests: 1_000,
  deviceTails: 4,
  bodySilenceMs: 15_000,
  headersMs: 10_000,
  requestMs: 60_000,
  idleMs: 60_000,
  keepAliveMs: 5_000,
  headerBytesMax: 16 * 1024,
  headersMax: 64,
  addressConnections: 200,
};

/** A server that listens on 127.0.0.1. */
export interface TestApi<Engine extends TestEngine = TestServer> {
  readonly engine: Engine;
  readonly api: Api;
  readonly listener: Server;
  readonly url: string;
  readonly port: number;
  readonly observer: ReturnType<typeof createRecordingObserver>;
  /** An assertion as a device makes it, with whatever is to be changed. */
  assertion(device: PushingDevice, changes?: AssertionChanges): string;
  /** A fresh access token. */
  token(device: PushingDevice): Promise<string>;
  get(path: string, token?: string): Promise<Response>;
  post(path: string, body: unknown, token?: string): Promise<Response>;
  close(): Promise<void>;
}

/** What a test changes in an assertion. */
export interface AssertionChanges {
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
  /** Text of the segments as they are, instead. */
  readonly segments?: readonly [string, string];
  readonly sign?: (message: Uint8Array) => Uint8Array;
}

/** Starts one over SQLite in memory. */
export async function startTestApi(bounds: ServingBounds = {}): Promise<TestApi> {
  const observer = createRecordingObserver();
  const driver = openSqlite({
    path: ":memory:",
    pageKey: undefined,
    readOnly: false,
    create: true,
  });
  const engine = await createTestServer({ crypto, driver, observer: observer });
  return serveEngine(engine, observer, bounds);
}

/**
 * As {@link startTestApi}, for clients whose time passes by itself: the server gathers pushes by its own clock, which
 * somebody has to move.
 */
export async function startRunningApi(): Promise<TestApi> {
  const started = await startTestApi();
  const tick = setInterval(() => {
    started.engine.clock.advance(60);
  }, 5);
  return {
    ...started,
    close() {
      clearInterval(tick);
      return started.close();
    },
  };
}

/** Text of a new code that founds a tenant there, good for an hour of the server's time. */
export async function foundingCode({ engine, url }: TestApi): Promise<string> {
  const { server, chance } = engine;
  const { time, key } = await server.hello();
  const secret = chance.bytes(32);
  const expires = time + 3_600_000;
  await server.addFoundingCode(proofDigest(crypto, enrolmentProof(crypto, secret)) ?? "", expires);
  const fingerprint = keyFingerprint(crypto, key) ?? "";
  return formatEnrolmentCode({ url, key: fingerprint, secret, expires, joins: undefined });
}

/** Puts the application and a listener around an engine, which is closed with them. */
export async function serveEngine<Engine extends TestEngine>(
  engine: Engine,
  observer: ReturnType<typeof createRecordingObserver>,
  bounds: ServingBounds = {},
  replay?: ReplayMemory,
): Promise<TestApi<Engine>> {
  const all = { ...generous, ...bounds };
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const api = createApi({
    server: engine.server,
    clock: engine.clock,
    timers: engine.clock,
    random: engine.chance,
    crypto,
    observer: observer,
    host: testHost,
    tokenKey: { privateKey, publicKey },
    ...(replay !== undefined && { replay }),
    bounds: all,
  });
  const listener = createListener(api, all);
  await new Promise<void>((resolve) => {
    listener.listen(0, "127.0.0.1", resolve);
  });
  const { port } = listener.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  const assertion = (device: PushingDevice, changes: AssertionChanges = {}): string =>
    assertionOf(engine, device, changes);
  return {
    engine,
    api,
    listener,
    url,
    port,
    observer,
    assertion,
    async token(device) {
      const answer = await postToken(url, assertion(device));
      const { access_token: token } = (await answer.json()) as { access_token: string };
      return token;
    },
    get: (path, token) => fetch(url + path, { headers: bearer(token) }),
    post: (path, body, token) =>
      fetch(url + path, {
        method: "POST",
        headers: { ...bearer(token), "content-type": "application/json" },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    async close() {
      api.stop();
      listener.closeAllConnections();
      await new Promise((resolve) => {
        listener.close(resolve);
      });
      await engine.close();
    },
  };
}

export function bearer(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

/** The form of RFC 6749 and RFC 7523. */
export function postToken(url: string, assertion: string): Promise<Response> {
  return fetch(`${url}/v1/token`, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({
      grant_type: "client_credentials",
      client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
      client_assertion: assertion,
    }).toString(),
  });
}

function assertionOf(engine: TestEngine, device: PushingDevice, changes: AssertionChanges): string {
  const origin = `${device.tenant}/d/${device.device}/${device.incarnation}`;
  const now = Math.floor(engine.clock.now() / 1_000);
  const jti = base64url(engine.chance.bytes(12));
  const usual = { iss: origin, sub: origin, aud: testHost, jti, iat: now, exp: now + 60 };
  const [header, claims] = changes.segments ?? [
    JSON.stringify({ alg: "EdDSA", ...changes.header }),
    JSON.stringify({ ...usual, ...changes.claims }),
  ];
  const signed = `${base64url(utf8(header))}.${base64url(utf8(claims))}`;
  const signature = (changes.sign ?? device.sign)(utf8(signed));
  return `${signed}.${base64url(signature)}`;
}

/** Code and status of a refusal, held to the form of all refusals. */
export async function refusalOf(
  answer: Response,
): Promise<{ status: number; code: string; details: Record<string, unknown> }> {
  const body = (await answer.json()) as Record<string, unknown>;
  const names = Object.keys(body).toSorted().join();
  if (names !== "code,details,message,request_id") throw new Error(`a refusal has ${names}`);
  return {
    status: answer.status,
    code: String(body["code"]),
    details: body["details"] as Record<string, unknown>,
  };
}

const http = createNodeHttp();

/** Syncs a store with that server until nothing is left. */
export async function drain(store: Holdfast, url: string): Promise<void> {
  const engine = store.sync(createHttpTransport({ http }, url));
  for (let turn = 0; turn < 20; turn++) {
    const report = await engine.syncNow();
    if (report.status === "drained") return;
    if (report.status !== "partial") throw new Error(`${report.status} ${report.failure ?? ""}`);
  }
  throw new Error("it does not drain");
}

/** Texts of the notes of a store, sorted. */
export function textsIn(store: Holdfast): readonly string[] {
  return store
    .read({ type: "NoteTaken", limit: 1_000 })
    .map(({ data }) => (data as { readonly text: string }).text)
    .toSorted();
}
