/**
 * A simulated server: the engine and its SQLite store on a simulated disk, behind the route table of the real
 * one. Only encoded bytes come in and go out. A server that dies answers nothing that was under way; the next
 * process begins with what the disk holds, and with no token that its predecessor gave out.
 *
 * A second node may stand by: it has the same folder and the same keys, and serves as soon as the first one has
 * died. One that is only paused still holds the lock of the folder, so that nobody takes over from it: there is
 * never a second writer that it could meet when it goes on.
 */
import {
  type Crypto,
  errorAnswerShape,
  fromBase64url,
  fromUtf8,
  HoldfastError,
  type HttpAnswer,
  type HttpRequest,
  isHoldfastError,
  parseDeviceLogOrigin,
  protocolDigest,
  silentObserver,
  type SqliteDriver,
  utf8,
  verifySignature,
  writeJson,
} from "@holdfast/core";
import {
  type Caller,
  createSqliteServerStore,
  createSyncServer,
  engineStatus,
  refusalFor,
  routes,
  type ServerNode,
  type ServerStore,
  type SyncServer,
  type Tokens,
} from "@holdfast/server/engine";
import type { Chance } from "../chance.ts";
import { createPushingDevice } from "../pushing-device.ts";
import { createDisk, type DiskFaults, type SimDisk } from "./disk.ts";
import type { Knobs, OneIn } from "./knobs.ts";
import type { Plant } from "./plant.ts";
import type { Scheduler } from "./scheduler.ts";
import { type SimProcess, startProcess, type WallClock } from "./sim-process.ts";
import { serveTail, type StreamEnds } from "./sim-tail.ts";
import type { Sqlite } from "./sqlite-module.ts";
import { openSimSqlite } from "./wasm-driver.ts";

/** What a server needs of its world. */
export interface SimServerPorts {
  readonly scheduler: Scheduler;
  readonly sqlite: Sqlite;
  readonly crypto: Crypto;
  readonly chance: Chance;
  readonly knobs: Knobs;
  readonly plant: Plant;
  fail(error: unknown): void;
}

/** A server in the hands of a living process. */
interface OpenServer {
  readonly process: SimProcess;
  readonly server: SyncServer;
  readonly store: ServerStore;
  readonly tokens: Tokens;
}

/** One server; see the module header. */
export interface SimServer {
  readonly url: string;
  readonly wall: WallClock;
  readonly disk: SimDisk;
  readonly open: OpenServer | undefined;
  /** Answers in its own time; never, when it dies before. `undefined`: nobody listens. */
  ask(request: HttpRequest): Promise<HttpAnswer> | undefined;
  /** Opens a tail; the function that it returns closes it. `undefined`: nobody listens. */
  listen(request: HttpRequest, ends: StreamEnds): (() => void) | undefined;
  live(): void;
  kill(atAccess: boolean): void;
  pause(): void;
  resume(): void;
  arm(): void;
  heal(): void;
  undisturbed<T>(work: () => Promise<T>): Promise<T>;
  /** A code that founds a tenant: proof of its secret is the holder's to make. */
  addFoundingCode(digest: string): Promise<void>;
}

/** Host part of the log origins. */
export const host = "server.sim";
/** Between two tries of a node that stands by, while faults strike and afterwards. */
const standbyMs = 200;
const standbyQuietMs = 20_000;

/** Tokens that name their caller in a table of this process, good for a while by its clock. */
function createSimTokens(
  server: Pick<SyncServer, "assertionKey">,
  crypto: Crypto,
  process: SimProcess,
  lifeMs: number,
): Tokens {
  const held = new Map<string, Caller & { readonly expires: number }>();
  const used = new Set<string>();
  let count = 0;
  return {
    async exchange(assertion) {
      const [header = "", claims = "", signature = ""] = assertion.split(".");
      const { iss, aud, exp, jti } = JSON.parse(
        fromUtf8(fromBase64url(claims) ?? new Uint8Array(0)),
      ) as {
        readonly iss: string;
        readonly aud: string;
        readonly exp: number;
        readonly jti: string;
      };
      const caller = parseDeviceLogOrigin(iss);
      const now = process.clock.now();
      const fits = aud === host && exp * 1_000 > now - 30_000 && !used.has(jti);
      const key = caller === undefined ? undefined : await server.assertionKey(caller);
      const signed =
        key !== undefined &&
        verifySignature(
          crypto,
          key.algorithm,
          key.spki,
          utf8(`${header}.${claims}`),
          fromBase64url(signature) ?? new Uint8Array(0),
        );
      if (caller === undefined || !fits || !signed) throw new HoldfastError("assertion_refused");
      used.add(jti);
      count += 1;
      const accessToken = `${process.name.replaceAll("/", "-")}-${count}`;
      held.set(accessToken, { ...caller, expires: now + lifeMs });
      return { accessToken, expiresInMs: lifeMs };
    },
    admit([authorization = ""]) {
      const caller = held.get(authorization.replace(/^Bearer /, ""));
      if (caller === undefined || caller.expires <= process.clock.now()) {
        return Promise.reject(new HoldfastError("token_refused"));
      }
      return Promise.resolve(caller);
    },
  };
}

const none = new Uint8Array(0);

async function answerTo(
  open: OpenServer,
  schema: string,
  request: HttpRequest,
): Promise<HttpAnswer> {
  const { pathname, searchParams } = new URL(request.url);
  const route = routes.find(
    ({ method, path }) => path === pathname && method === request.method.toLowerCase(),
  );
  if (route?.run === undefined) throw new HoldfastError("not_found");
  const caller = route.token
    ? await open.tokens.admit([request.headers["authorization"] ?? ""])
    : undefined;
  const query = Object.fromEntries(
    [...searchParams].map(([name, value]) => [
      name,
      route.query?.[name] === "count" ? Number(value) : value,
    ]),
  );
  const body = await route.run({
    server: open.server,
    tokens: open.tokens,
    caller,
    body: request.body ?? none,
    query,
    greeting: { schema, encodings: [] },
  });
  return { status: body === undefined ? 204 : 200, headers: {}, body: body ?? none };
}

