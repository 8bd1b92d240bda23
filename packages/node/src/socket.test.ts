import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { afterEach, describe, expect, it } from "vitest";
import { type SocketRequest, isHoldfastError } from "@holdfast/core";
import { type WebSocket, WebSocketServer } from "ws";
import { createNodeSocket } from "./socket.ts";

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** A server that upgrades, or that answers; `accepted` acts on each socket. */
async function serverOf(
  act: { readonly accepted?: (socket: WebSocket) => void; readonly answer?: RequestListener },
  seen: IncomingMessage[] = [],
): Promise<string> {
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: true });
  const held = new Set<Duplex>();
  const server = createServer(act.answer);
  server.on("connection", (socket) => held.add(socket));
  if (act.answer === undefined) {
    server.on("upgrade", (request, socket, head) => {
      seen.push(request);
      if (act.accepted !== undefined) sockets.handleUpgrade(request, socket, head, act.accepted);
    });
  }
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  ends.push(() => {
    for (const socket of held) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/tail`;
}

const requestTo = (url: string, more: Partial<SocketRequest> = {}): SocketRequest => ({
  url,
  subprotocol: "one",
  openMs: 20_000,
  silenceMs: 20_000,
  messageBytesMax: 100,
  ...more,
});

/** Everything that is told, until the end. */
async function toldOf(request: SocketRequest): Promise<readonly unknown[]> {
  const told: unknown[] = [];
  await new Promise<void>((resolve) => {
    createNodeSocket().open(request, {
      opened: () => told.push("opened"),
      refused: ({ status, body }) => told.push(status, Buffer.from(body).toString()),
      message: (text) => told.push(text),
      ended(error, closeCode) {
        told.push(isHoldfastError(error) ? error.code : error, closeCode);
        resolve();
      },
    });
  });
  return told;
}

describe("socket port on Node", () => {
  it("offers subprotocol and token, no compression, and brings messages until the close code", async () => {
    const seen: IncomingMessage[] = [];
    const url = await serverOf(
      {
        accepted(socket) {
          socket.ping();
          socket.send("a");
          socket.send("");
          socket.close(4_401);
        },
      },
      seen,
    );
    const told = await toldOf(requestTo(url, { token: "T" }));
    expect(told).toEqual(["opened", "a", "", undefined, 4_401]);
    expect(seen[0]?.headers).toMatchObject({
      authorization: "Bearer T",
      "sec-websocket-protocol": "one",
    });
    expect(seen[0]?.headers).not.toHaveProperty("sec-websocket-extensions");
    expect(seen[0]?.url).toBe("/v1/tail");
  });

  it.each([
    ["beyond the bound", "a".repeat(101), "answer_too_large"],
    ["of bytes", Buffer.from("a"), "answer_malformed"],
  ])("a message %s ends it", async (_, message, code) => {
    const url = await serverOf({
      accepted(socket) {
        socket.send(message);
      },
    });
    expect(await toldOf(requestTo(url))).toEqual(["opened", code, undefined]);
  });

  it("a message of exactly the bound is brought", async () => {
    const url = await serverOf({
      accepted(socket) {
        socket.send("a".repeat(100));
        socket.close(1_000);
      },
    });
    expect(await toldOf(requestTo(url))).toEqual(["opened", "a".repeat(100), undefined, 1_000]);
  });

  it.each([
    [401, "no"],
    [503, "no"],
  ])("tells of an answer %i with its body", async (status, body) => {
    const url = await serverOf({
      answer: (_, response) => response.writeHead(status).end(body),
    });
    expect(await toldOf(requestTo(url))).toEqual([status, body, undefined, undefined]);
  });

  it("follows no redirect, and reads no body that may go on for ever", async () => {
    let asked = 0;
    for (const status of [302, 200]) {
      const url = await serverOf({
        answer(_, response) {
          asked += 1;
          response.writeHead(status, { location: "/elsewhere" }).write(": open\n\n");
        },
      });
      expect(await toldOf(requestTo(url))).toEqual([status, "", undefined, undefined]);
    }
    expect(asked).toBe(2);
  });

  it("ends where nobody is, where nobody answers, and after a silence", async () => {
    expect(await toldOf(requestTo("http://127.0.0.1:1/v1/tail"))).toEqual([
      "network_unreachable",
      undefined,
    ]);
    const silent = await serverOf({});
    expect(await toldOf(requestTo(silent, { openMs: 30 }))).toEqual(["network_timeout", undefined]);
    const quiet = await serverOf({ accepted: () => undefined });
    expect(await toldOf(requestTo(quiet, { silenceMs: 30 }))).toEqual([
      "opened",
      "network_timeout",
      undefined,
    ]);
  });

  it("refuses plaintext to other machines", async () => {
    expect(await toldOf(requestTo("http://192.0.2.1/v1/tail"))).toEqual([
      "transport_insecure",
      undefined,
    ]);
  });

  it("ends with its signal, before and after it is open", async () => {
    const url = await serverOf({ accepted: () => undefined });
    expect(await toldOf(requestTo(url, { signal: AbortSignal.abort() }))).toEqual([
      "sync_cancelled",
      undefined,
    ]);
    const controller = new AbortController();
    const told: unknown[] = [];
    await new Promise<void>((resolve) => {
      createNodeSocket().open(requestTo(url, { signal: controller.signal }), {
        opened() {
          controller.abort();
        },
        refused: () => undefined,
        message: () => undefined,
        ended(error) {
          told.push(isHoldfastError(error) ? error.code : error);
          resolve();
        },
      });
    });
    expect(told).toEqual(["sync_cancelled"]);
  });
});
