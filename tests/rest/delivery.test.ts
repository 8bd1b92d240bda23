/** Delivery to a backend that is no Holdfast server: requests, order, conflicts, tokens, refusals. */
import { afterEach, describe, expect, it } from "vitest";
import { type AccessToken, backendVerdict, lifeOf, limits } from "@holdfast/core";
import { createNodeHttp } from "@holdfast/node";
import { createReferenceServer, settle } from "@holdfast/testkit";
import { delivering, endAll, scriptedBackend } from "./lab.ts";

afterEach(endAll);

/** Every status in the long run; in the short one those that the table names, and the edges of the classes. */
const statuses: readonly number[] =
  process.env["HOLDFAST_FULL"] === "1"
    ? Array.from({ length: 400 }, (_, at) => at + 200)
    : [
        200, 204, 299, 300, 304, 307, 399, 400, 401, 402, 403, 404, 407, 408, 409, 410, 412, 413,
        422, 423, 425, 429, 451, 499, 500, 503, 599,
      ];

const opened = { status: "drained", rejected: 0 } as const;

describe("requests", () => {
  it("are one for each event, by the table, under the event's id", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note } = await delivering(backend.url, {
      backend: { headers: { "X-App-Version": "1.2" } },
    });
    const id = await note("ward/1", "first");
    await store.amend(id, { actor: "nurse/7", why: "typo", data: { text: "second" } });
    await store.retract(id, { actor: "nurse/7", why: "wrong-patient" });
    const stream = store.streamId("ward/1");
    expect(await engine.syncNow()).toMatchObject({ ...opened, pushed: 3 });
    expect(backend.lines()).toEqual([
      "POST /api/notes",
      `PUT /api/notes/${stream}`,
      `DELETE /api/notes/${stream}`,
    ]);
    const ids = store.read({ type: "NoteTaken" }).map((event) => event.id);
    expect(backend.seen.map(({ headers }) => headers["idempotency-key"])).toEqual(ids);
    const [created, , deleted] = backend.seen;
    expect(created?.headers).toMatchObject({
      "content-type": "application/json",
      "x-app-version": "1.2",
    });
    expect(JSON.parse(created?.body ?? "")).toMatchObject({
      id,
      op: "create",
      type: "NoteTaken",
      stream,
      data: { text: "first" },
    });
    expect(deleted?.body).toBe("");
    expect(JSON.parse(backend.seen[1]?.body ?? "")).toMatchObject({ op: "amend", why: "typo" });
  });

  it("leave nothing in the outbox, nor for a rebuild of it", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note } = await delivering(backend.url);
    for (let i = 0; i < 150; i++) await note(`s${i % 7}`, `n${i}`);
    expect(await engine.syncNow()).toMatchObject(opened);
    expect(backend.seen).toHaveLength(150);
    const { waiting, acknowledgedThrough, receiptedSize } = store.status().sync;
    expect([waiting, acknowledgedThrough, receiptedSize]).toEqual([0, 151, 0]);
    expect(store.verify().problems).toEqual([]);
    expect(store.read({ unsynced: true })).toEqual([]);
  });

  it("tell an append that waits for its delivery", async () => {
    const backend = await scriptedBackend();
    const { store, engine, clock } = await delivering(backend.url);
    const answer = await store.append({
      type: "NoteTaken",
      stream: "s",
      actor: "a",
      data: { text: "x" },
    });
    if (answer.status !== "appended") throw new Error(answer.status);
    const delivered = answer.delivered();
    await engine.syncNow();
    await settle(clock, delivered);
    expect(answer.receipt()).toBeUndefined();
  });

  it("keep each stream in order, streams side by side, an urgent event and its stream first", async () => {
    const backend = await scriptedBackend();
    const { engine, note } = await delivering(backend.url, {
      backend: { routes: [{ type: "NoteTaken", path: "/{stream}/{id}" }], requestsAtOnce: 8 },
    });
    const expected = new Map<string, string[]>();
    const first: string[] = [];
    for (let i = 0; i < 60; i++) {
      const stream = `s${i % 5}`;
      const urgent = i === 57;
      const id = await note(stream, `n${i}`, urgent ? { lane: "urgent" } : {});
      expected.set(stream, [...(expected.get(stream) ?? []), id]);
      if (stream === "s2" && i <= 57) first.push(id);
    }
    expect(await engine.syncNow()).toMatchObject(opened);
    const arrived = backend.seen.map(({ headers }) => headers["idempotency-key"] ?? "");
    for (const ids of expected.values()) {
      expect(arrived.filter((id) => ids.includes(id))).toEqual(ids);
    }
    // The first request of all is of the urgent event's stream: its earlier events go with it.
    expect(arrived.find((id) => first.includes(id))).toBe(arrived[0]);
  });

  it("let an urgent event pass what is left of an exchange", async () => {
    const backend = await scriptedBackend();
    const { engine, note } = await delivering(backend.url, { backend: { requestsAtOnce: 1 } });
    for (let i = 0; i < 20; i++) await note(`s${i}`, `n${i}`);
    let urgent = "";
    backend.script = (_, response, at) => {
      if (at !== 2) return 200;
      note("other", "now", { lane: "urgent" }).then(
        (id) => {
          urgent = id;
          response.writeHead(201).end();
        },
        () => undefined,
      );
      return undefined;
    };
    expect(await engine.syncNow()).toMatchObject(opened);
    expect(backend.seen[3]?.headers["idempotency-key"]).toBe(urgent);
    expect(backend.seen).toHaveLength(21);
  });

  it("are not made for system events and skipped types; an unknown type is held", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note } = await delivering(backend.url, {
      backend: { routes: [{ type: "NoteTaken", skip: true }] },
    });
    await note("s", "stays here");
    await store.append({ type: "WeightMeasured", stream: "w", actor: "a", data: { grams: 5 } });
    expect(await engine.syncNow()).toMatchObject({ status: "drained", rejected: 1 });
    expect(backend.seen).toEqual([]);
    expect(store.outbox.deadLetters()).toMatchObject([
      { code: "backend_route_missing", severity: "high", type: "WeightMeasured" },
    ]);
  });

  it("end with enrolment: the server has nothing of it yet, and gets everything", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note } = await delivering(backend.url);
    for (let i = 0; i < 5; i++) await note("s", `n${i}`);
    await engine.syncNow();
    const life = lifeOf(store);
    const { crypto } = life.deps;
    const { tenant } = store.status();
    const server = createReferenceServer({ crypto, tenant, now: () => 1_000 });
    const answer = server.enrol(life.sync.enrolment());
    await life.sync.enrolled("https://server.test", server.hello(), answer, server.fingerprint);
    const { sync, outbox } = store.status();
    expect([outbox.waiting, sync.acknowledgedThrough]).toEqual([6, 0]);
    expect(store.verify().problems).toEqual([]);
    expect(await engine.syncNow()).toMatchObject({
      status: "failed",
      failure: "backend_store_enrolled",
    });
    expect(backend.seen).toHaveLength(5);
    const http = createNodeHttp();
    expect(() => store.deliver({ url: backend.url, routes: [] }, { http })).toThrow(
      "backend_store_enrolled",
    );
  });
});

