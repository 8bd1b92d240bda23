/**
 * The live tail over a WebSocket, as readers and attackers meet it. What both transports must do is in
 * `tails.test.ts`; here is what only a WebSocket has. The reader is Node's own WebSocket, which, as a browser's,
 * sets no headers; attackers write bytes.
 */
import { once } from "node:events";
import { connect } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { bearerSubprotocol, limits, tailCloseCodes, tailSubprotocol } from "@holdfast/core";
import { openSocketTail, type TailSocket } from "@holdfast/server";
import { createManualClock } from "@holdfast/testkit";
import { refusalOf, startTestApi, type TestApi } from "./lab.ts";

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

async function start(bounds: Parameters<typeof startTestApi>[0] = {}): Promise<TestApi> {
  const lab = await startTestApi(bounds);
  ends.push(() => lab.close());
  return lab;
}

async function socketOf(lab: TestApi): Promise<WebSocket> {
  const token = await lab.token(lab.engine.founder);
  const socket = new WebSocket(`ws://127.0.0.1:${lab.port}/v1/tail`, [
    tailSubprotocol,
    `${bearerSubprotocol}${token}`,
  ]);
  ends.push(() => {
    socket.close();
  });
  return socket;
}

/** What the server says to bytes, until it ends the connection. */
async function said(lab: TestApi, text: string): Promise<{ status: number; text: string }> {
  const socket = connect({ port: lab.port, host: "127.0.0.1" });
  ends.push(() => void socket.destroy());
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.on("error", () => undefined);
  socket.write(text, "latin1");
  await once(socket, "close");
  const answer = Buffer.concat(chunks).toString("latin1");
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1]), text: answer };
}

interface Asking {
  readonly method?: string;
  readonly path?: string;
  readonly key?: string;
  readonly lines?: readonly string[];
}

