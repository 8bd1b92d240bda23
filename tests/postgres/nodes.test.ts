/** Nodes of one server on one database: the same keys, tokens of each other, a device of their own for each. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import {
  type EnrolledDevice,
  isHoldfastError,
  type JsonValue,
  parseEpoch,
  parseStatement,
  type Transport,
} from "@holdfast/core";
import { loadConfig, openShards, type RunningServer } from "@holdfast/server/serve";
import type { PushingDevice } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDatabase, type TestDatabase } from "./cluster.ts";
import { assertionOf, createNodes, type Nodes, serverName } from "./nodes.ts";

let database: TestDatabase;
let nodes: Nodes;
let a: RunningServer;
let b: RunningServer;
let atA: Transport;
let atB: Transport;
let founder: PushingDevice;
let token: string;
beforeAll(async () => {
  database = await createDatabase();
  nodes = createNodes(database.url);
  a = await nodes.start("a");
  b = await nodes.start("b");
  [atA, atB] = [nodes.transport(a), nodes.transport(b)];
  founder = await nodes.found(a);
  token = (await atA.token({ assertion: assertionOf(founder) }, {})).accessToken;
});
afterAll(async () => {
  await nodes.close();
  await database.close();
});

async function refusal(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
    return "done";
  } catch (error) {
    return isHoldfastError(error) ? { code: error.code, ...error.details } : error;
  }
}

/** Pushes what the device has recorded at that size, and answers who states its receipt. */
async function pushed(at: Transport, from: number): Promise<string> {
  const answer = await at.push(founder.push(from), { token });
  if (answer.status !== "receipted") throw new Error(answer.status);
  return parseStatement(answer.receipt.text).node;
}

describe("nodes on one database", () => {
  it("take each other's tokens, and an assertion once among them all", async () => {
    const assertion = assertionOf(founder);
    const given = await atA.token({ assertion }, {});
    expect((await atB.devices({ token: given.accessToken })).length).toBeGreaterThan(0);
    expect(await refusal(atB.token({ assertion }, {}))).toMatchObject({
      code: "assertion_refused",
      part: "jti",
    });
    const raced = assertionOf(founder);
    const both = [atA, atB].map((at) => refusal(at.token({ assertion: raced }, {})));
    const outcomes = await Promise.all(both);
    expect(outcomes.filter((one) => one === "done")).toHaveLength(1);
  });

  it("forget used assertions once they have expired", async () => {
    await database.owner.lend((connection) =>
      connection.exec("UPDATE holdfast.used_assertions SET until = 1"),
    );
    const again = await nodes.start("forgets");
    const at = nodes.transport(again);
    await at.token({ assertion: assertionOf(founder) }, {});
    const expired = () =>
      database.owner.lend((connection) =>
        connection.rows("SELECT name FROM holdfast.used_assertions WHERE until = 1"),
      );
    while ((await expired()).length > 0) await wait(10);
    await again.close();
  });

  it("state receipts as devices of their own, known to the log before they speak", async () => {
    founder.record([{}]);
    const first = await pushed(atA, 0);
    founder.record([{}]);
    const second = await pushed(atB, 2);
    expect(second).not.toBe(first);
    founder.record([{}]);
    expect(await pushed(atB, 3)).toBe(second);
    founder.record([{}]);
    expect(await pushed(atA, 4)).toBe(first);

    const devices = await atA.devices({ token });
    const known = devices.map((one: EnrolledDevice) => one.device);
    expect(known).toEqual(expect.arrayContaining([first, second]));
    const texts = await leaves();
    const statements = texts.map((text) => parseStatement(text));
    for (const [at, { node }] of statements.entries()) {
      const enrolled = statements.findIndex(
        ({ kind, origin }) => kind === "enrol" && origin.includes(node),
      );
      expect(enrolled).toBeLessThanOrEqual(at);
      expect(enrolled).toBeGreaterThanOrEqual(0);
    }
    // What is granted to one of them opens on each: they have one key for that.
    const page = await atA.pull(everything, { token });
    const openings = page.events
      .map(
        ({ body }) => JSON.parse(body.header) as { readonly dev: string; readonly pub?: JsonValue },
      )
      .filter(({ dev }) => [first, second].includes(dev));
    expect(openings).toHaveLength(2);
    const keys = openings.map(({ pub }) => (pub as { readonly hpke: string }).hpke);
    expect(keys[0]).toBe(keys[1]);
  });

  it("are no admin's to revoke", async () => {
    const device = parseStatement((await leaves()).at(-1) ?? "").node;
    expect(await refusal(atB.revoke({ device, why: "lost" }, { token }))).toMatchObject({
      code: "device_unknown",
    });
  });

  it("are the same devices after they were started again, from their keys alone", async () => {
    founder.record([{}]);
    const before = await pushed(atB, founder.events.length - 1);
    await b.close();
    b = await nodes.start("b", { data: join(nodes.folder, "elsewhere") });
    atB = nodes.transport(b);
    founder.record([{}]);
    expect(await pushed(atB, founder.events.length - 1)).toBe(before);
  });

  it("answer from the shard that a tenant was moved to, whoever moved it, while they run", async () => {
    const data = join(nodes.folder, "operator");
    const keys = join(nodes.folder, "a", "server.keys");
    const flags = { data, keys, node: "a", name: serverName, database_url: database.url };
    const shards = openShards(loadConfig({ flags }));
    const origins = async (): Promise<readonly string[]> => {
      const answers = [atA, atB].map(async (at) => at.checkpoint({ token }));
      return (await Promise.all(answers)).map(({ checkpoint }) => checkpoint.split("\n")[0] ?? "");
    };
    const [before = ""] = await origins();
    const { tenant } = founder;
    const moved = await shards.split({ tenant, shard: "moved" });
    expect(moved.sealed.log).toBe(before);
    expect(await origins()).toEqual([moved.log, moved.log]);
    for (const at of [atB, atA]) {
      const epoch = await at.epoch({ log: before, size: 1 }, { token });
      expect(parseEpoch(epoch.epoch.text).origin).toBe(before);
      founder.record([{}]);
      await pushed(at, founder.events.length - 1);
    }
    const listed = (await shards.list()).filter((one) => one.tenant === tenant);
    expect(listed).toMatchObject([
      { sealed: true, leaves: moved.sealed.size },
      { shard: "moved", sealed: false },
    ]);
    expect(await refusal(shards.split({ tenant, shard: "moved" }))).toMatchObject({
      code: "shard_taken",
    });
    expect(await refusal(shards.split({ tenant: "A".repeat(22) }))).toMatchObject({
      code: "tenant_unknown",
    });
  });

  it("give a shard's name to one of two tenants that are moved to it at once", async () => {
    const other = await nodes.found(b);
    const data = join(nodes.folder, "operator");
    const keys = join(nodes.folder, "a", "server.keys");
    const flags = { data, keys, node: "a", name: serverName, database_url: database.url };
    const moves = [founder, other].map(async ({ tenant }) => {
      // Two operators, who do not know of each other.
      return refusal(openShards(loadConfig({ flags })).split({ tenant, shard: "wanted" }));
    });
    const outcomes = await Promise.all(moves);
    expect(outcomes).toContain("done");
    expect(outcomes).toContainEqual({ code: "shard_taken" });
    const named = (await openShards(loadConfig({ flags })).list()).filter(
      ({ shard }) => shard === "wanted",
    );
    expect(named).toHaveLength(1);
  });

  it("tell the tails of one of what was pushed at the other", async () => {
    const heard: number[] = [];
    const end = atB.tail(
      { hint: (head) => void heard.push(head), ended: () => undefined },
      { token },
    );
    // A tail that opens late is told of the next one.
    while (heard.length === 0) {
      founder.record([{}]);
      await pushed(atA, founder.events.length - 1);
      await wait(50);
    }
    end();
  });
});

