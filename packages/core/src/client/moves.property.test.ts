/**
 * Pushes, pulls and moves of the tenant in any order, answers held back across moves: real replicas at the real
 * engine. Nothing is skipped, nothing comes twice, and everybody can prove what they hold.
 */
import { createNodeCrypto, openPlainSqlite, systemRandom } from "@holdfast/node";
import {
  createInvitationCode,
  createNoteDraft as note,
  createTestDevices,
  createTestServer,
  callerOf,
  rawOf,
  type TestServer,
} from "@holdfast/testkit";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { parseCheckpoint } from "../proof/checkpoint.ts";
import { parseNote } from "../proof/note.ts";
import { parseEpoch } from "../proof/server-epoch.ts";
import { parseStatement } from "../proof/server-leaf.ts";
import { base64url } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { followBehind, followLog } from "../sync/follow-log.ts";
import type { PullPage, PullRequest } from "../sync/messages/pull.ts";
import type { PushAnswer } from "../sync/messages/push.ts";
import type { PlannedPush, ShownLog } from "../sync/sync-store.ts";
import { silentObserver } from "../telemetry/observer.ts";
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

const bounds = { bodies: 3, bytes: limits.pushBytesMax, leaves: 1_000 };
const page = { events: 3, bytes: limits.pullBytesMax };

async function replica(server: TestServer) {
  const { tenant, founder } = server;
  const made = await devices.make({ joins: { tenant, founder: founder.device } });
  const { store, sync } = made;
  const code = createInvitationCode({ crypto, chance: server.chance });
  const expires = server.clock.now() + 60_000;
  await server.server.addCode(callerOf(founder), { digest: code.digest, role: "admin", expires });
  const binding = base64url(server.chance.bytes(32));
  const request = { ...sync.enrolment(), proof: code.proof, binding };
  const answer = await server.server.enrol(request);
  const fingerprint = base64url(crypto.sha256(server.spki));
  await sync.enrolled("https://server.test", await server.server.hello(), answer, fingerprint);
  const { device } = store.status();
  await server.store.write(tenant, (tx) => tx.setAccess(tenant, device, ["*"]));
  return { ...made, device };
}

type Replica = Awaited<ReturnType<typeof replica>>;

/** Answers that are under way to one replica. */
interface UnderWay {
  push: { readonly plan: PlannedPush; readonly answer: PushAnswer } | undefined;
  pull: { readonly request: PullRequest; readonly page: PullPage } | undefined;
}

function actsOf(here: TestServer, of: Replica) {
  const { sync, clock } = of;
  const { server, tenant } = here;
  const caller = () => ({ tenant, device: of.device, incarnation: sync.origin().incarnation });
  const transport = {
    epoch: async (request: never) => server.epoch(caller(), request),
    present: async (request: never) => server.present(caller(), request),
  };
  const deps = { store: sync, transport, observer: silentObserver };
  const tools = { call: <T>(send: (options: object) => Promise<T>): Promise<T> => send({}) };
  const follow = async (shown: ShownLog): Promise<void> => {
    expect(await followLog(deps, tools, shown)).toMatchObject({ code: "server_log_moved" });
  };
  const behind = async (error: unknown, named: number): Promise<void> => {
    if (!isHoldfastError(error, "server_behind")) throw error;
    const end = await followBehind(deps, tools, error, named);
    expect(end).toMatchObject({ code: "server_log_moved" });
  };
  return {
    async beginPush(): Promise<UnderWay["push"]> {
      const plan = await sync.planPush(bounds);
      if (plan === undefined) return undefined;
      try {
        const answer = await server.push(caller(), plan.request, rawOf(plan.request));
        return { plan, answer };
      } catch (error) {
        await sync.pushFailed(plan, { code: "server_behind", nextAt: clock.now() });
        await behind(error, plan.request.checkpoint);
        return undefined;
      }
    },
    async endPush({ plan, answer }: NonNullable<UnderWay["push"]>): Promise<void> {
      const outcome = await sync.takePush(plan, answer);
      if (outcome.status === "moved") await follow(outcome.shown);
      else expect(["receipted", "replan"]).toContain(outcome.status);
    },
    async beginPull(): Promise<UnderWay["pull"]> {
      const request = sync.planPull(page);
      if (request === undefined) return undefined;
      try {
        return { request, page: await server.pull(caller(), request) };
      } catch (error) {
        await behind(error, request.checkpoint);
        return undefined;
      }
    },
    /** Is there more? */
    async endPull(held: NonNullable<UnderWay["pull"]>): Promise<boolean> {
      const outcome = await sync.takePull(held.request, held.page);
      if (outcome.status === "moved") await follow(outcome.shown);
      else expect(outcome.status).toBe("stored");
      return outcome.status !== "stored" || outcome.more;
    },
  };
}

