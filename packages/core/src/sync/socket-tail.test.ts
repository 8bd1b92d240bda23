import { describe, expect, it } from "vitest";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import { utf8 } from "../std/bytes.ts";
import type { HttpAnswer } from "./http-port.ts";
import type { SocketListener, SocketRequest } from "./socket-port.ts";
import { createSocketTail } from "./socket-tail.ts";
import { tailCloseCodes } from "./tail-wire.ts";
import type { TailListener } from "./transport.ts";

function lab() {
  const sockets: { request: SocketRequest; listener: SocketListener; closed: number }[] = [];
  const streams: { listener: TailListener; closed: number }[] = [];
  const told: unknown[] = [];
  const tail = createSocketTail({
    url: "https://server.test/v1/tail",
    socket: {
      open(request, listener) {
        const made = { request, listener, closed: 0 };
        sockets.push(made);
        return () => void made.closed++;
      },
    },
    events(listener) {
      const made = { listener, closed: 0 };
      streams.push(made);
      return () => void made.closed++;
    },
  });
  const open = () =>
    tail(
      {
        hint: (head) => told.push(head),
        ended: (error) => told.push(isHoldfastError(error) ? error.code : error),
      },
      { token: "T" },
    );
  return { open, sockets, streams, told };
}

const answer = (status: number, body = ""): HttpAnswer => ({
  status,
  headers: {},
  body: utf8(body),
});
const verdict = (status: number, code: string) =>
  answer(status, `{"code":"${code}","message":"","request_id":"r","details":{}}`);

/** What a port tells of an answer instead of a socket. */
function refuse(listener: SocketListener | undefined, given: HttpAnswer): void {
  listener?.refused(given);
  listener?.ended(undefined);
}

describe("live tail over a WebSocket", () => {
  it("keeps the token out of the address, tells hints, and nothing of heartbeats", () => {
    const { open, sockets, told } = lab();
    open();
    const [socket] = sockets;
    expect(socket?.request).toMatchObject({ url: "https://server.test/v1/tail", token: "T" });
    socket?.listener.opened();
    socket?.listener.message('{"head":7}');
    socket?.listener.message("");
    expect(told).toEqual([7]);
  });

  it.each([
    ["the server's close code for tokens", tailCloseCodes.token, "token_refused"],
    ["any other close code", tailCloseCodes.stopping, undefined],
  ])("ends by %s", (_, code, failure) => {
    const { open, sockets, streams, told } = lab();
    open();
    sockets[0]?.listener.opened();
    sockets[0]?.listener.ended(undefined, code);
    expect({ told, streams: streams.length }).toEqual({ told: [failure], streams: 0 });
  });

  it.each(['{"head":-1}', '{"head":1,"more":1}', "hello"])("ends at a message %s", (text) => {
    const { open, sockets, told } = lab();
    open();
    sockets[0]?.listener.opened();
    sockets[0]?.listener.message(text);
    sockets[0]?.listener.message('{"head":7}');
    expect({ told, closed: sockets[0]?.closed }).toEqual({ told: ["answer_malformed"], closed: 1 });
  });

  it.each([
    verdict(401, "token_refused"),
    verdict(429, "requests_too_many"),
    verdict(503, "server_busy"),
    verdict(403, "device_revoked"),
  ])("takes a refusal in the protocol's form as the server's word: $status", (given) => {
    const { open, sockets, streams, told } = lab();
    open();
    refuse(sockets[0]?.listener, given);
    expect(streams).toEqual([]);
    expect(told).toHaveLength(1);
    open();
    expect(sockets).toHaveLength(2);
  });

  it.each([
    answer(200),
    answer(403, "<html>"),
    answer(503),
    verdict(404, "not_found"),
    answer(302),
  ])("goes on as server-sent events where something answers instead: $status", (given) => {
    const { open, sockets, streams, told } = lab();
    const close = open();
    refuse(sockets[0]?.listener, given);
    streams[0]?.listener.hint(3);
    expect(told).toEqual([3]);
    close();
    expect(streams[0]?.closed).toBe(1);
    streams[0]?.listener.hint(4);
    expect(told).toEqual([3]);
    // The way there has no sockets: the next tail does not ask again.
    open();
    expect({ sockets: sockets.length, streams: streams.length }).toEqual({
      sockets: 1,
      streams: 2,
    });
  });

  it("goes on as server-sent events where the socket breaks before it is open, and tries again", () => {
    const { open, sockets, streams, told } = lab();
    open();
    sockets[0]?.listener.ended(new HoldfastError("network_unreachable"));
    streams[0]?.listener.ended(new HoldfastError("network_unreachable"));
    expect(told).toEqual(["network_unreachable"]);
    open();
    expect(sockets).toHaveLength(2);
  });

  it("opens nothing more once it was closed or cancelled", () => {
    const { open, sockets, streams, told } = lab();
    open()();
    sockets[0]?.listener.ended(undefined);
    open();
    sockets[1]?.listener.ended(new HoldfastError("sync_cancelled"));
    expect({ told, streams }).toEqual({ told: ["sync_cancelled"], streams: [] });
    expect(sockets[0]?.closed).toBe(1);
  });
});
