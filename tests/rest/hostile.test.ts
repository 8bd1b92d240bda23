/** A hostile backend on real sockets and real TLS: certificates, pins, redirects, bodies, silence, secrets. */
import { spawnSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { isHoldfastError } from "@holdfast/core";
import { createNodeHttp, deliverStore } from "@holdfast/node";
import { delivering, endAll, type Identity, noteRoutes, scriptedBackend } from "./lab.ts";

let folder: string;
const identities = new Map<string, Identity>();

/** A self-signed certificate, trusted by whoever is handed it. */
function makeIdentity(name: string, subject: string): boolean {
  const words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
  const [cert, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
  const files = ["-subj", "/CN=test", "-addext", `subjectAltName=${subject}`, "-keyout", key];
  const made = spawnSync("openssl", [...words.split(" "), ...files, "-out", cert]);
  if (made.status !== 0) return false;
  identities.set(name, { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") });
  return true;
}

let ready = false;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-rest-tls-"));
  ready = ["old", "new", "spare"].every((name) => makeIdentity(name, "IP:127.0.0.1"));
  ready &&= makeIdentity("elsewhere", "DNS:other.example");
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});
afterEach(endAll);

function identity(name: string): Identity {
  const made = identities.get(name);
  if (made === undefined) throw new Error(`${name} was not made`);
  return made;
}

function pinOf(name: string): string {
  const spki = new X509Certificate(identity(name).cert).publicKey.export({
    type: "spki",
    format: "der",
  });
  return `sha256/${createHash("sha256").update(spki).digest("base64")}`;
}

const everyone = (): string => [...identities.values()].map(({ cert }) => cert).join("");

const secret = "secret-token-abcdefghijklmnop";
const tokens = { token: () => Promise.resolve({ text: secret }) };

describe("certificates", () => {
  it("a backend that nobody vouches for, or under another name, gets nothing", async (context) => {
    if (!ready) context.skip("no openssl to make certificates with");
    const stranger = await scriptedBackend(identity("old"));
    const one = await delivering(stranger.url, { ports: { tokens } });
    await one.note("s", "x");
    expect(await one.engine.syncNow()).toMatchObject({ failure: "network_unreachable" });
    const misnamed = await scriptedBackend(identity("elsewhere"));
    const http = { certificates: everyone() };
    const two = await delivering(misnamed.url, { http, ports: { tokens } });
    await two.note("s", "x");
    expect(await two.engine.syncNow()).toMatchObject({ failure: "network_unreachable" });
    expect([stranger.seen, misnamed.seen]).toEqual([[], []]);
    expect(one.store.status().outbox.waiting).toBeGreaterThan(0);
  });

  it("a key that is not pinned halts delivery before anything was sent, until a person resumes", async (context) => {
    if (!ready) context.skip("no openssl to make certificates with");
    const backend = await scriptedBackend(identity("old"));
    const http = { certificates: everyone(), pins: [pinOf("new"), pinOf("spare")] };
    const made = await delivering(backend.url, { http, ports: { tokens } });
    const { store, engine, note, observer, later } = made;
    await note("s", "x");
    const halted = { status: "halted", failure: "certificate_pin_mismatch" };
    expect(await engine.syncNow()).toMatchObject(halted);
    later();
    expect(await engine.syncNow()).toMatchObject({ status: "halted" });
    expect(backend.seen).toEqual([]);
    // Counted once: it was not tried again.
    expect(observer.total("certificate_pin_failures")).toBe(1);
    expect(store.outbox.list().every(({ attempts }) => attempts === 0)).toBe(true);
    made.http.setPins([pinOf("old"), pinOf("spare")]);
    await engine.resume("admin/1", "the backend's operator confirmed the key");
    expect(await engine.syncNow()).toMatchObject({ status: "drained" });
  });

  it("a rotation of keys goes by without a failure", async (context) => {
    if (!ready) context.skip("no openssl to make certificates with");
    const backend = await scriptedBackend(identity("old"));
    const http = { certificates: everyone(), pins: [pinOf("old"), pinOf("spare")] };
    const { engine, note, http: port } = await delivering(backend.url, { http });
    const deliver = async (text: string): Promise<void> => {
      await note(text, text);
      expect(await engine.syncNow(), text).toMatchObject({ status: "drained", failure: undefined });
    };
    await deliver("before");
    port.setPins([pinOf("old"), pinOf("new")]);
    await deliver("both, old key");
    backend.present(identity("new"));
    // The connection that is open goes on; a new one meets the new key.
    await deliver("both, still connected");
    port.setPins([pinOf("new"), pinOf("old")]);
    await deliver("both, new key");
    port.setPins([pinOf("new"), pinOf("spare")]);
    await deliver("after");
    backend.present(identity("old"));
    // Connections that were checked against the former set are not used again.
    port.setPins([pinOf("new"), pinOf("elsewhere")]);
    await note("stale", "x");
    expect(await engine.syncNow()).toMatchObject({ failure: "certificate_pin_mismatch" });
  });

  it("are pinned by at least two keys, over https only", async () => {
    const { store } = await delivering("http://127.0.0.1:1/");
    const pin = `sha256/${"A".repeat(43)}=`;
    const other = `sha256/${"B".repeat(42)}A=`;
    const faults = [[], [pin], [pin, pin], [pin, "sha256/short"], [pin, "md5/AAAA"]];
    for (const pins of faults) {
      expect(() => createNodeHttp({ pins }), JSON.stringify(pins)).toThrow("pins_invalid");
    }
    const backend = { url: "http://127.0.0.1:1/", routes: noteRoutes };
    expect(() => deliverStore(store, backend, { pins: [pin, other] })).toThrow("pins_invalid");
    const http = createNodeHttp({ pins: [pin, other] });
    const plain = {
      method: "GET",
      url: backend.url,
      headers: {},
      timeoutMs: 50,
      answerBytesMax: 1,
    } as const;
    await expect(http.request(plain)).rejects.toSatisfy((error) =>
      isHoldfastError(error, "transport_insecure"),
    );
    http.close();
  });
});

describe("redirects", () => {
  it("are never followed, and nobody else gets the token", async () => {
    const other = await scriptedBackend();
    const backend = await scriptedBackend();
    const { store, engine, note, later } = await delivering(backend.url, { ports: { tokens } });
    await note("s", "x");
    for (const status of [301, 302, 303, 307, 308]) {
      backend.script = (_, response) => {
        response.writeHead(status, { location: `${other.url}/notes` }).end();
      };
      expect(await engine.syncNow()).toMatchObject({ failure: "redirect_refused" });
      later();
    }
    expect(other.seen).toEqual([]);
    expect(store.outbox.deadLetters()).toEqual([]);
  });
});

/** A server that answers every request with those bytes, and then does as it is told. */
async function rawBackend(
  answer: (socket: Socket) => void,
): Promise<{ url: string; server: Server }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("data", () => {
      answer(socket);
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  rawServers.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}
const rawServers: (() => void)[] = [];
afterEach(() => {
  for (const end of rawServers.splice(0)) end();
});

describe("answers", () => {
  const ok = "HTTP/1.1 200 OK\r\n";
  const hostile: readonly (readonly [
    name: string,
    code: string,
    answer: (socket: Socket) => void,
  ])[] = [
    ["silence", "network_timeout", () => undefined],
    ["a status line without an end", "network_timeout", (socket) => socket.write("HTTP/1.1 200")],
    [
      "a slow body",
      "network_timeout",
      (socket) => {
        socket.write(`${ok}content-length: 1000000\r\n\r\n`);
        const drip = setInterval(() => socket.write("x"), 5);
        socket.on("close", () => {
          clearInterval(drip);
        });
      },
    ],
    [
      "a body that is cut off",
      "network_unreachable",
      (socket) => {
        socket.end(`${ok}content-length: 100\r\n\r\nonly so much`);
      },
    ],
    [
      "chunks that are cut off",
      "network_unreachable",
      (socket) => {
        socket.end(`${ok}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n`);
      },
    ],
    [
      "a huge body",
      "answer_too_large",
      (socket) => {
        socket.write(`${ok}transfer-encoding: chunked\r\n\r\n`);
        const piece = `10000\r\n${"x".repeat(0x10000)}\r\n`;
        const pour = (): void => {
          while (socket.writable && socket.write(piece));
        };
        socket.on("drain", pour);
        pour();
      },
    ],
    [
      "headers without an end",
      "network_unreachable",
      (socket) => {
        socket.write(ok + `x-filler: ${"x".repeat(8_000)}\r\n`.repeat(4));
      },
    ],
    ["no HTTP", "network_unreachable", (socket) => socket.end("SSH-2.0-OpenSSH_9.2\r\n")],
    [
      "a status of four digits",
      "network_unreachable",
      (socket) => socket.end("HTTP/1.1 2000 OK\r\n\r\n"),
    ],
    [
      "a status below 200 only",
      "network_timeout",
      (socket) => socket.write("HTTP/1.1 150 Hm\r\n\r\n"),
    ],
    [
      "an upgrade that nobody asked for",
      "answer_malformed",
      (socket) =>
        socket.write("HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
    ],
    [
      "a status beyond 599",
      "answer_malformed",
      (socket) => socket.end("HTTP/1.1 799 Odd\r\ncontent-length: 0\r\n\r\n"),
    ],
    [
      "a body that does not decompress",
      "answer_malformed",
      (socket) => socket.end(`${ok}content-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope`),
    ],
    ["no answer at all", "network_unreachable", (socket) => socket.destroy()],
  ];
  it.each(hostile)("%s: %s, and the event waits", async (_, code, answer) => {
    const { url } = await rawBackend(answer);
    const { store, engine, note } = await delivering(url, {
      backend: { timeoutMs: 300, answerBytesMax: 200_000 },
    });
    const id = await note("s", "x");
    expect(await engine.syncNow()).toMatchObject({ status: "failed", failure: code });
    const entry = store.outbox.show(id);
    expect(entry).toMatchObject({ state: "waiting", attempts: 1 });
    expect(entry.tried).toMatchObject([{ result: "failed", code }]);
  });

  it.each(["soon", "-5", "1e9", "99999999999999", "Mon, 99 Foo 2026 00:00:00 GMT", ""])(
    "Retry-After %j is no wish",
    async (text) => {
      const backend = await scriptedBackend();
      const { store, engine, note, clock } = await delivering(backend.url);
      const id = await note("s", "x");
      backend.script = (_, response) => {
        response.writeHead(503, { "retry-after": text }).end();
      };
      await engine.syncNow();
      const { nextAt = 0 } = store.outbox.show(id);
      expect(nextAt).toBeLessThanOrEqual(clock.now() + 1_000);
    },
  );

  it("an event whose answer was lost comes again under the same key, and has one effect", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note, later } = await delivering(backend.url);
    const effects = new Map<string, string>();
    for (let i = 0; i < 10; i++) await note(`s${i}`, `n${i}`);
    let lost = 0;
    backend.script = ({ headers, body }, response) => {
      const key = headers["idempotency-key"] ?? "";
      expect(effects.get(key) ?? body).toBe(body);
      const isNew = !effects.has(key);
      effects.set(key, body);
      if (!isNew) return 200;
      lost += 1;
      response.socket?.destroy();
      return undefined;
    };
    for (let round = 0; round < 30 && store.status().outbox.waiting > 0; round++) {
      await engine.syncNow();
      later();
    }
    expect([effects.size, lost, store.status().outbox.waiting]).toEqual([10, 10, 0]);
    expect(store.outbox.deadLetters()).toEqual([]);
  });
});

describe("secrets", () => {
  it("stand in no log, metric, attempt or dead letter", async () => {
    const backend = await scriptedBackend();
    const { store, engine, note, observer, later } = await delivering(backend.url, {
      backend: { headers: { "x-api-key": "another-secret-value-1234567" } },
      ports: { tokens },
    });
    const words = "very personal words";
    const id = await note("s", words);
    await note("t", words);
    backend.script = ({ headers }, response) => {
      expect(headers["authorization"]).toBe(`Bearer ${secret}`);
      response.writeHead(headers["idempotency-key"] === id ? 422 : 500, {
        "set-cookie": "session=cookie-secret-value",
        "www-authenticate": `Bearer ${secret}`,
        location: `http://127.0.0.1:1/?token=${secret}`,
      });
      response.end(JSON.stringify({ echo: secret, message: words }));
    };
    const report = await engine.syncNow();
    later();
    const seen = JSON.stringify([
      observer.seen,
      report,
      engine.state(),
      store.outbox.deadLetters(),
      store.outbox.list().map((entry) => store.outbox.show(entry.id)),
    ]);
    const secrets = [secret, secret.slice(7), "another-secret", "cookie-secret", words, id];
    // The event's id names its entry; in what is logged it does not stand.
    const logged = JSON.stringify(observer.seen);
    for (const each of secrets) expect(logged, each).not.toContain(each);
    for (const each of secrets.slice(0, -1)) expect(seen, each).not.toContain(each);
    expect(logged).toContain("Bearer secr…nop");
    const shown = observer.seen.find(
      (entry) => entry.kind === "log" && entry.event === "http_answer",
    );
    expect(shown).toMatchObject({ labels: { method: "POST", path: "/api/notes" } });
  });
});