describe("what an answer leads to", () => {
  it("every status", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note, later } = await delivering(backend.url, {
      backend: { requestsAtOnce: 1 },
      ports: { breaker: { thresholds: { server: 0, network: 0, busy: 0 } } },
    });
    await engine.syncNow();
    for (const status of statuses) {
      const id = await note(`s${status}`, "x");
      backend.script = (_, response) => {
        response.writeHead(status, { location: "http://127.0.0.1:1/", "retry-after": "soon" });
        response.end();
      };
      const report = await engine.syncNow();
      const verdict = backendVerdict(status, {
        operation: "create",
        absent: "refused",
        attempts: 0,
      });
      const { waiting } = store.status().outbox;
      const letter = store.outbox.deadLetters({ limit: 1_000 }).find((each) => each.id === id);
      const came = letter === undefined ? (waiting === 0 ? "acknowledged" : "failed") : letter.code;
      const wanted = { refused: "backend_refused", conflict: "backend_conflict" };
      const expected = verdict.kind in wanted ? wanted[verdict.kind as "refused"] : verdict.kind;
      expect(came, `status ${status}`).toBe(expected);
      if (letter !== undefined) expect(letter.status).toBe(status);
      if (verdict.kind === "failed") {
        const isAuth = verdict.code === "token_refused";
        expect(report.failure, `status ${status}`).toBe(verdict.code);
        expect(report.status).toBe(isAuth ? "needs-auth" : "failed");
      }
      // What waits is delivered, and something else, so that the next status is seen alone.
      later();
      backend.script = () => 200;
      await note("between", "x");
      expect(await engine.syncNow()).toMatchObject({ failure: undefined });
    }
  }, 120_000);

  it("a refused event holds its stream up until it is redriven or archived, and nothing else", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note } = await delivering(backend.url);
    const refused = await note("a", "1");
    await note("a", "2");
    const other = await note("b", "1");
    backend.script = ({ headers }) => (headers["idempotency-key"] === refused ? 422 : 200);
    expect(await engine.syncNow()).toMatchObject({ rejected: 1, status: "partial" });
    const keys = () => backend.seen.map(({ headers }) => headers["idempotency-key"]);
    expect(keys().toSorted()).toEqual([refused, other].toSorted());
    expect(store.outbox.deadLetters()).toMatchObject([
      { id: refused, code: "backend_refused", status: 422, severity: "high", attempts: 1 },
    ]);
    expect(await engine.syncNow()).toMatchObject({ status: "partial", pushed: 0 });
    backend.script = () => 200;
    await store.outbox.redrive(refused);
    expect(await engine.syncNow()).toMatchObject({ status: "drained", pushed: 2 });
    expect(keys().slice(2)[0]).toBe(refused);
  });

  it("an archived refusal lets its stream go on", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note } = await delivering(backend.url);
    const refused = await note("a", "1", { lane: "urgent" });
    await note("a", "2");
    backend.script = ({ headers }) => (headers["idempotency-key"] === refused ? 400 : 200);
    await engine.syncNow();
    expect(store.outbox.deadLetters()).toMatchObject([{ severity: "critical" }]);
    await store.outbox.archive(refused);
    expect(await engine.syncNow()).toMatchObject({ pushed: 1 });
  });

  it("refusals one after the other are not taken for the events' fault", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note, later } = await delivering(backend.url);
    for (let i = 0; i < 40; i++) await note(`s${i}`, "x");
    backend.script = () => 404;
    const report = await engine.syncNow();
    expect(report).toMatchObject({ status: "failed", failure: "backend_refuses_all" });
    const dead = store.outbox.deadLetters().length;
    expect(dead).toBe(limits.backendRefusalsInRowMax);
    later();
    await engine.syncNow();
    expect(store.outbox.deadLetters()).toHaveLength(dead);
    backend.script = () => 200;
    later();
    expect(await engine.syncNow()).toMatchObject({ pushed: 40 - dead });
    await store.outbox.redriveAll();
    expect(await engine.syncNow()).toMatchObject({ status: "drained", pushed: dead });
  });

  it("an event that alone makes the backend fail holds up its stream only", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note, later } = await delivering(backend.url, {
      backend: { requestsAtOnce: 1 },
    });
    const poison = await note("a", "1");
    await note("a", "2");
    for (let i = 0; i < 10; i++) await note(`b${i}`, "x");
    backend.script = ({ headers }) => (headers["idempotency-key"] === poison ? 500 : 200);
    for (let round = 0; round < 12; round++) {
      await engine.syncNow();
      later();
    }
    expect(store.status().outbox.waiting).toBe(2);
    expect(store.outbox.show(poison).tried.at(-1)).toMatchObject({ result: "failed", status: 500 });
  });
});