/** What the API answers to a failure. */
export function refusalAnswer(error: unknown): HttpAnswer {
  const { status, code, message, details, retryAfter } = refusalFor(error, engineStatus);
  return {
    status,
    headers: retryAfter === undefined ? {} : { "retry-after": String(retryAfter) },
    body: writeJson(errorAnswerShape, { code, message, requestId: "", details }),
  };
}

/** A server with an empty disk. */
export function createSimServer(ports: SimServerPorts): SimServer {
  const { scheduler, chance, knobs, crypto, plant } = ports;
  const running = new Set<string>();
  const wall: WallClock = { offset: Date.UTC(2026, 0, 1), drift: 0 };
  const disk = createDisk();
  const { privateKey, spki } = crypto.generateSigningKey("ed25519");
  const sign = crypto.signer("ed25519", privateKey);
  const nodes = new Map<string, ServerNode>();
  const schema = protocolDigest(crypto);
  let lives = 0;
  let process: SimProcess | undefined;
  let open: OpenServer | undefined;
  let killIn: number | undefined;
  let healed = false;

  const strikes = (times: OneIn): boolean => times > 0 && chance.oneIn(times);

  const faults: DiskFaults = (access) => {
    if (killIn !== undefined) {
      killIn -= 1;
      if (killIn < 0) {
        killIn = undefined;
        process?.kill();
        return { failure: "dead", when: chance.oneIn(2) ? "before" : "after" };
      }
    }
    const times = access === "read" ? 0 : knobs.serverErrors;
    return strikes(times) ? { failure: "EIO", when: "before" } : undefined;
  };

  function nodeFor(tenant: string): Promise<ServerNode> {
    let node = nodes.get(tenant);
    if (node === undefined) {
      const device = createPushingDevice({ crypto, chance, tenant });
      node = { device: device.device, ...device.firstWords() };
      nodes.set(tenant, node);
    }
    return Promise.resolve(node);
  }

  function openWith(living: SimProcess, driver: SqliteDriver): OpenServer {
    const store = plant.serverStore(createSqliteServerStore({ crypto, driver }));
    const server = plant.server(
      createSyncServer({
        store,
        crypto,
        clock: living.clock,
        timers: living.timers,
        random: chance,
        observer: silentObserver,
        host,
        key: { spki, sign },
        reads: "granted",
        nodeFor,
      }),
    );
    const tokens = createSimTokens(server, crypto, living, knobs.tokenMs);
    return { process: living, server, store, tokens };
  }

  /** When a node that died, or found the folder taken, tries again. */
  function restartIn(): number {
    const soon = 1 + chance.integer(knobs.serverRestartMs);
    if (open === undefined) return soon;
    return soon + (healed ? standbyQuietMs : standbyMs);
  }

  function run(node: string): void {
    lives += 1;
    const living = startProcess({ name: `${node}/${lives}`, scheduler, wall, running });
    // Faults strike the node that serves; the other one has nothing yet.
    if (open === undefined) process = living;
    living.atDeath(() => {
      if (open?.process === living) open = undefined;
      scheduler.after(1, `${node} is down`, () => {
        if (open === undefined && !healed && strikes(knobs.powerLoss)) {
          scheduler.note("server loses power");
          disk.losePower(chance);
        }
        scheduler.after(restartIn(), `${node} restarts`, () => {
          run(node);
        });
      });
    });
    try {
      const driver = openSimSqlite({
        sqlite: ports.sqlite,
        disk,
        user: living,
        name: "server/server.db",
        readOnly: false,
        create: true,
      });
      living.atDeath(() => {
        driver.close();
      });
      open = openWith(living, plant.serverDriver(driver));
      process = living;
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      scheduler.note(`${node} cannot open: ${error.code}`);
      living.kill();
    }
  }

  return {
    url: `https://${host}`,
    wall,
    disk,
    get open() {
      return open;
    },
    ask(request) {
      const at = open;
      if (at === undefined) return undefined;
      return new Promise((resolve) => {
        const tell = (answer: HttpAnswer): void => {
          at.process.deliver("answer", () => {
            resolve(answer);
          });
        };
        answerTo(at, schema, request).then(tell, (error: unknown) => {
          // A defect of the server would hide behind a 500.
          if (!isHoldfastError(error) && at.process.alive) ports.fail(error);
          const why = isHoldfastError(error) ? JSON.stringify(error.details) : "";
          if (at.process.alive) scheduler.note(`server refuses ${why}`);
          tell(refusalAnswer(error));
        });
      });
    },
    listen: (request, ends) => (open === undefined ? undefined : serveTail(open, request, ends)),
    live() {
      run("server");
    },
    kill(atAccess) {
      if (process?.alive !== true) return;
      if (atAccess) killIn = chance.integer(chance.oneIn(2) ? 20 : 200);
      else process.kill();
    },
    pause: () => process?.pause(),
    resume: () => process?.resume(),
    arm() {
      disk.faults = faults;
      if (knobs.standby) run("standby");
    },
    heal() {
      healed = true;
      killIn = undefined;
      disk.faults = undefined;
      process?.resume();
    },
    async undisturbed(work) {
      const before = disk.faults;
      disk.faults = undefined;
      try {
        return await work();
      } finally {
        disk.faults = before;
      }
    },
    async addFoundingCode(digest) {
      const expires = Date.UTC(2100, 0, 1);
      await open?.server.addFoundingCode(digest, expires);
    },
  };
}
