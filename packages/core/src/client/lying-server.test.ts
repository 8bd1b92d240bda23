/**
 * The device as the attacked side: a server that lies in every way it can, over the real engine and a real store.
 * A lie is refused with nothing stored, or halts sync with evidence, or it is listed in LIMITATIONS.md.
 */
import { createNodeCrypto, openPlainSqlite, systemRandom } from "@holdfast/node";
import {
  createManualClock,
  createNoteDraft as note,
  createReferenceServer,
  type ReferenceServer,
  settle,
  createTestDevices,
  enrolAt,
  testTenant as tenant,
} from "@holdfast/testkit";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { base64url, utf8 } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { PullPage, PullRequest } from "../sync/messages/pull.ts";
import type { PushAnswer, PushRequest } from "../sync/messages/push.ts";
import type { Transport } from "../sync/transport.ts";
import { lifeOf } from "./grant-store.ts";

const crypto = createNodeCrypto();
const devices = createTestDevices({
  crypto,
  random: systemRandom,
  openFile: openPlainSqlite,
  lifeOf,
});
afterAll(() => {
  devices.remove();
});

type Device = Awaited<ReturnType<typeof devices.make>>;

/** What a lying server may say instead; the rest it says as an honest one. */
interface Lies {
  readonly hello?: () => ReturnType<ReferenceServer["hello"]>;
  readonly push?: (request: PushRequest) => PushAnswer;
  readonly pull?: (request: PullRequest) => PullPage;
  readonly token?: () => never;
}

let clock: ReturnType<typeof createManualClock>;
let server: ReferenceServer;
/** Has two events there and two that wait; the other has three that this one has not seen. */
let attacked: Device;
let other: Device;
let me: string;

function engineOver(lies: Lies) {
  const counts = { push: 0, pull: 0, token: 0 };
  const counted = <Call extends (...given: never[]) => unknown>(
    name: keyof typeof counts,
    call: Call,
  ) =>
    (async (...given: never[]) => {
      // Whoever is asked without end must not be able to keep this process from everything else.
      await new Promise((resolve) => setImmediate(resolve));
      counts[name] += 1;
      return call(...given);
    }) as never;
  const transport: Partial<Transport> = {
    endpoint: "https://server.test",
    hello: async () => (lies.hello ?? server.hello)(),
    token: counted("token", lies.token ?? (() => ({ accessToken: me, expiresInMs: 600_000 }))),
    push: counted("push", lies.push ?? server.push),
    pull: counted("pull", lies.pull ?? ((request: PullRequest) => server.pull(me, request))),
    grants: async () => ({ grants: [], more: false }),
    tail: () => () => undefined,
  };
  return { counts, engine: attacked.store.sync(transport as Transport) };
}

beforeEach(async () => {
  clock = createManualClock();
  server = createReferenceServer({ crypto, tenant, now: () => clock.now() });
  attacked = await devices.make({ clock });
  other = await devices.make({ clock });
  me = attacked.store.status().device;
  await enrolAt(server, attacked);
  await enrolAt(server, other);
  await attacked.store.append(note("x", "1"));
  await settle(clock, engineOver({}).engine.syncNow());
  for (const text of ["2", "3", "4"]) await other.store.append(note("y", text));
  const plan = await other.sync.planPush({ bodies: 64, bytes: 1_000_000, leaves: 1_000 });
  if (plan !== undefined) await other.sync.takePush(plan, server.push(plan.request));
  await attacked.store.append([note("x", "5"), note("z", "6")]);
});

/** All rows that an answer may change. */
function rows(): string {
  const tables = ["events", "frames", "commits", "checkpoints", "server_leaves", "note_links"];
  const { driver } = attacked.life.current();
  const all = [...tables, "proofs", "pulls", "pushed", "streams", "incarnations"].map((table) =>
    driver.prepare(`SELECT * FROM ${table}`).all<Record<string, unknown>>(),
  );
  const outbox = driver.prepare("SELECT position FROM outbox").all<{ position: number }>();
  return JSON.stringify([all, outbox]);
}

