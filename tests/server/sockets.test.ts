/**
 * What HTTP itself is attacked with, over real sockets. Bounds of time are set small and only order is tested: what
 * must be cut is cut, what must go on goes on; nothing depends on how long it took.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { limits, mediaTypes } from "@holdfast/core";
import { bearer, refusalOf, startTestApi, type TestApi } from "./lab.ts";

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

async function start(bounds: Parameters<typeof startTestApi>[0] = {}): Promise<TestApi> {
  const lab = await startTestApi(bounds);
  ends.push(() => lab.close());
  return lab;
}

interface Raw {
  readonly socket: Socket;
  /** Everything that came until the connection ended. */
  readonly ended: Promise<string>;
}

async function raw(lab: TestApi, from = "127.0.0.1"): Promise<Raw> {
  const socket = connect({ port: lab.port, host: "127.0.0.1", localAddress: from });
  ends.push(() => void socket.destroy());
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  // A reset is an end as well.
  socket.on("error", () => undefined);
  const ended = new Promise<string>((resolve) => {
    socket.on("close", () => {
      resolve(Buffer.concat(chunks).toString("latin1"));
    });
  });
  await once(socket, "connect");
  return { socket, ended };
}

async function sent(lab: TestApi, text: string): Promise<string> {
  const { socket, ended } = await raw(lab);
  socket.write(text, "latin1");
  return ended;
}

const statusOf = (text: string): number => Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]);
/** On a connection of its own: one that is kept may be cut by the very bound under test. */
const ready = async (lab: TestApi): Promise<number> =>
  statusOf(await sent(lab, "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));

describe("row 33: requests that two readers could take apart differently", () => {
  const body = "Content-Type: application/json\r\n";
  it.each([
    [
      "length and chunks",
      `POST /v1/enrol HTTP/1.1\r\nHost: x\r\n${body}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    [
      "two lengths",
      `POST /v1/enrol HTTP/1.1\r\nHost: x\r\n${body}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!`,
    ],
    [
      "a length of +5",
      `POST /v1/enrol HTTP/1.1\r\nHost: x\r\n${body}Content-Length: +5\r\n\r\nhello`,
    ],
    ["bare line feeds", "GET /healthz HTTP/1.1\nHost: x\n\n"],
    ["no host", "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"],
    [
      "a chunk of 2^60",
      `POST /v1/enrol HTTP/1.1\r\nHost: x\r\n${body}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n`,
    ],
  ])("%s: 400", async (_name, text) => {
    const lab = await start();
    const answer = await sent(lab, text);
    expect(statusOf(answer)).toBe(400);
    expect(answer).toContain('"code":"message_malformed"');
    expect(answer).toMatch(/"request_id":"[A-Za-z0-9_-]{16}"/);
    expect(await ready(lab)).toBe(200);
  });

  it("a header of 20 KB: 431", async () => {
    const lab = await start();
    const text = `GET /healthz HTTP/1.1\r\nHost: x\r\nX: ${"a".repeat(20_000)}\r\n\r\n`;
    const answer = await sent(lab, text);
    expect(statusOf(answer)).toBe(431);
    expect(answer).toContain('"code":"headers_too_many"');
  });

  it("more headers than are counted: 431", async () => {
    const lab = await start();
    const many = (count: number): string =>
      Array.from({ length: count }, (_, at) => `X-${at}: 1\r\n`).join("");
    const ask = (count: number): string =>
      `GET /v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${many(count)}\r\n`;
    expect(statusOf(await sent(lab, ask(60)))).toBe(200);
    expect(statusOf(await sent(lab, ask(63)))).toBe(431);
    expect(statusOf(await sent(lab, ask(500)))).toBe(431);
  });

  it("row 27: two Authorization headers: 401", async () => {
    const lab = await start();
    const token = await lab.token(lab.engine.founder);
    const line = `Authorization: Bearer ${token}\r\n`;
    const ask = (lines: string): string =>
      `GET /v1/devices HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${lines}\r\n`;
    expect(statusOf(await sent(lab, ask(line)))).toBe(200);
    expect(statusOf(await sent(lab, ask(line + line)))).toBe(401);
  });
});

describe("row 3: bodies over the limit", () => {
  it("a length over the limit is refused before the body comes", async () => {
    const lab = await start();
    const text = `POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n`;
    const answer = await sent(lab, text);
    expect(statusOf(answer)).toBe(413);
    expect(answer).toContain("message_too_large");
  });

  it("chunks without a length are refused while they come", async () => {
    const lab = await start();
    const token = await lab.token(lab.engine.founder);
    const { socket, ended } = await raw(lab);
    socket.write(
      `POST /v1/push HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n` +
        `Content-Type: ${mediaTypes.push}\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    const chunk = Buffer.concat([
      Buffer.from("10000\r\n"),
      Buffer.alloc(65_536),
      Buffer.from("\r\n"),
    ]);
    let written = 0;
    // An endless body: it must be the server that ends it.
    while (!socket.destroyed && written < 100 * limits.pushRequestBytesMax) {
      written += 65_536;
      if (!socket.write(chunk)) {
        await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), ended]);
      }
    }
    await ended;
    expect(written).toBeLessThan(100 * limits.pushRequestBytesMax);
    expect(await ready(lab)).toBe(200);
  });

  it("a body of exactly the limit is read", async () => {
    const lab = await start();
    const pad = (bytes: number): string => `{"x":"${"a".repeat(bytes - 8)}"}`;
    const max = 64 * 1024;
    const token = await lab.token(lab.engine.founder);
    expect((await lab.post("/v1/codes", pad(max), token)).status).toBe(400);
    expect((await lab.post("/v1/codes", pad(max + 1), token)).status).toBe(413);
  });

  it("a body that stops coming is cut: 408", async () => {
    const lab = await start({ bodySilenceMs: 100 });
    const text = `POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{`;
    const answer = await sent(lab, text);
    expect(statusOf(answer)).toBe(408);
    expect(answer).toContain("request_timeout");
    expect(await ready(lab)).toBe(200);
  });
});

