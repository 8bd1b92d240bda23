/** Messages over a real socket: the transport against the server, and every bad message of a request. */
import { randomBytes } from "node:crypto";
import { brotliCompressSync, gzipSync, zstdCompressSync } from "node:zlib";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createHttpTransport,
  decodePage,
  encodePush,
  isHoldfastError,
  limits,
  mediaTypes,
  protocolDigest,
  type Transport,
} from "@holdfast/core";
import { createNodeHttp, type NodeHttp } from "@holdfast/node";
import type { PushingDevice } from "@holdfast/testkit";
import { bearer, crypto, refusalOf, startTestApi, type TestApi } from "./lab.ts";

let lab: TestApi;
let http: NodeHttp;
let transport: Transport;
let founder: PushingDevice;
let token: string;
beforeAll(async () => {
  lab = await startTestApi();
  http = createNodeHttp();
  transport = createHttpTransport({ http }, lab.url);
  founder = lab.engine.founder;
  token = await lab.token(founder);
});
afterAll(async () => {
  http.close();
  await lab.close();
});

const pull = {
  scopes: "*" as const,
  after: 0,
  events: 100,
  bytes: 1_000_000,
  checkpoint: 0,
  held: {},
};

describe("the transport against the server", () => {
  it("says hello", async () => {
    const hello = await transport.hello({});
    expect(hello).toMatchObject({ protocol: { oldest: 1, newest: 1 }, reads: "granted" });
    expect(hello).toMatchObject({ encodings: ["zstd", "gzip"], schema: protocolDigest(crypto) });
    expect(hello.time).toBe(lab.engine.clock.now());
  });

  it("pushes, pulls, proves", async () => {
    const access = await transport.token({ assertion: lab.assertion(founder) }, {});
    const options = { token: access.accessToken };
    founder.record([{ type: "NoteAdded" }, { type: "NoteAdded" }]);
    const pushed = await transport.push(founder.push(0), options);
    expect(pushed).toMatchObject({ status: "receipted", size: founder.events.length, owed: [] });
    const again = await transport.push(founder.push(0), options);
    expect(again).toMatchObject({ status: "receipted", size: founder.events.length });

    const reader = await lab.engine.join("admin");
    const readers = await transport.token({ assertion: lab.assertion(reader) }, {});
    const page = await transport.pull({ ...pull, own: true }, options);
    expect(page.events.map(({ body }) => body.header)).toEqual(
      founder.events.map(({ headerText }) => headerText),
    );
    expect(await transport.devices(options)).toHaveLength(3);
    expect(await transport.conflicts(undefined, options)).toEqual({ candidates: [] });
    expect(await transport.grants(0, { token: readers.accessToken })).toEqual({
      grants: [],
      more: false,
    });
    const { checkpoint } = await transport.checkpoint(options);
    const size = Number(checkpoint.split("\n")[1]);
    const { leaf } = await transport.inclusion({ index: 0, size }, options);
    expect(leaf.index).toBe(0);
    expect((await transport.consistency({ before: 1, size }, options)).path.length).toBeGreaterThan(
      0,
    );
    const leaves = await lab.get("/v1/log/leaves?from=0&to=1", token);
    expect(await leaves.json()).toEqual({ leaves: [leaf.text] });
  });

  it("passes on the server's codes", async () => {
    const failure = async (promise: Promise<unknown>): Promise<unknown> => {
      const error = await promise.catch((caught: unknown) => caught);
      return isHoldfastError(error) ? { code: error.code, ...error.details } : error;
    };
    expect(await failure(transport.devices({ token: "a.b.c" }))).toMatchObject({
      code: "token_refused",
      status: 401,
    });
    expect(await failure(transport.inclusion({ index: 9, size: 999 }, { token }))).toMatchObject({
      status: 422,
      code: "request_malformed",
    });
  });

  it("tells a caller of a refusal while its body still comes", async () => {
    const leaf = new Uint8Array(32).fill(1);
    const entries = Array.from(
      { length: limits.pushLeavesMax },
      () => ({ kind: "leaf", leaf }) as const,
    );
    const large = { ...founder.push(0), entries };
    for (let i = 0; i < 20; i++) {
      const error = await createHttpTransport({ http }, lab.url)
        .push(large, { token: "a.b.c" })
        .catch((caught: unknown) => caught);
      expect(isHoldfastError(error) && error.code).toBe("token_refused");
    }
    expect(
      lab.observer.total("api_auth", { operation: "token", result: "refused" }),
    ).toBeGreaterThan(19);
  });

  it("enrols by the code that an admin registered", async () => {
    const joined = await lab.engine.join();
    const answer = await transport.token({ assertion: lab.assertion(joined) }, {});
    expect(answer.expiresInMs).toBe(limits.tokenLifeMs);
  });
});

const send = (
  path: string,
  body: string | Uint8Array<ArrayBuffer> | Blob,
  headers: Record<string, string>,
): Promise<Response> =>
  fetch(lab.url + path, { method: "POST", headers: { ...bearer(token), ...headers }, body });