function digest(text: string): string {
  return base64url(crypto.sha256(utf8(text)));
}

function evidence(): readonly string[] {
  return attacked.life
    .current()
    .driver.prepare("SELECT name FROM sync WHERE name GLOB 'evidence/*'")
    .all<{ name: string }>()
    .map(({ name }) => name);
}

/** Whatever was said: what waits, waits, the log verifies, and an honest server is believed afterwards. */
async function unharmed(): Promise<void> {
  expect(attacked.store.status().sync.waiting).toBe(2);
  expect(attacked.store.verify().problems).toEqual([]);
}

async function halts(lies: Lies, code: string): Promise<void> {
  const before = rows();
  const { engine, counts } = engineOver(lies);
  const report = await settle(clock, engine.syncNow());
  expect(report).toMatchObject({ status: "halted", failure: code });
  expect(engine.state().evidence).toBe(code);
  expect(evidence().some((name) => name.startsWith(`evidence/${code}/`))).toBe(true);
  // A halt is a halt: nobody is asked again, nor after a restart.
  const asked = { ...counts };
  engine.start();
  await settle(clock, engine.syncNow());
  const next = engineOver({});
  expect(await settle(clock, next.engine.syncNow())).toMatchObject({ status: "halted" });
  expect(counts).toEqual(asked);
  expect(next.counts).toEqual({ push: 0, pull: 0, token: 0 });
  if (lies.push !== undefined) await unharmed();
  else expect(attacked.store.verify().problems).toEqual([]);
  if (lies.push !== undefined && lies.pull === undefined) return;
  expect(eventsOf(rows())).toBe(eventsOf(before));
}

/** Rows of events, frames and what proves them; what an honest push earned meanwhile apart. */
function eventsOf(text: string): string {
  const [tables] = JSON.parse(text) as [readonly unknown[][]];
  return digest(JSON.stringify([tables[0], tables[1], tables[7]]));
}

const honest = (request: PullRequest): PullPage => server.pull(me, request);

/** The page with its first event's log changed. */
function withLog(page: PullPage, change: (log: PullPage["logs"][number]) => object): PullPage {
  const [first, ...rest] = page.logs;
  if (first === undefined) throw new Error("an empty page");
  return { ...page, logs: [{ ...first, ...change(first) }, ...rest] };
}