describe("row 34: connections that give nothing", () => {
  it("headers that trickle are cut while others are answered", async () => {
    const lab = await start({ headersMs: 200, requestMs: 400 });
    const { socket, ended } = await raw(lab);
    socket.write("GET /healthz HTTP/1.1\r\nHost: x\r\n");
    const trickle = setInterval(() => socket.write("X: 1\r\n"), 50);
    ends.push(() => {
      clearInterval(trickle);
    });
    expect(await ready(lab)).toBe(200);
    const answer = await ended;
    clearInterval(trickle);
    expect([408, Number.NaN]).toContain(statusOf(answer));
  });

  it("idle connections are cut", async () => {
    const lab = await start({ idleMs: 200, headersMs: 200, requestMs: 400, keepAliveMs: 100 });
    const silent = await raw(lab);
    const used = await raw(lab);
    used.socket.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    await silent.ended;
    expect(statusOf(await used.ended)).toBe(200);
  });

  it("one address is bounded, others do not notice", async () => {
    const lab = await start({ addressConnections: 5 });
    const held = await Promise.all(Array.from({ length: 5 }, () => raw(lab, "127.0.0.2")));
    const beyond = await raw(lab, "127.0.0.2");
    expect(await beyond.ended).toBe("");
    expect(await ready(lab)).toBe(200);
    held[0]?.socket.destroy();
    await held[0]?.ended;
    expect(await ready(lab)).toBe(200);
  });

  it("an answer that nobody reads holds no more than its buffer", async () => {
    const lab = await start({ idleMs: 3_000 });
    const accepted = new Promise<Socket>((resolve) => lab.listener.once("connection", resolve));
    const { socket, ended } = await raw(lab);
    const theirs = await accepted;
    const cut = new Promise((resolve) => theirs.once("close", resolve));
    socket.pause();
    const ask = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    for (let i = 0; i < 2_000; i++) socket.write(ask);
    expect(await ready(lab)).toBe(200);
    // The server gives up on the reader; only then is what it sent taken off the line.
    await cut;
    socket.resume();
    await ended;
    expect(await ready(lab)).toBe(200);
  });
});

