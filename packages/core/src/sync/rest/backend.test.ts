import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { operations, type RecordedEvent } from "../../event/event.ts";
import { isHoldfastError } from "../../std/errors.ts";
import { fromUtf8 } from "../../std/bytes.ts";
import { limits } from "../../std/limits.ts";
import { type Backend, type BackendRoute, compileBackend, isDelivered } from "./backend.ts";
import { deliveredForm, pathOf, prepareRequest } from "./prepare-request.ts";

const url = "https://records.example/api";
const one = (row: Partial<BackendRoute> = {}, more: Partial<Backend> = {}): Backend => ({
  url,
  routes: [{ type: "NoteTaken", path: "/notes/{stream}", ...row }],
  ...more,
});

function problem(backend: Backend): string {
  try {
    compileBackend(backend);
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return `${error.code} ${String(error.details["part"] ?? "")}`.trim();
  }
  return "fine";
}

const idText = fc.stringMatching(/^[A-Za-z0-9_-]{22}$/);

/** Recorded events as a store reads them back. */
const arbitraryEvent: fc.Arbitrary<RecordedEvent> = fc
  .record({
    id: fc.uuid({ version: 7 }),
    stream: idText,
    scope: idText,
    actor: idText,
    device: idText,
    leaf: fc.stringMatching(/^[A-Za-z0-9_-]{43}$/),
    op: fc.constantFrom(...operations),
    at: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
    // As JSON says it: a minus before zero is lost.
    data: fc.jsonValue().map((value): unknown => JSON.parse(JSON.stringify(value))),
    why: fc.option(fc.stringMatching(/^[a-z-]{1,20}$/), { nil: undefined }),
  })
  .map(({ id, stream, scope, actor, device, leaf, op, at, data, why }) => {
    const header = {
      v: 1 as const,
      ten: "t",
      dev: device,
      inc: "i",
      seq: 1,
      prev: "p",
      id,
      type: "NoteTaken",
      tv: 1,
      scope,
      stream,
      sseq: 1,
      op,
      at,
      act: actor,
      sec: {},
      tier: "none" as const,
      app: "a",
      ...(why === undefined ? {} : { why }),
    };
    return {
      position: 1,
      leaf,
      header,
      id,
      type: "NoteTaken",
      schemaVersion: 1,
      known: true,
      stream,
      scope,
      actor,
      op,
      recordedAt: at,
      occurredAt: undefined,
      reason: undefined,
      data,
      text: undefined,
      content: "opened",
    };
  });

describe("the table", () => {
  it("has a method for every operation that is delivered", () => {
    const compiled = compileBackend(one());
    const made = operations.filter(isDelivered).map((op) => {
      const route = compiled.routeOf("NoteTaken", op);
      return typeof route === "object"
        ? `${op} ${route.operation} ${route.method} ${String(route.body)}`
        : op;
    });
    expect(made).toEqual([
      "create create POST event",
      "amend update PUT event",
      "retract delete DELETE none",
      "resolve update PUT event",
      "sign control POST event",
      "review control POST event",
      "redact control POST event",
    ]);
  });

  it("takes the row for the operation before the one for all", () => {
    const special: BackendRoute = { type: "NoteTaken", op: "amend", method: "PATCH", path: "/p" };
    for (const routes of [
      [special, ...one().routes],
      [...one().routes, special],
    ]) {
      const compiled = compileBackend({ url, routes });
      expect(compiled.routeOf("NoteTaken", "amend")).toMatchObject({ method: "PATCH", path: "/p" });
      expect(compiled.routeOf("NoteTaken", "create")).toMatchObject({ path: "/notes/{stream}" });
      expect(compiled.routeOf("Other", "create")).toBeUndefined();
    }
  });

  it.each<readonly [string, Backend]>([
    ["fine", one()],
    ["transport_insecure", one({}, { url: "http://records.example" })],
    ["fine", one({}, { url: "http://[::1]:8080/api" })],
    ["server_url_invalid", one({}, { url: "https://user:pass@records.example" })],
    ["server_url_invalid", one({}, { url: "https://records.example/?key=1" })],
    ["backend_invalid /routes/0/path", one({ path: "notes" })],
    ["backend_invalid /routes/0/path", one({ path: "/notes/../admin" })],
    ["backend_invalid /routes/0/path", one({ path: "/notes//x" })],
    ["backend_invalid /routes/0/path", one({ path: "/notes?x=1" })],
    ["backend_invalid /routes/0/path", one({ path: "/notes/{data}" })],
    ["backend_invalid /routes/0/path", one({ path: "/notes/a{id}" })],
    ["backend_invalid /routes/0/path", one({ path: "/%2e%2e/x" })],
    ["backend_invalid /routes/0/current", one({ current: "/x y" })],
    ["backend_invalid /routes/0/method", one({ method: "GET" as "PUT" })],
    ["backend_invalid /routes/0/operation", one({ operation: "erase" as "delete" })],
    ["backend_invalid /routes/0/body", one({ body: "all" as "data" })],
    ["backend_invalid /routes/0/conflict", one({ conflict: "mine" as "review" })],
    ["backend_invalid /routes/0/op", one({ op: "shred" as "create" })],
    ["backend_invalid /routes/0/type", one({ type: "" })],
    ["backend_invalid /routes/1", { url, routes: [...one().routes, ...one().routes] }],
    ["backend_invalid /headers", one({}, { headers: { Authorization: "Bearer x" } })],
    ["backend_invalid /headers", one({}, { headers: { cookie: "a=b" } })],
    ["backend_invalid /headers", one({}, { headers: { "Idempotency-Key": "1" } })],
    ["backend_invalid /headers", one({}, { headers: { "x-a": "a\r\nx-b: c" } })],
    ["backend_invalid /timeoutMs", one({}, { timeoutMs: limits.backendRequestMsMax + 1 })],
    ["backend_invalid /requestsAtOnce", one({}, { requestsAtOnce: 0 })],
    ["backend_invalid /answerBytesMax", one({}, { answerBytesMax: 0.5 })],
  ])("%s", (expected, backend) => {
    expect(problem(backend)).toBe(expected);
  });
});