describe("row 52: what a server says of what it holds", () => {
  it("acknowledging everything and storing nothing: an old receipt delivers nothing", async () => {
    const plan = await attacked.sync.planPush({ bodies: 64, bytes: 1_000_000, leaves: 1_000 });
    if (plan === undefined) throw new Error("nothing to push");
    await attacked.sync.pushFailed(plan, { code: "network_failed", nextAt: clock.now() });
    // The answer to what it already had, given to whatever comes.
    const stale = server.push({ ...plan.request, entries: [], fills: [] });
    const before = rows();
    const { engine } = engineOver({ push: () => stale, pull: emptyPage });
    const report = await settle(clock, engine.syncNow());
    expect(report).toMatchObject({ pushed: 0 });
    expect(report.status).not.toBe("drained");
    expect(eventsOf(rows())).toBe(eventsOf(before));
    await unharmed();
  });

  it("acknowledging under another key halts", async () => {
    const forger = createReferenceServer({ crypto, tenant, now: () => clock.now() });
    await halts(
      {
        push(request) {
          const answer = server.copy().push(request);
          if (answer.status !== "receipted") return answer;
          const { checkpoint } = forger.enrol(attacked.sync.enrolment());
          return { ...answer, checkpoint };
        },
        pull: emptyPage,
      },
      "server_checkpoint_forged",
    );
  });

  it("acknowledging more than it has signed halts", async () => {
    await halts(
      {
        push(request) {
          const answer = server.copy().push(request);
          return answer.status === "receipted" ? { ...answer, size: answer.size + 1 } : answer;
        },
        pull: emptyPage,
      },
      "server_answer_wrong",
    );
  });

  it("claiming a fork that it cannot show halts, and no incarnation is opened", async () => {
    const { incarnation } = attacked.store.status();
    const held = attacked.sync.enrolment().note;
    await halts(
      { push: () => ({ status: "fork", index: 0, held, size: 4 }), pull: emptyPage },
      "server_answer_wrong",
    );
    expect(attacked.store.status().incarnation).toBe(incarnation);
  });

  it("claiming to have lost everything, again and again, ends; nothing is lost here", async () => {
    const { engine, counts } = engineOver({
      push: () => ({ status: "behind", size: 0 }),
      pull: emptyPage,
    });
    const report = await settle(clock, engine.syncNow());
    expect(["failed", "halted", "partial"]).toContain(report.status);
    expect(counts.push).toBeLessThan(20);
    expect(evidence().some((name) => name.includes("server_lost"))).toBe(true);
    expect(attacked.store.read({ type: "NoteTaken" }).length).toBeGreaterThanOrEqual(3);
    expect(attacked.store.status().sync.waiting).toBeGreaterThanOrEqual(2);
    expect(attacked.store.verify().problems).toEqual([]);
  });

  it("refusing every body holds them as dead letters; the log keeps them", async () => {
    server.rules.refuse = () => "event_link_wrong";
    await settle(clock, engineOver({ pull: emptyPage }).engine.syncNow());
    expect(attacked.store.status().sync).toMatchObject({ waiting: 0, dead: 2 });
    expect(attacked.store.verify().problems).toEqual([]);
  });

  it("a signed receipt and a server that has nothing of it afterwards: evidence, and it comes again", async () => {
    const before = server.copy();
    await settle(clock, engineOver({ pull: emptyPage }).engine.syncNow());
    expect(attacked.store.status().sync.waiting).toBe(0);
    await attacked.store.append(note("x", "7"));
    await settle(clock, engineOver({ push: before.push, pull: emptyPage }).engine.syncNow());
    expect(evidence().length).toBeGreaterThan(0);
    expect(attacked.store.status().sync.waiting).toBeGreaterThanOrEqual(1);
  });
});

/** Nothing to pull, honestly. */
function emptyPage(request: PullRequest): PullPage {
  const page = honest(request);
  return { ...page, logs: [], events: [], next: request.after, head: request.after };
}

