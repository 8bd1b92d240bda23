/** The failing path before a server: where it leads, and what a live tail does that it lets through. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { createHttpTransport } from "@holdfast/core";
import { createNodeHttp, createNodeSocket } from "@holdfast/node";
import { startFaultProxy } from "@holdfast/server/fault-proxy";
import { startTestApi } from "./lab.ts";

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

describe("fault proxy", () => {
  it("leads to an address with a path, and later to another", async () => {
    const server = createServer((request, response) => {
      response.end(request.url);
    });
    await new Promise<void>((resolve) => {
      server.listen(0, "127.0.0.1", resolve);
    });
    ends.push(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const proxy = await startFaultProxy(`http://localhost:${port}/below/`);
    ends.push(() => proxy.close());
    const said = async (): Promise<string> => (await fetch(`${proxy.url}/v1/x?y=1`)).text();
    expect(await said()).toBe("/below/v1/x?y=1");
    proxy.target(port);
    expect(await said()).toBe("/v1/x?y=1");
    proxy.choose(({ number, path }) => ({
      kind: "answer",
      status: path === "/v1/x" ? 503 : 200 + number,
    }));
    expect((await fetch(`${proxy.url}/v1/x`)).status).toBe(503);
    expect(proxy.met).toMatchObject({ pass: 2, answer: 1 });
  });

  it("knows no WebSockets: a tail that asks for one goes on as server-sent events", async () => {
    const lab = await startTestApi();
    ends.push(() => lab.close());
    const proxy = await startFaultProxy(lab.port);
    ends.push(() => proxy.close());
    const http = createNodeHttp();
    ends.push(() => {
      http.close();
    });
    const transport = createHttpTransport({ http, socket: createNodeSocket() }, proxy.url);
    const { founder } = lab.engine;
    const token = await lab.token(founder);
    let size = 0;
    const heard = new Promise<number>((resolve, reject) => {
      ends.push(transport.tail({ hint: resolve, ended: reject }, { token }));
    });
    let head: number | undefined;
    // Nothing says that the tail is open: the shard grows until it tells.
    while (head === undefined) {
      founder.record([{ type: "NoteAdded" }]);
      await lab.engine.receipted(founder, size);
      size = founder.events.length;
      head = await Promise.race([
        heard,
        new Promise<undefined>((resolve) => {
          setTimeout(() => {
            resolve(undefined);
          }, 20);
        }),
      ]);
    }
    expect(head).toBeGreaterThan(0);
    expect(proxy.traffic.requests).toBe(2);
  });
});
