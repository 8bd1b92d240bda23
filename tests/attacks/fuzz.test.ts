/**
 * Requests made up from the published document, spoiled, from callers of every kind: whatever comes, the answer is
 * documented, has its code and request id, and a refusal leaves every table as it was.
 *
 * 3,200 requests in `npm test`; `HOLDFAST_FULL=1` sends 100,000.
 */
import { Agent, type IncomingMessage, request as openRequest } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineStatus, openApiDocument, statusByCode } from "@holdfast/server";
import { createChance, type PushingDevice } from "@holdfast/testkit";
import { startTestApi, type TestApi } from "../server/lab.ts";
import { digestOf, foundOther } from "./lab.ts";
import { createRequests, type MadeRequest } from "./requests.ts";

const full = process.env["HOLDFAST_FULL"] === "1";
const requests = full ? 100_000 : 3_200;
const seed = Number(process.env["HOLDFAST_SEED"] ?? 20_261_120);
const rate = { perSecond: 1e9, burst: 1e9 };

let lab: TestApi;
let make: ReturnType<typeof createRequests>;
let agent: Agent;
beforeAll(async () => {
  lab = await startTestApi({
    addressRate: rate,
    deviceRate: rate,
    deviceTails: 100_000,
    addressRequests: 100_000,
    allRequests: 1_000_000,
    bodySilenceMs: 200,
  });
  agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const { engine } = lab;
  const { founder } = engine;
  founder.record([{}, {}]);
  await engine.receipted(founder, 0);
  const device = await engine.join();
  device.record([{}]);
  const leaving = await engine.join();
  const callers: readonly PushingDevice[] = [
    founder,
    device,
    await engine.join("reader"),
    await engine.join("auditor"),
    leaving,
    await foundOther(engine),
  ];
  const tokens: string[] = [];
  for (const each of callers) tokens.push(await lab.token(each));
  const { tenant, incarnation } = founder;
  const admin = { tenant, device: founder.device, incarnation };
  await engine.server.revoke(admin, { device: leaving.device, why: "lost" });
  const document = openApiDocument();
  const words = callers.flatMap((each) => [
    each.tenant,
    each.device,
    each.incarnation,
    each.opening,
    each.hpke,
    ...each.events.flatMap(({ leaf, header: { scope, stream } }) => [leaf, scope, stream]),
    ...each.notes.map(({ text }) => text),
    "*",
  ]);
  make = createRequests({ document, device, words, tokens: [undefined, "a.b.c", ...tokens] });
});
afterAll(async () => {
  agent.destroy();
  await lab.close();
});

interface Seen {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

/** `undefined`: the connection ended without an answer, as it does behind a body that is too short. */
function sent({ method, path, headers, body, promised }: MadeRequest): Promise<Seen | undefined> {
  return new Promise((resolve, reject) => {
    const length = promised ?? body?.length;
    const asked = openRequest({
      host: "127.0.0.1",
      port: lab.port,
      agent: promised === undefined ? agent : false,
      method,
      path: path.replaceAll(/[^\u0021-\u007e]/g, (found) => encodeURIComponent(found)),
      headers: {
        ...headers,
        ...(length === undefined ? {} : { "content-length": length }),
      } as never,
      timeout: 20_000,
    });
    asked.on("timeout", () => {
      reject(new Error("no answer"));
      asked.destroy();
    });
    asked.on("error", () => {
      resolve(undefined);
    });
    asked.on("response", (answer: IncomingMessage) => {
      const type = answer.headers["content-type"] ?? "";
      const status = answer.statusCode ?? 0;
      if (type === "text/event-stream") {
        resolve({ status, type, body: "" });
        answer.destroy();
        return;
      }
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("error", () => {
        resolve(undefined);
      });
      answer.on("end", () => {
        resolve({ status, type, body: Buffer.concat(chunks).toString("latin1") });
      });
    });
    asked.end(body === undefined ? undefined : Buffer.from(body));
  });
}

const statuses: Readonly<Record<string, number>> = { ...statusByCode, ...engineStatus };

/** What is wrong with an answer; `undefined`: nothing. */
function fault({ method }: MadeRequest, { status, type, body }: Seen): string | undefined {
  if (status === 200 || status === 204) return undefined;
  if (status >= 500) return `status ${status}`;
  if (method === "HEAD") return undefined;
  if (type !== "application/json") return `a refusal of type ${type}`;
  const said = JSON.parse(body) as Record<string, unknown>;
  if (Object.keys(said).toSorted().join() !== "code,details,message,request_id") return body;
  if (statuses[String(said["code"])] !== status) return `${String(said["code"])} with ${status}`;
  return /^[A-Za-z0-9_-]{16}$/.test(String(said["request_id"])) ? undefined : "request id";
}

const changesOf = (): number =>
  lab.engine.driver.prepare("SELECT total_changes() AS n").get<{ n: number }>()?.n ?? -1;

describe("generated requests", () => {
  it(
    `${requests} of them earn documented answers and change nothing when refused`,
    { timeout: 1_800_000 },
    async () => {
      const counts = new Map<number, number>();
      const codes = new Set<string>();
      let changes = changesOf();
      let digest = digestOf(lab.engine);
      for (let at = 0; at < requests; at++) {
        const made = make(createChance(seed + at));
        const seen = await sent(made);
        const where = `seed ${seed + at}: ${made.method} ${made.path}`;
        if (seen === undefined) {
          // Only what cannot be a request at all, or is not sent whole, goes without an answer.
          expect(made.promised !== undefined || isNoRequest(made), where).toBe(true);
          continue;
        }
        counts.set(seen.status, (counts.get(seen.status) ?? 0) + 1);
        const wrong = fault(made, seen);
        if (wrong !== undefined) throw new Error(`${where}: ${wrong}`);
        if (seen.status >= 400 && made.method !== "HEAD") {
          codes.add((JSON.parse(seen.body) as { code: string }).code);
        }
        const isRefusal = seen.status >= 400;
        // Rows are counted each time; every table is compared whenever the count or chance says so.
        const after = changesOf();
        if (after !== changes || at % 100 === 99) {
          const now = digestOf(lab.engine);
          if (isRefusal) expect(now, where).toBe(digest);
          digest = now;
          changes = after;
        }
      }
      // The requests are worth something: some are right, and refusals are of many kinds.
      expect(counts.get(200) ?? 0).toBeGreaterThan(requests / 50);
      expect(counts.get(204) ?? 0).toBeGreaterThan(0);
      for (const status of [400, 401, 403, 404, 405, 413, 415, 422]) {
        expect(counts.get(status) ?? 0, `status ${status}`).toBeGreaterThan(0);
      }
      expect(codes.size).toBeGreaterThan(15);
      expect((await lab.get("/readyz")).status).toBe(200);
    },
  );
});

/** Headers that make the connection something else, or that no server may take. */
function isNoRequest({ headers, method }: MadeRequest): boolean {
  return "transfer-encoding" in headers || "upgrade" in headers || method === "TRACE";
}