describe("row 52: what a server shows of others", () => {
  it("a rewritten header halts", async () => {
    await halts(
      {
        pull(request) {
          const page = honest(request);
          const events = page.events.map((event, at) =>
            at === 1
              ? {
                  ...event,
                  body: { ...event.body, header: event.body.header.replace('"at":', '"at":1') },
                }
              : event,
          );
          return { ...page, events };
        },
      },
      "server_page_wrong",
    );
  });

  it("events in each other's place halt", async () => {
    await halts(
      {
        pull(request) {
          const page = honest(request);
          const [first, second, third, ...rest] = page.events;
          if (first === undefined || second === undefined || third === undefined) return page;
          return {
            ...page,
            events: [
              first,
              { ...second, body: third.body },
              { ...third, body: second.body },
              ...rest,
            ],
          };
        },
      },
      "server_page_wrong",
    );
  });

  it("positions that do not ascend, and more events than were asked for, halt", async () => {
    await halts(
      {
        pull(request) {
          const page = honest(request);
          return { ...page, events: page.events.map((event) => ({ ...event, position: 1 })) };
        },
      },
      "server_page_wrong",
    );
  });

  it("a note of another log halts", async () => {
    const { note: mine } = attacked.sync.enrolment();
    await halts(
      { pull: (request) => withLog(honest(request), () => ({ note: mine })) },
      "server_page_wrong",
    );
  });

  it("a receipt of another log halts", async () => {
    await halts(
      { pull: (request) => withLog(honest(request), ({ enrolment }) => ({ receipt: enrolment })) },
      "server_receipt_wrong",
    );
  });

  it("events of another tenant halt", async () => {
    const elsewhere = "ABCDEFGHIJKLMNOPQRSTUA";
    await halts(
      {
        pull(request) {
          const page = honest(request);
          const [first, ...rest] = page.events;
          if (first === undefined) return page;
          const header = first.body.header.replace(tenant, elsewhere);
          return { ...page, events: [{ ...first, body: { ...first.body, header } }, ...rest] };
        },
      },
      "server_page_wrong",
    );
  });

  it("one history to this device and another to its neighbour: the second halts", async () => {
    const parallel = server.copy();
    await settle(clock, engineOver({ push: server.push }).engine.syncNow());
    const third = await devices.make({ clock });
    parallel.enrol(third.sync.enrolment());
    for (let times = 0; times < 6; times++) {
      await third.store.append(note("w", `${times}`));
      const plan = await third.sync.planPush({ bodies: 64, bytes: 1_000_000, leaves: 1_000 });
      if (plan !== undefined) parallel.push(plan.request);
    }
    const { engine } = engineOver({ pull: (request) => parallel.pull(me, request) });
    expect(await settle(clock, engine.syncNow())).toMatchObject({ status: "halted" });
    expect(evidence().length).toBeGreaterThan(0);
  });

  it("its own log rolled back: halts", async () => {
    const before = server.copy();
    await settle(clock, engineOver({}).engine.syncNow());
    const { engine } = engineOver({ pull: (request) => before.pull(me, { ...request, after: 0 }) });
    const report = await settle(clock, engine.syncNow());
    expect(report.status).toBe("halted");
    expect(evidence().length).toBeGreaterThan(0);
  });

  it("an old page again and again stores nothing and ends", async () => {
    const first: PullPage[] = [];
    await settle(
      clock,
      engineOver({
        pull(request) {
          const page = honest(request);
          first.push(page);
          return page;
        },
      }).engine.syncNow(),
    );
    const before = rows();
    const { engine, counts } = engineOver({ pull: () => first[0] as PullPage });
    const report = await settle(clock, engine.syncNow());
    expect(report.pulled).toBe(0);
    expect(counts.pull).toBeLessThan(20);
    expect(digest(rows())).toBe(digest(before));
  });

  it("pages without end and without events end", async () => {
    const { engine, counts } = engineOver({
      pull: (request) => ({ ...emptyPage(request), next: request.after + 1, head: 2 ** 50 }),
    });
    const report = await settle(clock, engine.syncNow());
    expect(report).toMatchObject({ status: "failed", failure: "sync_no_progress" });
    expect(counts.pull).toBeLessThanOrEqual(limits.barrenPagesMax);
  });

  it("what it leaves out of the middle of a stream is named by verify; LIMITATIONS names the tail", async () => {
    const stream = other.store.streamId("y");
    server.rules.withhold = (header) => header.stream === stream && header.sseq === 2;
    await settle(clock, engineOver({}).engine.syncNow());
    expect(attacked.store.verify().problems.map(({ code }) => code)).toEqual(["withheld"]);
  });
});

describe("row 52: who the server is", () => {
  it("another key gets no assertion, and nothing of what waits", async () => {
    const stranger = createReferenceServer({ crypto, tenant, now: () => clock.now() });
    const before = rows();
    const { engine, counts } = engineOver({ hello: stranger.hello });
    const report = await settle(clock, engine.syncNow());
    expect(report.failure).toBe("server_key_changed");
    expect(counts).toEqual({ push: 0, pull: 0, token: 0 });
    expect(digest(rows())).toBe(digest(before));
    await unharmed();
  });

  it("one that refuses every token is not asked without end; the outbox stays", async () => {
    const { engine, counts } = engineOver({
      token() {
        throw new HoldfastError("assertion_refused", { status: 401 });
      },
    });
    expect(await settle(clock, engine.syncNow())).toMatchObject({ status: "needs-auth" });
    expect(counts.token).toBeLessThan(10);
    await unharmed();
  });
});