const json = { "content-type": "application/json" };

describe("bad messages", () => {
  it.each([
    ["row 1: no JSON", "after=1"],
    ["row 1: nothing", ""],
    ["row 1: a byte order mark", "\uFEFF{}"],
    ["row 4: a million brackets", "[".repeat(1_000_000)],
    ["row 5: a key twice", '{"after":1,"after":2}'],
    ["row 6: __proto__", '{"__proto__":{"admin":true}}'],
    ["row 6: constructor", '{"constructor":{"prototype":{"admin":true}}}'],
    ["row 7: half a pair", '{"scopes":"\\ud800"}'],
    ["row 9: U+0000", '{"scopes":["\\u0000"]}'],
    ["row 11: 1e999", '{"after":1e999}'],
    ["row 12: 2^53 + 1", '{"after":9007199254740993}'],
    [
      "row 29: members of the server's own",
      JSON.stringify({ ...pull, tenant: "x", role: "admin" }),
    ],
    ["row 31: a negative position", JSON.stringify({ ...pull, after: -1 })],
    ["row 32: a limit with more in it", JSON.stringify({ ...pull, events: "10;drop" })],
  ])("%s: 400", async (_name, body) => {
    expect(await refusalOf(await send("/v1/pull", body, json))).toMatchObject({
      status: 400,
      code: "message_malformed",
    });
    expect(({} as Record<string, unknown>)["admin"]).toBeUndefined();
  });

  it("row 8: bytes that are not UTF-8: 400", async () => {
    const answer = await send("/v1/pull", Uint8Array.of(0xc0, 0xaf), json);
    expect(await refusalOf(answer)).toMatchObject({ status: 400, code: "message_malformed" });
  });

  it("row 13: 100,000 keys, and a key of 1 MB: refused", async () => {
    const held = Object.fromEntries(Array.from({ length: 100_000 }, (_, at) => [`k${at}`, 1]));
    const many = await send("/v1/pull", JSON.stringify({ ...pull, held }), json);
    expect(await refusalOf(many)).toMatchObject({ status: 413, code: "message_too_large" });
    const long = JSON.stringify({ ...pull, held: { ["x".repeat(1_000_000)]: 1 } });
    expect((await send("/v1/pull", long, json)).status).toBe(400);
  });

  it("row 14: 50,000 events: 413 with the bound", async () => {
    const { headerText } = founder.events[0] as { headerText: string };
    const entry = { kind: "full", body: { header: headerText.slice(0, 50), frames: [] } } as const;
    const request = {
      ...founder.push(0),
      entries: Array.from({ length: 50_000 }, () => entry),
    };
    const answer = await send("/v1/push", Buffer.from(encodePush(request)), {
      "content-type": mediaTypes.push,
    });
    expect(await refusalOf(answer)).toEqual({
      status: 413,
      code: "message_too_large",
      details: { part: "bodies", max: limits.pushBodiesMax },
    });
  });

  it.each<readonly [string, Record<string, string>]>([
    ["none", {}],
    ["text/plain", { "content-type": "text/plain" }],
    ["utf-16", { "content-type": "application/json;charset=utf-16" }],
    ["the type of another message", { "content-type": mediaTypes.push }],
    ["json with something behind", { "content-type": "application/json+x" }],
  ])("row 2: content type %s: 415", async (_name, headers) => {
    const body = new Blob([JSON.stringify(pull)]);
    const answer = await send("/v1/pull", body, headers);
    expect(await refusalOf(answer)).toMatchObject({ status: 415, code: "content_type_refused" });
  });

  it("row 2: utf-8 may be said", async () => {
    const headers = { "content-type": 'application/json; charset="UTF-8"' };
    expect((await send("/v1/pull", JSON.stringify(pull), headers)).status).toBe(200);
  });

  it.each([
    ["gzip", gzipSync],
    ["zstd", zstdCompressSync],
  ])("row 15: %s is taken, its bomb is not: 413", async (encoding, compress) => {
    const headers = { ...json, "content-encoding": encoding };
    const taken = await send("/v1/pull", compress(JSON.stringify(pull)), headers);
    expect(taken.status).toBe(200);
    const bomb = compress(Buffer.alloc(100 * 1024 * 1024));
    const before = process.memoryUsage().rss;
    expect(await refusalOf(await send("/v1/pull", bomb, headers))).toMatchObject({
      status: 413,
      code: "message_too_large",
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
    const broken = await send("/v1/pull", "no such thing", headers);
    expect(await refusalOf(broken)).toMatchObject({ status: 400, code: "message_malformed" });
  });

  it.each(["br", "deflate", "gzip, gzip", "zstd, gzip", "compress"])(
    "row 15: encoding %s: 415",
    async (encoding) => {
      const body = brotliCompressSync(JSON.stringify(pull));
      const answer = await send("/v1/pull", body, { ...json, "content-encoding": encoding });
      expect(await refusalOf(answer)).toMatchObject({ status: 415, code: "encoding_refused" });
    },
  );

  it.each([
    "/v1/grants",
    "/v1/grants?after=-1",
    "/v1/grants?after=1e9",
    "/v1/grants?after=NaN",
    "/v1/grants?after=10;drop",
    "/v1/grants?after=1&after=2",
    "/v1/grants?after=9007199254740993",
    "/v1/grants?after=0&limit=1",
    "/v1/conflicts?stream=%27%20OR%201=1",
    "/v1/conflicts?stream=%25",
    "/v1/log/inclusion?index=0",
    "/v1/log/checkpoint?x=1",
  ])("rows 31 and 32: %s: 400", async (path) => {
    expect(await refusalOf(await lab.get(path, token))).toMatchObject({
      status: 400,
      code: "query_parameter_invalid",
    });
  });

  it("row 28: what belongs to others looks like what is not there", async () => {
    const other = await lab.engine.join();
    const plain = await lab.token(other);
    const ask = async (scope: string): Promise<unknown> => {
      const body = JSON.stringify({ ...pull, scopes: [scope] });
      const answer = await fetch(`${lab.url}/v1/pull`, {
        method: "POST",
        headers: { ...json, ...bearer(plain) },
        body,
      });
      const names = [...answer.headers.keys()].filter((name) => name !== "date").toSorted();
      const refusal = (await answer.json()) as Record<string, unknown>;
      return { status: answer.status, names, refusal: { ...refusal, request_id: "" } };
    };
    const theirs = founder.events.at(-1)?.header.scope ?? "";
    const foreign = await ask(theirs);
    expect(foreign).toEqual(await ask("A".repeat(22)));
    expect(foreign).toMatchObject({ status: 404 });
  });

  it("rows 28 and 33: an unknown path and a method that a path does not take", async () => {
    expect(await refusalOf(await lab.get("/v1/none"))).toMatchObject({
      status: 404,
      code: "not_found",
    });
    expect(await refusalOf(await lab.get("/v1/push"))).toMatchObject({
      status: 405,
      code: "method_refused",
    });
  });

  it("no bytes earn a 5xx", async () => {
    const paths = ["/v1/push", "/v1/pull", "/v1/enrol", "/v1/grants", "/v1/codes", "/v1/token"];
    const types = [mediaTypes.json, mediaTypes.push, mediaTypes.form];
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...paths),
        fc.constantFrom(...types),
        fc.oneof(
          fc.uint8Array({ maxLength: 300 }),
          fc.json().map((text) => Buffer.from(text)),
        ),
        async (path, type, body) => {
          const answer = await send(path, Buffer.from(body), { "content-type": type });
          await answer.arrayBuffer();
          expect(answer.status).toBeLessThan(500);
        },
      ),
      { numRuns: 150 },
    );
  });

  it("no push with bytes changed earns a 5xx", async () => {
    const bytes = encodePush(founder.push(0));
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(255), async (at, byte) => {
        const changed = Buffer.from(bytes);
        changed[at] = byte;
        const answer = await send("/v1/push", changed, { "content-type": mediaTypes.push });
        await answer.arrayBuffer();
        expect(answer.status).toBeLessThan(500);
      }),
      { numRuns: 150 },
    );
  });
});

