/** Groups, failures of the medium, and tenants beside each other. */
import {
  frameVersion,
  isHoldfastError,
  limits,
  parseCheckpoint,
  parseNote,
  type PushAnswer,
} from "@holdfast/core";
import { createNodeCrypto, openPlainSqlite } from "@holdfast/node";
import {
  callerOf,
  createFaultPlan,
  createInvitationCode,
  createPseudonym,
  createPushingDevice,
  createTestServer,
  type FaultPlan,
  type PushingDevice,
  rawOf,
  type TestServer,
} from "@holdfast/testkit";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const crypto = createNodeCrypto();
let here: TestServer;
let faults: FaultPlan;

beforeEach(async () => {
  faults = createFaultPlan();
  const driver = faults.over(() => openPlainSqlite({ path: ":memory:", readOnly: false }));
  here = await createTestServer({ crypto, driver });
});
afterEach(async () => {
  await here.close();
});

async function settledCodes(promises: readonly Promise<PushAnswer>[]): Promise<readonly string[]> {
  const settled = await Promise.allSettled(promises);
  return settled.map((one) => {
    if (one.status === "fulfilled") return one.value.status;
    return isHoldfastError(one.reason) ? one.reason.code : String(one.reason);
  });
}

function sizeOf(answer: PushAnswer): number {
  if (answer.status !== "receipted") throw new Error(answer.status);
  return parseCheckpoint(parseNote(answer.checkpoint).text).size;
}

describe("a group", () => {
  test("has one checkpoint, and one that is refused concerns nobody else", async () => {
    const { founder, reads, tenant } = here;
    const devices = [founder, await here.join(), await here.join()];
    const shard = (await reads.tenant(tenant))?.shard ?? "";
    const before = (await reads.head(shard)).leaves;
    const forged = { ...founder.push(0), note: "nothing" };
    const pushes = devices.map((device) => here.push(device, device.push(0)));
    const refused = here.push(founder, forged);
    const answers = await Promise.all(pushes);
    expect(await settledCodes([refused])).toEqual(["push_note_malformed"]);
    expect(answers.map(sizeOf)).toEqual([before + 3, before + 3, before + 3]);
    expect(await reads.checkpoint(shard, before + 1)).toBeUndefined();
    expect(await reads.checkpoint(shard, before + 2)).toBeUndefined();
    expect(answers.map((one) => one.status === "receipted" && one.receipt.index)).toEqual([
      before,
      before + 1,
      before + 2,
    ]);
  });

  test.each([
    [/INSERT INTO events/, "before"],
    [/INSERT INTO checkpoints/, "before"],
    [/INSERT INTO server_leaves/, "after"],
    [/COMMIT/, "before"],
    [/COMMIT/, "after"],
  ] as const)("in which %s fails (%s) is tried again one by one", async (sql, when) => {
    const { founder } = here;
    const other = await here.join();
    faults.plan({ sql, when, result: "SQLITE_FULL" });
    const answers = [founder, other].map((device) => here.push(device, device.push(0)));
    expect(await settledCodes(answers)).toEqual(["receipted", "receipted"]);
    const events = await here.reads.events(here.tenant, "*", 0, 9);
    expect(events.map(({ position }) => position)).toEqual([1, 2]);
  });

  test("that the medium keeps refusing says so, and later pushes are taken", async () => {
    const { founder, reads, tenant } = here;
    const shard = (await reads.tenant(tenant))?.shard ?? "";
    const before = await reads.head(shard);
    faults.plan({ sql: /INSERT INTO receipts/, when: "before", result: "SQLITE_FULL", times: 9 });
    expect(await settledCodes([here.push(founder, founder.push(0))])).toEqual(["store_full"]);
    expect(await reads.head(shard)).toEqual(before);
    expect(await reads.events(tenant, "*", 0, 9)).toEqual([]);
    faults.heal();
    await here.receipted(founder, 0);
  });

  test("whose commit is unknown and was made is answered with the same receipt", async () => {
    const { founder, reads, tenant } = here;
    faults.plan({ sql: /COMMIT/, when: "after", result: "SQLITE_IOERR" });
    expect(await settledCodes([here.push(founder, founder.push(0))])).toEqual(["store_io_error"]);
    const log = await reads.deviceLog(tenant, founder.device, founder.incarnation);
    const again = await here.receipted(founder, 0);
    expect(again.receipt.index).toBe(log?.receipt);
    expect(again.dispositions).toEqual([{ index: 0, disposition: "duplicate" }]);
  });
});