describe("row 44: more than a share", () => {
  it("of requests: 429 with Retry-After, other addresses are answered", async () => {
    const lab = await start({ addressRate: { perSecond: 0.1, burst: 3 } });
    for (let i = 0; i < 3; i++) expect((await lab.get("/v1")).status).toBe(200);
    const refused = await lab.get("/v1");
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await refusalOf(refused)).toMatchObject({ status: 429, code: "requests_too_many" });
    expect((await lab.get("/readyz")).status).toBe(429);
    expect((await lab.get("/none")).status).toBe(429);
    expect((await lab.get("/healthz")).status).toBe(200);
    const other = await raw(lab, "127.0.0.3");
    other.socket.write("GET /v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    expect(statusOf(await other.ended)).toBe(200);
    lab.engine.clock.advance(10_000);
    expect((await lab.get("/v1")).status).toBe(200);
  });

  it("of one device: 429, other devices are answered", async () => {
    const lab = await start({ deviceRate: { perSecond: 0.1, burst: 2 } });
    const first = await lab.token(lab.engine.founder);
    const second = await lab.token(await lab.engine.join());
    for (let i = 0; i < 2; i++) expect((await lab.get("/v1/devices", first)).status).toBe(200);
    expect(await refusalOf(await lab.get("/v1/devices", first))).toMatchObject({ status: 429 });
    expect((await lab.get("/v1/devices", second)).status).toBe(200);
  });

  it("of requests at once: 429 for the address, 503 for all", async () => {
    const lab = await start({ addressRequests: 2, bodySilenceMs: 60_000 });
    const hanging = `POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n`;
    const held = await Promise.all([raw(lab), raw(lab)]);
    for (const { socket } of held) socket.write(hanging);
    // The two are inside once a third is refused.
    let status = 200;
    while (status === 200) status = (await lab.get("/v1")).status;
    expect(status).toBe(429);
    const other = await raw(lab, "127.0.0.4");
    other.socket.write("GET /v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    expect(statusOf(await other.ended)).toBe(200);
  });
});

/** Reads a tail as text until it says something. */
async function until(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  mark: string,
): Promise<string> {
  let text = "";
  while (!text.includes(mark)) {
    const { done, value } = await reader.read();
    if (done) return text;
    text += Buffer.from(value).toString();
  }
  return text;
}

describe("live tail", () => {
  it("hints at what was pushed; row 35: ends with its token", async () => {
    const lab = await start();
    const { founder } = lab.engine;
    const token = await lab.token(founder);
    const answer = await fetch(`${lab.url}/v1/tail`, { headers: bearer(token) });
    expect(answer.headers.get("content-type")).toBe(mediaTypes.events);
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
    await until(reader, ": open");
    founder.record([{ type: "NoteAdded" }]);
    await lab.engine.receipted(founder, 0);
    expect(await until(reader, "hint")).toContain('data: {"head":');
    lab.engine.clock.advance(limits.tailHeartbeatMs);
    expect(await until(reader, "heartbeat")).toContain(": heartbeat");
    lab.engine.clock.advance(limits.tokenLifeMs);
    expect(await until(reader, "event: end")).toContain("event: end");
    expect((await reader.read()).done).toBe(true);
    expect(lab.observer.seen.findLast((one) => one.kind === "gauge")).toMatchObject({ value: 0 });
  });

  it("row 28: says nothing of other tenants' growth, and nothing without a token", async () => {
    const lab = await start();
    expect((await lab.get("/v1/tail")).status).toBe(401);
  });

  it("row 35: a device opens only so many", async () => {
    const lab = await start({ deviceTails: 2 });
    const token = await lab.token(lab.engine.founder);
    const tails = [await lab.get("/v1/tail", token), await lab.get("/v1/tail", token)];
    expect(await refusalOf(await lab.get("/v1/tail", token))).toMatchObject({ status: 429 });
    await tails[0]?.body?.cancel();
    // The server learns of the end from the socket, so a little later.
    let status = 429;
    while (status === 429) status = (await lab.get("/v1/tail", token)).status;
    expect(status).toBe(200);
  });

  it("ends when the server stops", async () => {
    const lab = await start();
    const token = await lab.token(lab.engine.founder);
    const answer = await lab.get("/v1/tail", token);
    lab.api.stop();
    expect(await answer.text()).toContain("event: end");
    expect(await refusalOf(await lab.get("/v1"))).toMatchObject({
      status: 503,
      code: "server_busy",
    });
    expect((await lab.get("/readyz")).status).toBe(503);
    expect((await lab.get("/healthz")).status).toBe(200);
  });
});
