import {
  base64,
  checkConsistency,
  checkProvenLeaf,
  createNoteVerifier,
  fromBase64url,
  isHoldfastError,
  leafHash,
  matchesOwed,
  noteDigest,
  openNote,
  parseCheckpoint,
  parseStatement,
  type PushAnswer,
  type PushRequest,
  rootOf,
  utf8,
  verifySignature,
} from "@holdfast/core";
import { createNodeCrypto, openPlainSqlite } from "@holdfast/node";
import {
  callerOf,
  createPushingDevice,
  createTestServer,
  successorOf,
  type PushingDevice,
  rawOf,
  type TestServer,
} from "@holdfast/testkit";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const crypto = createNodeCrypto();

let here: TestServer;

beforeEach(async () => {
  const driver = openPlainSqlite({ path: ":memory:", readOnly: false });
  here = await createTestServer({ crypto, driver });
});
afterEach(async () => {
  await here.close();
});

type Receipted = Extract<PushAnswer, { status: "receipted" }>;

/** What a checkpoint says, when the server's key signed it. */
function openCheckpoint(note: string) {
  const { text } = { text: note.slice(0, note.indexOf("\n\n") + 1) };
  const { origin } = parseCheckpoint(text);
  const verifier = createNoteVerifier(crypto, {
    name: origin,
    algorithm: "ed25519",
    spki: here.spki,
  });
  const opened = openNote(note, [verifier], (...args) => verifySignature(crypto, ...args));
  expect(opened.status).toBe("verified");
  return parseCheckpoint(text);
}

/** Everything that a device checks of an answer. */
function expectProven(device: PushingDevice, answer: Receipted): void {
  const log = openCheckpoint(answer.checkpoint);
  expect(checkProvenLeaf(crypto, answer.receipt, log)).toBe(true);
  const statement = parseStatement(answer.receipt.text);
  expect(statement.kind).toBe("receipt");
  expect(statement.origin).toBe(`${device.tenant}/d/${device.device}/${device.incarnation}`);
  expect(statement.size).toBe(answer.size);
  expect(matchesOwed(crypto, statement.owed, answer.owed)).toBe(true);
  const note = device.notes.find(({ size }) => size === answer.size);
  expect(statement.root).toBe(note?.root);
  expect(statement.note).toBe(noteDigest(crypto, note?.text ?? ""));
}

async function refusalOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (isHoldfastError(error)) return error.code;
    throw error;
  }
  throw new Error("it was not refused");
}

async function everythingStored(): Promise<string> {
  const logs = await here.reads.deviceLogs(here.tenant);
  const events = await here.reads.events(here.tenant, "*", 0, 1_000);
  const row = await here.reads.tenant(here.tenant);
  const head = await here.reads.head(row?.shard ?? "");
  return JSON.stringify([logs, events, head, await here.reads.quarantine(here.tenant, 100)]);
}