describe("answers", () => {
  it("are compressed when asked for", async () => {
    const body = JSON.stringify({ ...pull, own: true });
    const raw = await fetch(`${lab.url}/v1/pull`, {
      method: "POST",
      headers: { ...json, ...bearer(token), "accept-encoding": "gzip" },
      body,
    });
    expect(raw.headers.get("content-encoding")).toBe("gzip");
    const page = decodePage(new Uint8Array(await raw.arrayBuffer()));
    expect(page.events.length).toBeGreaterThan(0);
    const plain = await fetch(`${lab.url}/v1/pull`, {
      method: "POST",
      headers: { ...json, ...bearer(token), "accept-encoding": "gzip;q=0, zstd;q=0" },
      body,
    });
    expect(plain.headers.get("content-encoding")).toBeNull();
  });

  it("row 38: name nothing of the request", async () => {
    const mark = `canary${randomBytes(4).toString("hex")}`;
    const answers = [
      await send("/v1/pull", `{"${mark}":1}`, json),
      await lab.get(`/v1/grants?after=${mark}`, token),
      await lab.get(`/${mark}`, token),
      await lab.get("/v1/devices", mark),
    ];
    for (const answer of answers) expect(await answer.text()).not.toContain(mark);
    expect(JSON.stringify(lab.observer.seen)).not.toContain(mark);
  });

  it("health, readiness and the document need no token", async () => {
    expect(await (await lab.get("/healthz")).json()).toEqual({ status: "ok" });
    expect(await (await lab.get("/readyz")).json()).toEqual({ status: "ready" });
    expect((await lab.get("/openapi.json")).status).toBe(200);
  });
});