describe("a node with other keys than those of the database", () => {
  it.each([
    ["checkpoint_key", { keys: undefined }],
    ["name", { name: "other.test" }],
  ] as const)("does not start: %s", async (part, flags) => {
    const keys = join(nodes.folder, "a", "server.keys");
    const changed = join(nodes.folder, `changed-${part}`);
    const members = JSON.parse(readFileSync(keys, "utf8")) as Record<string, string>;
    writeFileSync(changed, JSON.stringify({ ...members, name: "other.test" }), { mode: 0o600 });
    const given = "name" in flags ? { ...flags, keys: changed } : flags;
    const data = join(nodes.folder, `data-${part}`);
    expect(await refusal(nodes.start(`x-${part}`, { ...given, data }))).toEqual({
      code: "server_keys_foreign",
      part,
    });
  });

  it("nor without the file that was named", async () => {
    const keys = join(nodes.folder, "nowhere");
    expect(await refusal(nodes.start("y", { keys }))).toEqual({ code: "server_keys_missing" });
  });
});

describe("a node that is asked to stop", () => {
  it("turns unready first, and takes pushes meanwhile", async () => {
    const node = await nodes.start("stops", { drain_seconds: 2 });
    const at = nodes.transport(node);
    expect((await fetch(`${node.url}/readyz`)).status).toBe(200);
    const closed = node.close();
    expect((await fetch(`${node.url}/readyz`)).status).toBe(503);
    founder.record([{}]);
    await pushed(at, 0);
    const answer = await fetch(`${node.url}/v1`);
    expect(answer.headers.get("connection")).toBe("close");
    await closed;
    expect(await refusal(at.hello({}))).toMatchObject({ code: "network_unreachable" });
  });
});

const everything = {
  scopes: "*" as const,
  after: 0,
  events: 100,
  bytes: 1_000_000,
  checkpoint: 0,
  held: {},
  own: true,
};

async function leaves(): Promise<readonly string[]> {
  const { checkpoint } = await atA.checkpoint({ token });
  const size = Number(checkpoint.split("\n")[1]);
  const answer = await fetch(`${a.url}/v1/log/leaves?from=0&to=${size}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  return ((await answer.json()) as { leaves: readonly string[] }).leaves;
}