describe("a push", () => {
  test("is receipted under a signed checkpoint, and its events have the next positions", async () => {
    const { founder } = here;
    founder.record([{}, {}]);
    const answer = await here.receipted(founder, 0);
    expect(answer).toMatchObject({ size: 3, owed: [], dispositions: [], consistency: [] });
    expectProven(founder, answer);
    const events = await here.reads.events(here.tenant, "*", 0, 10);
    expect(events.map(({ position, header }) => [position, header])).toEqual(
      founder.events.map(({ headerText }, at) => [at + 1, headerText]),
    );
  });

  test("places what it fills before its entries: causes before their effects", async () => {
    const { founder } = here;
    founder.record([{}, {}]);
    await here.receipted(founder, 0, { leafOnly: [1, 2] });
    founder.record([{}]);
    await here.receipted(founder, 3, { fills: [2, 1] });
    const events = await here.reads.events(here.tenant, "*", 0, 10);
    expect(events.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
  });

  test("of leaves alone is owed until its bodies come, in any order", async () => {
    const { founder } = here;
    founder.record([{}, {}, {}, {}]);
    const first = await here.receipted(founder, 0, { leafOnly: [1, 2, 4] });
    expect(first.owed).toEqual([
      [1, 3],
      [4, 5],
    ]);
    expectProven(founder, first);
    const second = await here.receipted(founder, 5, { fills: [2, 4] });
    expect(second).toMatchObject({ size: 5, owed: [[1, 2]] });
    expect(second.receipt.index).toBeGreaterThan(first.receipt.index);
    expectProven(founder, second);
    const third = await here.receipted(founder, 0);
    expect(third.owed).toEqual([]);
    expect(third.dispositions.map(({ index, disposition }) => [index, disposition])).toEqual([
      [0, "duplicate"],
      [2, "duplicate"],
      [3, "duplicate"],
      [4, "duplicate"],
    ]);
    const events = await here.reads.events(here.tenant, "*", 0, 10);
    expect(events.map(({ index }) => index)).toEqual([0, 3, 2, 4, 1]);
  });

  test("whose answer was lost is answered with the same receipt", async () => {
    const { founder } = here;
    founder.record([{}]);
    const first = await here.receipted(founder, 0);
    const other = await here.join();
    await here.receipted(other, 0);
    const again = await here.receipted(founder, 0, { checkpoint: 3 });
    expect(again.receipt).toMatchObject({ text: first.receipt.text, index: first.receipt.index });
    expect(again.dispositions.map(({ disposition }) => disposition)).toEqual([
      "duplicate",
      "duplicate",
    ]);
    expectProven(founder, again);
    expect(await here.reads.events(here.tenant, "*", 0, 10)).toHaveLength(3);
  });

  test("that overlaps a lost one continues it and is no fork", async () => {
    const { founder } = here;
    founder.record([{}]);
    const first = await here.receipted(founder, 0);
    founder.record([{}, {}]);
    const second = await here.receipted(founder, 0, {
      checkpoint: openCheckpoint(first.checkpoint).size,
    });
    expect(second.size).toBe(4);
    expectProven(founder, second);
    const [before, after] = [openCheckpoint(first.checkpoint), openCheckpoint(second.checkpoint)];
    const claim = { oldSize: before.size, oldRoot: before.root, newSize: after.size };
    const path = second.consistency;
    expect(checkConsistency(crypto, { ...claim, newRoot: after.root, path })).toBe(true);
  });

  test("from beyond what is here changes nothing and says where to begin", async () => {
    const { founder } = here;
    founder.record([{}]);
    founder.record([{}]);
    const before = await everythingStored();
    expect(await here.push(founder, founder.push(2))).toEqual({ status: "behind", size: 0 });
    expect(await everythingStored()).toBe(before);
  });

  test("of another branch is a fork: kept as evidence, and nothing else changes", async () => {
    const { founder } = here;
    founder.record([{}]);
    const branch = founder.log.draftBatch([{}, {}]);
    founder.record([{}]);
    await here.receipted(founder, 0);
    const request: PushRequest = {
      ...founder.push(2),
      note: branch.note.text,
      entries: branch.events.map(({ headerText: header, frames }) => ({
        kind: "full",
        body: { header, frames },
      })),
    };
    const before = await here.reads.deviceLogs(here.tenant);
    const answer = await here.push(founder, request);
    expect(answer).toEqual({ status: "fork", index: 2, held: founder.notes.at(-1)?.text, size: 3 });
    expect(await here.reads.deviceLogs(here.tenant)).toEqual(before);
    const kept = await here.reads.quarantine(here.tenant, 10);
    expect(kept).toMatchObject([{ code: "device_log_forked", note: branch.note.text, from: 2 }]);
    expect(kept[0]?.bytes).toEqual(rawOf(request));
    await here.push(founder, request);
    expect(await here.reads.quarantine(here.tenant, 10)).toHaveLength(1);
  });
});

describe("a push that is refused changes nothing", () => {
  const leafOf = (header: string): Uint8Array => leafHash(crypto, utf8(header));

  test.each<[string, string, (request: PushRequest, device: PushingDevice) => PushRequest]>([
    ["another device", "push_foreign", (r) => ({ ...r, device: "A".repeat(22) })],
    ["no note", "push_note_malformed", (r) => ({ ...r, note: "no note" })],
    [
      "a note of another size",
      "push_note_malformed",
      (r, d) => ({ ...r, note: d.notes[0]?.text ?? "" }),
    ],
    [
      "a forged signature",
      "push_signature_wrong",
      (r) => {
        const at = r.note.trimEnd().lastIndexOf(" ") + 20;
        const digit = r.note[at] === "A" ? "B" : "A";
        return { ...r, note: r.note.slice(0, at) + digit + r.note.slice(at + 1) };
      },
    ],
    [
      "an altered leaf",
      "push_root_wrong",
      (r) => ({ ...r, entries: [...r.entries.slice(0, -1), { kind: "leaf", leaf: leafOf("x") }] }),
    ],
    [
      "a short leaf",
      "push_malformed",
      (r) => ({ ...r, entries: [{ kind: "leaf", leaf: new Uint8Array(31) }] }),
    ],
    ["a negative start", "push_malformed", (r) => ({ ...r, from: -1 })],
    [
      "a foreign opening",
      "opening_wrong",
      (r) => ({
        ...r,
        entries: [{ kind: "leaf", leaf: leafOf("x") }, ...r.entries.slice(1)],
      }),
    ],
    ["a checkpoint from the future", "server_behind", (r) => ({ ...r, checkpoint: 1_000 })],
    [
      "too many leaves",
      "push_too_large",
      (r) => ({
        ...r,
        entries: Array.from({ length: 131_073 }, () => ({ kind: "leaf", leaf: leafOf("x") })),
      }),
    ],
  ])("%s", async (_, code, change) => {
    const { founder } = here;
    founder.record([{}, {}]);
    const request = change(founder.push(0), founder);
    const before = await everythingStored();
    expect(await refusalOf(here.server.push(callerOf(founder), request, rawOf(request)))).toBe(
      code,
    );
    expect(await everythingStored()).toBe(before);
    await here.receipted(founder, 0);
  });

  test("of nobody", async () => {
    const stranger = createPushingDevice({ crypto, chance: here.chance, tenant: here.tenant });
    expect(await refusalOf(here.push(stranger, stranger.push(0)))).toBe("caller_unknown");
  });
});

describe("a body that is not as it must be", () => {
  test("is rejected while its leaf counts, and stays owed", async () => {
    const { founder } = here;
    founder.record([{}, {}, {}]);
    const request = founder.push(0);
    const entries = request.entries.map((entry, at) =>
      entry.kind === "full" && at === 2 ? { ...entry, body: { ...entry.body, frames: [] } } : entry,
    );
    const answer = (await here.push(founder, { ...request, entries })) as Receipted;
    expect(answer).toMatchObject({ status: "receipted", size: 4, owed: [[2, 3]] });
    expect(answer.dispositions).toEqual([
      { index: 2, disposition: "rejected", code: "event_frames_wrong" },
    ]);
    expectProven(founder, answer);
    const wrongFill = {
      ...founder.push(4),
      fills: [{ index: 2, body: { header: "{}", frames: [] } }],
    };
    const filled = (await here.push(founder, wrongFill)) as Receipted;
    expect(filled.dispositions).toEqual([
      { index: 2, disposition: "rejected", code: "event_leaf_wrong" },
    ]);
    expect(filled.receipt.index).toBe(answer.receipt.index);
    expect((await here.receipted(founder, 4, { fills: [2] })).owed).toEqual([]);
  });

  test("an id stands for one event", async () => {
    const { founder } = here;
    founder.record([{}]);
    const id = founder.events[1]?.header.id ?? "";
    founder.record([{ id }]);
    const answer = await here.receipted(founder, 0);
    expect(answer.dispositions).toEqual([
      { index: 2, disposition: "rejected", code: "event_id_conflict" },
    ]);
    expect(answer.owed).toEqual([[2, 3]]);
  });
});

describe("incarnations", () => {
  test("a successor is taken with its own enrolment leaf", async () => {
    const { founder } = here;
    await here.receipted(founder, 0);
    const next = founder.successor();
    next.record([{}]);
    const answer = (await here.push(next, next.push(0))) as Receipted;
    expectProven(next, answer);
    const log = await here.reads.deviceLog(here.tenant, next.device, next.incarnation);
    const row = await here.reads.tenant(here.tenant);
    const [leaf] = await here.reads.serverLeaves(
      row?.shard ?? "",
      log?.enrolment ?? -1,
      (log?.enrolment ?? -1) + 1,
    );
    const statement = parseStatement(leaf ?? "");
    expect(statement).toMatchObject({ kind: "enrol", size: 1, owed: [] });
    expect(statement.root).toBe(
      base64(fromBase64url(next.events[0]?.leaf ?? "") ?? new Uint8Array(0)),
    );
    expect(await here.reads.quarantine(here.tenant, 10)).toEqual([]);
  });

  test("two successors of one are a finding, and both are taken", async () => {
    const { founder } = here;
    await here.receipted(founder, 0);
    const [one, two] = [founder.successor(), founder.successor()];
    expect((await here.push(one, one.push(0))).status).toBe("receipted");
    expect((await here.push(two, two.push(0))).status).toBe("receipted");
    expect(await here.reads.quarantine(here.tenant, 10)).toMatchObject([
      { code: "incarnation_contended", incarnation: two.incarnation },
    ]);
  });

  test("a successor that the predecessor did not sign is refused", async () => {
    const { founder } = here;
    await here.receipted(founder, 0);
    const other = createPushingDevice({ crypto, chance: here.chance, tenant: here.tenant });
    const sign = (message: Uint8Array) => other.sign(message);
    const forged = successorOf({ crypto, chance: here.chance }, { ...founder, sign });
    const before = await everythingStored();
    expect(await refusalOf(here.push(forged, forged.push(0)))).toBe("opening_wrong");
    expect(await everythingStored()).toBe(before);
  });
});

test("the root of a receipt is that of the device's own tree", async () => {
  const { founder } = here;
  founder.record(Array.from({ length: 600 }, () => ({})));
  const answer = await here.receipted(founder, 0);
  expect(parseStatement(answer.receipt.text).root).toBe(
    base64(rootOf(crypto, founder.log.head.range)),
  );
});