describe("conflicts", () => {
  const conflicting = async (conflict: "review" | "fetch" | "accept-remote") => {
    const backend = await scriptedBackend();
    const made = await delivering(backend.url, {
      backend: {
        routes: [
          { type: "NoteTaken", op: "create", path: "/notes" },
          { type: "NoteTaken", path: "/notes/{stream}", conflict },
        ],
      },
    });
    const id = await made.note("s", "first");
    await made.engine.syncNow();
    await made.store.amend(id, { actor: "a", why: "w", data: { text: "second" } });
    const stream = made.store.streamId("s");
    return { backend, ...made, stream };
  };

  it("are recorded and held for review", async () => {
    const { backend, store, engine } = await conflicting("review");
    backend.script = () => 409;
    expect(await engine.syncNow()).toMatchObject({ rejected: 1 });
    expect(store.outbox.deadLetters()).toMatchObject([
      { code: "backend_conflict", status: 409, severity: "medium" },
    ]);
  });

  it("are tried again on top of the current state, once", async () => {
    const { backend, store, engine, stream, observer } = await conflicting("fetch");
    backend.script = ({ method, headers }, response) => {
      if (method === "GET") {
        response.writeHead(200, { etag: '"v7"' }).end('{"text":"theirs"}');
        return undefined;
      }
      return headers["if-match"] === '"v7"' ? 200 : 412;
    };
    expect(await engine.syncNow()).toMatchObject(opened);
    const path = `/api/notes/${stream}`;
    expect(backend.lines().slice(1)).toEqual([`PUT ${path}`, `GET ${path}`, `PUT ${path}`]);
    const [, put, , again] = backend.seen;
    expect(again?.headers["idempotency-key"]).toBe(put?.headers["idempotency-key"]);
    expect(observer.total("conflicts_resolved", { strategy: "fetch" })).toBe(1);
    expect(store.outbox.deadLetters()).toEqual([]);
  });

  it("are held when the second try conflicts, too", async () => {
    const { backend, store, engine } = await conflicting("fetch");
    backend.script = ({ method }) => (method === "GET" ? 200 : 409);
    await engine.syncNow();
    expect(backend.seen).toHaveLength(4);
    expect(store.outbox.deadLetters()).toMatchObject([{ code: "backend_conflict" }]);
  });

  it("leave the backend's state, and say so, where that is the strategy", async () => {
    const { backend, store, engine, observer } = await conflicting("accept-remote");
    backend.script = () => 409;
    expect(await engine.syncNow()).toMatchObject({ ...opened, pushed: 1 });
    expect(observer.total("conflicts_resolved", { strategy: "accept-remote" })).toBe(1);
    expect(store.verify().problems).toEqual([]);
  });

  it("after a lost answer may be the event's own first request: it is tried again", async () => {
    const { backend, store, engine, later } = await conflicting("review");
    backend.script = (_, response) => {
      response.socket?.destroy();
    };
    expect(await engine.syncNow()).toMatchObject({ failure: "network_unreachable" });
    later();
    backend.script = () => 409;
    expect(await engine.syncNow()).toMatchObject({ failure: "server_busy" });
    expect(store.outbox.deadLetters()).toEqual([]);
    later();
    backend.script = () => 200;
    expect(await engine.syncNow()).toMatchObject(opened);
  });
});

