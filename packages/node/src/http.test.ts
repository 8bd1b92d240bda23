import { createServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterEach, describe, expect, it } from "vitest";
import { createHttpTransport, type HttpRequest, isHoldfastError, utf8 } from "@holdfast/core";
import { createNodeHttp, type NodeHttp } from "./http.ts";

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

async function serverOf(answer: RequestListener): Promise<{ url: string; server: Server }> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  ends.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

function node(): NodeHttp {
  const http = createNodeHttp();
  ends.push(() => {
    http.close();
  });
  return http;
}

const get = (url: string, more: Partial<HttpRequest> = {}): HttpRequest => ({
  method: "GET",
  url,
  headers: {},
  timeoutMs: 20_000,
  answerBytesMax: 100_000,
  ...more,
});

async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (isHoldfastError(error)) return error.code;
    throw error;
  }
  return "answered";
}

describe("HTTP port on Node", () => {
  it("sends a body, compressed when asked, and reads the answer", async () => {
    const seen: unknown[] = [];
    const { url } = await serverOf((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        seen.push(request.headers["content-encoding"], Buffer.concat(chunks).length);
        response.writeHead(201, { "x-one": "1" }).end("yes");
      });
    });
    const http = node();
    const body = utf8("a".repeat(5_000));
    const plain = await http.request(get(url, { method: "POST", body }));
    expect(plain).toMatchObject({ status: 201, headers: { "x-one": "1" } });
    expect(Buffer.from(plain.body).toString()).toBe("yes");
    await http.request(get(url, { method: "POST", body, encoding: "zstd" }));
    await http.request(get(url, { method: "POST", body, encoding: "gzip" }));
    expect(seen.slice(0, 2)).toEqual([undefined, 5_000]);
    expect(seen[2]).toBe("zstd");
    expect(seen[4]).toBe("gzip");
    expect(Number(seen[3])).toBeLessThan(200);
  });

  it("keeps its connection", async () => {
    let connections = 0;
    const { url, server } = await serverOf((_, response) => response.end("yes"));
    server.on("connection", () => connections++);
    const http = node();
    for (let i = 0; i < 5; i++) await http.request(get(url));
    expect(connections).toBe(1);
  });

  it.each([
    ["zstd", zstdCompressSync],
    ["gzip", gzipSync],
  ])("decompresses %s within the limit", async (encoding, compress) => {
    let length = 50_000;
    const { url } = await serverOf((_, response) => {
      response.writeHead(200, { "content-encoding": encoding });
      response.end(compress(Buffer.alloc(length)));
    });
    const http = node();
    expect((await http.request(get(url))).body).toHaveLength(50_000);
    length = 50_000_000;
    expect(await failure(http.request(get(url)))).toBe("answer_too_large");
  });

  it("refuses a body that does not decompress, or under another encoding", async () => {
    let encoding = "gzip";
    const { url } = await serverOf((_, response) => {
      response.writeHead(200, { "content-encoding": encoding });
      response.end("no gzip");
    });
    const http = node();
    expect(await failure(http.request(get(url)))).toBe("answer_malformed");
    encoding = "zstd";
    expect(await failure(http.request(get(url)))).toBe("answer_malformed");
    encoding = "gzip, gzip";
    expect(await failure(http.request(get(url)))).toBe("answer_malformed");
  });

  it("does not follow redirects", async () => {
    const { url } = await serverOf((_, response) => {
      response.writeHead(302, { location: "http://169.254.169.254/" }).end();
    });
    const http = node();
    expect((await http.request(get(url))).status).toBe(302);
    expect(await failure(createHttpTransport({ http }, url).hello({}))).toBe("redirect_refused");
  });

  it("refuses plaintext to other machines", async () => {
    expect(await failure(node().request(get("http://192.0.2.1/")))).toBe("transport_insecure");
  });

  it("tells silence, refusal and a broken connection apart", async () => {
    const { url, server } = await serverOf((request, response) => {
      if (request.url === "/break") response.socket?.destroy();
    });
    const http = node();
    expect(await failure(http.request(get(url, { timeoutMs: 50 })))).toBe("network_timeout");
    expect(await failure(http.request(get(`${url}/break`)))).toBe("network_unreachable");
    server.closeAllConnections();
    await new Promise((resolve) => {
      server.close(resolve);
    });
    expect(await failure(http.request(get(url)))).toBe("network_unreachable");
  });

  it("is cancelled before, and while waiting", async () => {
    const { url } = await serverOf(() => undefined);
    const http = node();
    const waiting = new AbortController();
    const first = failure(http.request(get(url, { signal: waiting.signal })));
    setTimeout(() => {
      waiting.abort();
    }, 20);
    expect(await first).toBe("sync_cancelled");
    expect(await failure(http.request(get(url, { signal: waiting.signal })))).toBe(
      "sync_cancelled",
    );
  });

  it("reads a stream, and ends it when nothing comes", async () => {
    const { url } = await serverOf((_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write('event: hint\ndata: {"head":7}\n\n');
    });
    const http = node();
    const heads: number[] = [];
    const error = await new Promise((resolve) => {
      http.stream(get(url, { timeoutMs: 100 }), {
        refused: resolve,
        chunk: (bytes) => heads.push(bytes.length),
        ended: resolve,
      });
    });
    expect(heads.length).toBeGreaterThan(0);
    expect(isHoldfastError(error, "network_timeout")).toBe(true);
  });
});

describe("transport over HTTP: failures", () => {
  it.each([
    [400, { code: "message_malformed", part: "/x" }, {}, "message_malformed"],
    [401, undefined, {}, "token_refused"],
    [404, undefined, {}, "not_found"],
    [409, { code: "a_code_of_tomorrow" }, {}, "request_refused"],
    [413, undefined, {}, "message_too_large"],
    [429, undefined, { "retry-after": "7" }, "requests_too_many"],
    [500, { code: "internal" }, {}, "server_failed"],
    [502, undefined, {}, "server_failed"],
    [503, undefined, { "retry-after": "7" }, "server_busy"],
    [400, { code: "sync_cancelled" }, {}, "request_refused"],
    [200, undefined, {}, "answer_malformed"],
  ])("%s %j %j is %s", async (status, told, headers, code) => {
    const { url } = await serverOf((_, response) => {
      response.writeHead(status, headers);
      const { code: name, ...details } = { ...told } as { code?: string };
      const body = { code: name, message: "m", request_id: "r1", details };
      response.end(told === undefined ? "<html>" : JSON.stringify(body));
    });
    const transport = createHttpTransport({ http: node() }, url);
    const error = await transport.hello({}).catch((caught: unknown) => caught);
    expect(isHoldfastError(error) && error.code).toBe(code);
    const { details } = error as { details: Record<string, unknown> };
    expect(details["status"]).toBe(status);
    if ("retry-after" in headers) expect(details["retry_after_ms"]).toBe(7_000);
    if (told?.code === "message_malformed") {
      expect(details).toMatchObject({ part: "/x", request_id: "r1" });
    }
  });

  it("a port that nobody listens on is unreachable", async () => {
    const { url, server } = await serverOf(() => undefined);
    await new Promise((resolve) => {
      server.close(resolve);
    });
    const { port } = new URL(url);
    expect(
      await new Promise((resolve) => connect(Number(port), "127.0.0.1").on("error", resolve)),
    ).toBeInstanceOf(Error);
    const transport = createHttpTransport({ http: node() }, url);
    expect(await failure(transport.hello({}))).toBe("network_unreachable");
  });
});