describe("a request", () => {
  const compiled = compileBackend(one({ path: "/{scope}/{stream}/{id}/{actor}/{device}" }));

  it("stays below the backend's address, whatever the event; its key is the event's id", () => {
    fc.assert(
      fc.property(arbitraryEvent, (event) => {
        const prepared = prepareRequest(compiled, event);
        if (!isDelivered(event.op)) {
          expect(prepared).toEqual({ kind: "skip" });
          return;
        }
        if (prepared.kind !== "send") throw new Error(JSON.stringify(prepared));
        const { request } = prepared;
        const { scope, stream, id, actor, header } = event;
        expect(request.url).toBe(`${url}/${[scope, stream, id, actor, header.dev].join("/")}`);
        expect(new URL(request.url).href).toBe(request.url);
        expect(request.headers["idempotency-key"]).toBe(id);
        expect(request.headers["authorization"]).toBeUndefined();
        if (request.method === "DELETE") expect(request.body).toBeUndefined();
        else expect(JSON.parse(fromUtf8(request.body as Uint8Array))).toEqual(deliveredForm(event));
      }),
      { numRuns: 300 },
    );
  });

  it("has the same bytes each time it is made", () => {
    fc.assert(
      fc.property(arbitraryEvent, (event) => {
        expect(prepareRequest(compiled, structuredClone(event))).toEqual(
          prepareRequest(compiled, event),
        );
      }),
    );
  });

  it("is never made of what is no id", () => {
    const [event] = fc.sample(arbitraryEvent, 1) as [RecordedEvent];
    for (const stream of ["", "a/b", "..", "a?b", "ä", "x".repeat(129)]) {
      expect(() => pathOf("/{stream}", { ...event, stream })).toThrow("ids in a path");
    }
  });

  it.each<readonly [string, Partial<BackendRoute>, Partial<RecordedEvent>]>([
    ["backend_event_unreadable", {}, { content: "closed", data: undefined }],
    ["backend_event_unreadable", { body: "data" }, { data: undefined }],
    ["backend_body_invalid", { body: () => Number.NaN }, {}],
    ["backend_body_invalid", { body: () => "x".repeat(limits.backendBodyBytesMax) }, {}],
    [
      "backend_body_invalid",
      {
        body: () => {
          throw new Error("the application's");
        },
      },
      {},
    ],
  ])("%s", (code, row, change) => {
    const [event] = fc.sample(arbitraryEvent, 1) as [RecordedEvent];
    const made = prepareRequest(compileBackend(one(row)), { ...event, op: "create", ...change });
    expect(made).toEqual({ kind: "refuse", code });
  });

  it("without a body is made of an event that cannot be read", () => {
    const [event] = fc.sample(arbitraryEvent, 1) as [RecordedEvent];
    const closed = { ...event, op: "retract", content: "closed", data: undefined } as const;
    expect(prepareRequest(compiled, closed).kind).toBe("send");
  });

  it("carries the tag of the state that it was made for", () => {
    const [event] = fc.sample(arbitraryEvent, 1) as [RecordedEvent];
    const merged = compileBackend(
      one({ body: (_, remote) => ({ merged: remote?.value ?? null }) }),
    );
    const made = prepareRequest(merged, { ...event, op: "amend" }, { etag: '"7"', value: [1] });
    if (made.kind !== "send") throw new Error(made.kind);
    expect(made.request.headers["if-match"]).toBe('"7"');
    expect(fromUtf8(made.request.body as Uint8Array)).toBe('{"merged":[1]}');
  });
});