describe("tokens", () => {
  const withTokens = async (give: (refused: string | undefined) => AccessToken) => {
    const backend = await scriptedBackend();
    let asked = 0;
    const tokens = {
      token: ({ refused }: { refused: string | undefined }) => {
        asked += 1;
        return Promise.resolve(give(refused));
      },
    };
    const made = await delivering(backend.url, { ports: { tokens } });
    return { backend, ...made, asked: () => asked };
  };

  it("are asked for once, and once more when refused, for all requests together", async () => {
    const { backend, engine, note, asked } = await withTokens((refused) => ({
      text: refused === undefined ? "old-token-000000" : "new-token-000000",
    }));
    for (let i = 0; i < 30; i++) await note(`s${i}`, "x");
    backend.script = ({ headers }) =>
      headers["authorization"] === "Bearer new-token-000000" ? 200 : 401;
    expect(await engine.syncNow()).toMatchObject({ ...opened, pushed: 30 });
    expect(asked()).toBe(2);
  });

  it("refused again: needs-auth, and the outbox is as it was", async () => {
    let count = 0;
    const { backend, store, engine, note, asked } = await withTokens(() => ({
      text: `token-number-${(count += 1)}-00000`,
    }));
    await engine.syncNow();
    for (let i = 0; i < 5; i++) await note("s", "x");
    backend.script = () => 401;
    expect(await engine.syncNow()).toMatchObject({ status: "needs-auth" });
    const entries = store.outbox.list();
    expect(entries).toHaveLength(5);
    expect(entries.every(({ attempts, state }) => attempts === 0 && state === "waiting")).toBe(
      true,
    );
    expect(asked()).toBe(2);
    backend.script = () => 200;
    expect(await engine.syncNow()).toMatchObject({ status: "drained", pushed: 5 });
  });

  it("a source that has none, or gives what cannot stand in a header, means needs-auth", async () => {
    for (const text of ["", "a b", "a\r\nx: y", "é"]) {
      const { backend, engine, note } = await withTokens(() => ({ text }));
      await note("s", "x");
      expect(await engine.syncNow()).toMatchObject({ status: "needs-auth" });
      expect(backend.seen).toEqual([]);
    }
  });
});