function upgrade({ method = "GET", path = "/v1/tail", key, lines = [] }: Asking): string {
  return [
    `${method} ${path} HTTP/1.1`,
    "Host: x",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${key ?? Buffer.alloc(16).toString("base64")}`,
    ...lines,
    "\r\n",
  ].join("\r\n");
}

const offer = `Sec-WebSocket-Protocol: ${tailSubprotocol}`;

describe("live tail over a WebSocket", () => {
  it("takes the token as a subprotocol, and answers with the other one", async () => {
    const lab = await start();
    const socket = await socketOf(lab);
    await once(socket, "open");
    expect({ protocol: socket.protocol, extensions: socket.extensions }).toEqual({
      protocol: tailSubprotocol,
      extensions: "",
    });
    expect(lab.observer.seen.findLast((one) => one.kind === "gauge")).toMatchObject({ value: 1 });
    const message = once(socket, "message");
    lab.engine.founder.record([{ type: "NoteAdded" }]);
    await lab.engine.receipted(lab.engine.founder, 0);
    const [{ data }] = (await message) as [{ readonly data: string }];
    expect(Object.keys(JSON.parse(data) as object)).toEqual(["head"]);
    lab.api.stop();
    const [{ code }] = (await once(socket, "close")) as [CloseEvent];
    expect(code).toBe(tailCloseCodes.stopping);
    expect(lab.observer.seen.findLast((one) => one.kind === "gauge")).toMatchObject({ value: 0 });
  });

  it.each([
    ["a word", "hello", tailCloseCodes.spoke],
    ["more than a message may have", "a".repeat(limits.tailMessageBytesMax + 1), 1_009],
  ])("lets a reader go that says %s", async (_, words, expected) => {
    const lab = await start();
    const socket = await socketOf(lab);
    await once(socket, "open");
    socket.send(words);
    const [{ code }] = (await once(socket, "close")) as [CloseEvent];
    expect(code).toBe(expected);
    expect(lab.observer.seen.findLast((one) => one.kind === "gauge")).toMatchObject({ value: 0 });
  });

  it("counts together with server-sent events: a device has only so many of both", async () => {
    const lab = await start({ deviceTails: 2 });
    const token = await lab.token(lab.engine.founder);
    const stream = await lab.get("/v1/tail", token);
    const socket = await socketOf(lab);
    await once(socket, "open");
    expect(await refusalOf(await lab.get("/v1/tail", token))).toMatchObject({ status: 429 });
    const lines = [offer, `Authorization: Bearer ${token}`];
    const refused = await said(lab, upgrade({ lines }));
    expect(refused.status).toBe(429);
    expect(refused.text).toMatch(/retry-after: \d/);
    expect(refused.text).toContain('"code":"requests_too_many"');
    await stream.body?.cancel();
    socket.close();
    await once(socket, "close");
    // The server learns of the ends from its sockets, so a little later.
    let status = 429;
    while (status === 429) {
      const again = await lab.get("/v1/tail", token);
      ({ status } = again);
      await again.body?.cancel();
    }
    expect(status).toBe(200);
  });

  it.each([
    ["without a token", 401, "token_refused", () => ({ lines: [offer] })],
    [
      "with a token in the address",
      400,
      "query_parameter_invalid",
      (token: string) => ({ path: `/v1/tail?token=${token}`, lines: [offer] }),
    ],
    [
      "with two tokens",
      401,
      "token_refused",
      (token: string) => ({
        lines: [`${offer}, ${bearerSubprotocol}${token}`, `Authorization: Bearer ${token}`],
      }),
    ],
    [
      "without the subprotocol",
      400,
      "message_malformed",
      (token: string) => ({ lines: [`Authorization: Bearer ${token}`] }),
    ],
    [
      "with a key that is none",
      400,
      "message_malformed",
      (token: string) => ({ key: "x", lines: [offer, `Authorization: Bearer ${token}`] }),
    ],
  ])("refuses a request %s: %i", async (_, status, code, asking) => {
    const lab = await start();
    const token = await lab.token(lab.engine.founder);
    const answer = await said(lab, upgrade(asking(token)));
    expect(answer.status).toBe(status);
    expect(answer.text).toContain(`"code":"${code}"`);
    expect(answer.text).toMatch(/"request_id":"[A-Za-z0-9_-]{16}"/);
    expect(answer.text).not.toContain(token);
  });

  it("answers other requests that ask for an upgrade as if they had not", async () => {
    const lab = await start();
    const close = ["Connection: close"];
    expect((await said(lab, upgrade({ path: "/healthz", lines: close }))).status).toBe(200);
    expect((await said(lab, upgrade({ method: "PUT", lines: close }))).status).toBe(405);
    expect((await said(lab, upgrade({ path: "/v1/none", lines: close }))).status).toBe(404);
  });

  it("is refused by a server that stops, which does not wait for readers that never close", async () => {
    const lab = await start();
    const token = await lab.token(lab.engine.founder);
    const lines = [offer, `Authorization: Bearer ${token}`];
    const socket = connect({ port: lab.port, host: "127.0.0.1" });
    ends.push(() => void socket.destroy());
    const ended = once(socket, "close");
    socket.write(upgrade({ lines }));
    const [first] = (await once(socket, "data")) as [Buffer];
    expect(first.toString("latin1")).toMatch(/^HTTP\/1\.1 101 /);
    lab.api.stop();
    expect((await said(lab, upgrade({ lines }))).status).toBe(503);
    await ended;
  });
});

/** A socket whose reader does what the test says. */
function scripted() {
  const listeners = new Map<string | symbol, (...given: never[]) => void>();
  const sent: string[] = [];
  const codes: unknown[] = [];
  const state = { bufferedAmount: 0, pings: 0 };
  const socket = {
    get bufferedAmount() {
      return state.bufferedAmount;
    },
    send: (text: string) => sent.push(text),
    ping: () => void state.pings++,
    close: (code: number) => codes.push(code),
    on(event: string | symbol, listener: (...given: never[]) => void) {
      listeners.set(event, listener);
      return socket;
    },
  };
  return {
    socket: socket as unknown as TailSocket,
    sent,
    codes,
    state,
    emit: (event: string) => listeners.get(event)?.(),
  };
}

describe("a reader of a WebSocket", () => {
  const lab = () => {
    const clock = createManualClock();
    const script = scripted();
    let tell: (head: number) => void = () => undefined;
    let ended = 0;
    const server = {
      watch(_tenant: string, listener: typeof tell) {
        tell = listener;
        return () => undefined;
      },
      checkpoint: () => Promise.resolve({ checkpoint: "" }),
    };
    const caller = { tenant: "t", device: "d", incarnation: "i" };
    const admitted = { ...caller, expires: clock.now() + limits.tokenLifeMs };
    openSocketTail({ server, clock, timers: clock }, admitted, script.socket, () => void ended++);
    return {
      ...script,
      clock,
      tell: (head: number) => {
        tell(head);
      },
      ended: () => ended,
    };
  };

  it("that is slow gets the newest hint once it reads", () => {
    const { tell, state, sent } = lab();
    state.bufferedAmount = 1;
    for (let head = 1; head <= 100; head++) tell(head);
    expect(sent).toEqual([]);
    state.bufferedAmount = 0;
    tell(101);
    expect(sent).toEqual(['{"head":101}']);
  });

  it("that answers pings stays until its token ends", () => {
    const { clock, emit, codes, state, ended } = lab();
    for (let beat = 1; beat < limits.tokenLifeMs / limits.tailHeartbeatMs; beat++) {
      clock.advance(limits.tailHeartbeatMs);
      emit("pong");
    }
    expect({ pings: state.pings, codes }).toEqual({ pings: 29, codes: [] });
    clock.advance(limits.tailHeartbeatMs);
    expect({ codes, ended: ended(), timers: clock.pending }).toEqual({
      codes: [tailCloseCodes.token],
      ended: 1,
      timers: 0,
    });
  });

  it("that answers none is let go", () => {
    const { clock, codes, sent, ended } = lab();
    clock.advance(limits.tailHeartbeatMs * 4);
    expect({ codes, sent }).toEqual({ codes: [], sent: [""] });
    clock.advance(limits.tailHeartbeatMs);
    expect({ codes, ended: ended() }).toEqual({ codes: [tailCloseCodes.unread], ended: 1 });
  });

  it("that is gone is forgotten", () => {
    const { emit, tell, clock, sent, ended } = lab();
    emit("close");
    tell(1);
    expect({ sent, ended: ended(), timers: clock.pending }).toEqual({
      sent: [],
      ended: 1,
      timers: 0,
    });
  });
});