const steps = fc.array(
  fc.record({
    act: fc.constantFrom(
      "record",
      "record",
      "begin push",
      "begin push",
      "end push",
      "begin pull",
      "begin pull",
      "end pull",
      "move",
    ),
    who: fc.nat(1),
  }),
  { minLength: 8, maxLength: 40 },
);

const numRuns = process.env["HOLDFAST_FULL"] === "1" ? 300 : 12;

test("whatever is under way while a tenant moves, nothing is skipped and nothing comes twice", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (taken) => {
      const driver = openPlainSqlite({ path: ":memory:", readOnly: false });
      const here = await createTestServer({ crypto, driver });
      const replicas = [await replica(here), await replica(here)];
      const acts = replicas.map((of) => actsOf(here, of));
      const underWay = replicas.map((): UnderWay => ({ push: undefined, pull: undefined }));
      let recorded = 0;
      let moves = 0;
      const move = async (): Promise<void> => {
        moves += 1;
        await here.server.moveTenant({ tenant: here.tenant });
      };
      for (const { act, who } of taken) {
        const [of, does, held] = [replicas[who], acts[who], underWay[who]];
        if (of === undefined || does === undefined || held === undefined) throw new Error("nobody");
        if (act === "record") await of.store.append(note("x", `${(recorded += 1)}`));
        if (act === "move") await move();
        if (act === "begin push") held.push ??= await does.beginPush();
        if (act === "begin pull") held.pull ??= await does.beginPull();
        if (act === "end push" && held.push !== undefined) {
          await does.endPush(held.push);
          held.push = undefined;
        }
        if (act === "end pull" && held.pull !== undefined) {
          await does.endPull(held.pull);
          held.pull = undefined;
        }
      }
      await move();
      for (const [at, does] of acts.entries()) {
        const held = underWay[at];
        if (held?.push !== undefined) await does.endPush(held.push);
        if (held?.pull !== undefined) await does.endPull(held.pull);
        for (let turn = 0; (replicas[at]?.sync.watermarks().waiting ?? 0) > 0; turn++) {
          expect(turn).toBeLessThan(100);
          replicas[at]?.clock.advance(60_000);
          const begun = await does.beginPush();
          if (begun !== undefined) await does.endPush(begun);
        }
      }
      for (const does of acts) {
        for (let turn = 0, more = true; more; turn++) {
          expect(turn).toBeLessThan(100);
          const begun = await does.beginPull();
          if (begun !== undefined) more = await does.endPull(begun);
        }
      }
      for (const { store, sync } of replicas) {
        expect(store.verify().problems).toEqual([]);
        const ids = store.read({ type: "NoteTaken" }).map(({ header }) => header.id);
        expect(ids).toHaveLength(recorded);
        expect(new Set(ids).size).toBe(recorded);
        expect(sync.watermarks()).toMatchObject({ waiting: 0, owed: [], dead: 0 });
        expect(sync.evidence()).toBeUndefined();
      }
      await expectServerWhole(here, moves);
      for (const { store } of replicas) await store.close();
      await here.close();
    }),
    { numRuns },
  );
});

/** Positions have no gap; each log begins with the epoch of the one before, and all its leaves are signed. */
async function expectServerWhole(here: TestServer, moves: number): Promise<void> {
  const { reads, tenant } = here;
  const placed = await reads.events(tenant, "*", 0, 10_000);
  expect(placed.map(({ position }) => position)).toEqual(placed.map((_, at) => at + 1));
  const shards = await reads.shards();
  expect(shards.map(({ sealed }) => sealed)).toEqual([...shards.slice(1).map(() => true), false]);
  expect(shards).toHaveLength(moves + 1);
  let before: string | undefined;
  for (const { shard, leaves } of shards) {
    const checkpoint = await reads.checkpoint(shard);
    expect(checkpoint?.size).toBe(leaves);
    const [first = "", ...rest] = await reads.serverLeaves(shard, 0, leaves);
    if (before === undefined) expect(parseStatement(first).kind).toBe("enrol");
    else expect(parseEpoch(first).origin).toBe(before);
    for (const text of rest) parseStatement(text);
    before = parseCheckpoint(parseNote(checkpoint?.note ?? "").text).origin;
  }
}