describe("the outbox's machinery", () => {
  it("opens the breaker on a failing backend, and closes it by one request", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note, later, observer } = await delivering(backend.url);
    for (let i = 0; i < 50; i++) await note(`s${i}`, "x");
    backend.script = () => 503;
    let status = "";
    for (let round = 0; round < 20 && status !== "breaker_open"; round++) {
      status = (await engine.syncNow()).failure ?? "";
      later();
      if (observer.total("breaker_trips") > 0) break;
    }
    expect(observer.total("breaker_trips")).toBe(1);
    backend.script = () => 200;
    const before = backend.seen.length;
    expect(await engine.syncNow()).toMatchObject({ ...opened, pushed: 50 });
    expect(backend.seen.length - before).toBe(50);
    expect(store.outbox.deadLetters()).toEqual([]);
  });

  it("waits as long as the backend asks", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note, clock } = await delivering(backend.url);
    await note("s", "x");
    backend.script = (_, response) => {
      response.writeHead(429, { "retry-after": "120" }).end();
    };
    const before = clock.now();
    expect(await engine.syncNow()).toMatchObject({
      status: "failed",
      failure: "requests_too_many",
    });
    const [entry] = store.outbox.list();
    expect(entry?.nextAt).toBeGreaterThanOrEqual(before + 120_000);
    expect(entry?.nextAt).toBeLessThanOrEqual(before + 122_000);
  });

  it("shares one outbox between engines: each event is sent once", async () => {
    const backend = await scriptedBackend();
    const { store, engine, another, note } = await delivering(backend.url);
    for (let i = 0; i < 120; i++) await note(`s${i % 40}`, `n${i}`);
    const engines = [engine, another(), another()];
    for (let round = 0; round < 10 && store.status().outbox.waiting > 0; round++) {
      await Promise.all(engines.map((each) => each.syncNow()));
    }
    expect(store.status().outbox.waiting).toBe(0);
    const keys = backend.seen.map(({ headers }) => headers["idempotency-key"]);
    expect(new Set(keys).size).toBe(120);
    expect(keys).toHaveLength(120);
  });

  it("is cancelled without losing anything", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note, later } = await delivering(backend.url);
    for (let i = 0; i < 10; i++) await note(`s${i}`, "x");
    const arrived = new Promise<void>((resolve) => {
      backend.script = () => {
        resolve();
      };
    });
    const syncing = engine.syncNow();
    await arrived;
    await engine.cancel();
    expect(await syncing).toMatchObject({ status: "cancelled" });
    expect(store.status().outbox).toMatchObject({ waiting: 10, leased: 0 });
    later();
    backend.script = () => 200;
    expect(await engine.syncNow()).toMatchObject(opened);
  });

  it("delivers by itself once started, and stops with the store", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note } = await delivering(backend.url);
    const drained = new Promise<void>((resolve) => {
      engine.subscribe(({ watermarks }) => {
        if (watermarks.waiting === 0 && backend.seen.length === 2) resolve();
      });
    });
    engine.start();
    await note("s", "1");
    await note("s", "2");
    await drained;
    expect(store.status().engine?.pull).toBe("stopped");
  });
});