describe("listeners", () => {
  test("hear of events that were placed, of nothing else, and until they leave", async () => {
    const { founder, server, tenant } = here;
    const heard: unknown[] = [];
    const leave = server.onEvents((...words) => heard.push(words));
    founder.record([{}]);
    await here.receipted(founder, 0, { leafOnly: [1] });
    await here.receipted(founder, 0, { leafOnly: [1] });
    founder.record([{}]);
    await here.receipted(founder, 2, { leafOnly: [2] });
    leave();
    await here.receipted(founder, 3, { fills: [1, 2] });
    expect(heard).toEqual([[tenant, 1]]);
  });
});

test("closing answers what waits and takes no more", async () => {
  const { founder, server } = here;
  const waiting = here.push(founder, founder.push(0));
  await Promise.all([server.close(), server.close()]);
  expect((await waiting).status).toBe("receipted");
  expect(await settledCodes([here.push(founder, founder.push(0))])).toEqual(["store_closed"]);
});

describe("another tenant", () => {
  async function foundAnother(): Promise<PushingDevice> {
    const { chance, clock, server } = here;
    const tenant = createPseudonym(chance);
    const device = createPushingDevice({ crypto, chance, tenant });
    const code = createInvitationCode({ crypto, chance });
    await server.addFoundingCode(code.digest, clock.now() + 1_000);
    await server.enrol(device.enrol(code));
    return device;
  }

  test("has a log, positions and a view of its own, and finds nothing of the first", async () => {
    const other = await foundAnother();
    const { founder, server } = here;
    founder.record([{}]);
    other.record([{}, {}]);
    const both = [here.receipted(founder, 0), here.receipted(other, 0)];
    await Promise.all(both);
    const asked = {
      scopes: "*",
      after: 0,
      events: 9,
      bytes: 9_999,
      checkpoint: 0,
      held: {},
    } as const;
    const page = await server.pull(callerOf(other), { ...asked, own: true });
    expect(page.events.map(({ position }) => position)).toEqual([1, 2, 3]);
    expect(page.logs.map(({ device }) => device)).toEqual([other.device]);
    const theirs = await server.devices(callerOf(other));
    expect(theirs.some(({ device }) => device === founder.device)).toBe(false);
    const stream = founder.events[1]?.header.stream;
    expect(await server.conflicts(callerOf(other), stream)).toEqual({ candidates: [] });
    const [own] = page.checkpoint.split("\n");
    const { checkpoint } = await server.checkpoint(callerOf(founder));
    expect(checkpoint.split("\n")[0]).not.toBe(own);
  });

  test("is no place for a device of this one", async () => {
    const other = await foundAnother();
    const { founder, server } = here;
    const request = founder.push(0);
    const caller = { ...callerOf(founder), tenant: other.tenant };
    const pushed = server.push(caller, request, rawOf(request));
    expect(await settledCodes([pushed])).toEqual(["caller_unknown"]);
  });
});

test("an event of exactly the limit is taken, one byte more is rejected", async () => {
  const { founder } = here;
  const sized = (bytes: number) => ({
    sections: [{ name: "content", plaintext: new Uint8Array(bytes) }],
  });
  founder.record([sized(1_000)]);
  const overhead = founder.events[1]?.headerText.length ?? 0;
  const fits = limits.eventBytesMax - overhead;
  founder.record([sized(fits)]);
  expect(founder.events[2]?.headerText).toHaveLength(overhead);
  expect((await here.receipted(founder, 0)).owed).toEqual([]);
  founder.record([sized(fits)]);
  const request = founder.push(3);
  const [entry] = request.entries;
  if (entry?.kind !== "full") throw new Error("the entry has a body");
  const [frame] = entry.body.frames;
  const bytes = new Uint8Array((frame?.bytes?.length ?? 0) + 1).fill(frameVersion);
  const frames = [{ section: "content", key: frame?.key ?? "", state: "present" as const, bytes }];
  const entries = [{ kind: "full" as const, body: { ...entry.body, frames } }];
  const answer = await here.push(founder, { ...request, entries });
  expect(answer).toMatchObject({
    owed: [[3, 4]],
    dispositions: [{ index: 3, disposition: "rejected", code: "event_too_large" }],
  });
});
