/** A device, or whoever holds its keys, attacks the server: real signed logs over a real socket. */
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { base64url, limits, mediaTypes, type PushRequest } from "@holdfast/core";
import { createPushingDevice, type PushingDevice } from "@holdfast/testkit";
import { bearer, crypto, postToken, refusalOf, startTestApi, type TestApi } from "../server/lab.ts";
import { digestOf, forgedPush, foundOther, pushOver, signedNote } from "./lab.ts";

let lab: TestApi;
let founder: PushingDevice;
let token: string;
beforeEach(async () => {
  lab = await startTestApi();
  founder = lab.engine.founder;
  token = await lab.token(founder);
  founder.record([{}, {}]);
  await lab.engine.receipted(founder, 0);
});
afterEach(() => lab.close());

interface Answer {
  readonly status: string;
  readonly size: number;
  readonly dispositions: readonly { readonly disposition: string; readonly code?: string }[];
}

async function answered(request: PushRequest, as = token): Promise<Answer> {
  const answer = await pushOver(lab, request, as);
  expect(answer.status).toBe(200);
  return (await answer.json()) as Answer;
}

/** Refused with a code, and nothing is different afterwards. */
async function refused(request: PushRequest, code: string, as = token): Promise<void> {
  const before = digestOf(lab.engine);
  const answer = await pushOver(lab, request, as);
  expect((await refusalOf(answer)).code).toBe(code);
  expect(answer.status).toBeLessThan(500);
  expect(digestOf(lab.engine)).toBe(before);
}

const eventsHeld = (): number =>
  lab.engine.driver.prepare("SELECT count(*) AS n FROM events").get<{ n: number }>()?.n ?? -1;
const quarantineHeld = (): number =>
  lab.engine.driver.prepare("SELECT count(*) AS n FROM quarantine").get<{ n: number }>()?.n ?? -1;

/** One event more, and nothing of it is owed. */
async function kept(request: PushRequest): Promise<void> {
  const held = eventsHeld();
  expect(await answered(request)).toMatchObject({
    status: "receipted",
    owed: [],
    dispositions: [],
  });
  expect(eventsHeld()).toBe(held + 1);
}

function vectorOf(entries: number): Record<string, number> {
  const names = Array.from(
    { length: entries },
    (_, at) => `${"A".repeat(22)}/${String(at).padStart(16, "0")}`,
  );
  return Object.fromEntries(names.map((name) => [name, 1]));
}

describe("row 24: what is signed wrongly", () => {
  it("a forged signature is refused and changes nothing", async () => {
    founder.record([{}]);
    const request = founder.push(3);
    const stranger = createPushingDevice({
      crypto,
      chance: lab.engine.chance,
      tenant: founder.tenant,
    });
    const leaves = founder.events.map(({ leaf }) => leaf);
    const note = signedNote({ ...founder, sign: stranger.sign }, leaves);
    await refused({ ...request, note }, "push_signature_wrong");
  });

  it("a size or a root that is not that of the leaves is refused and changes nothing", async () => {
    founder.record([{}]);
    const leaves = founder.events.map(({ leaf }) => leaf);
    const root = crypto.sha256(Uint8Array.of(1));
    await refused(
      { ...founder.push(3), note: signedNote(founder, leaves, { root }) },
      "push_root_wrong",
    );
    await refused(
      { ...founder.push(3), note: signedNote(founder, leaves, { size: 9 }) },
      "push_note_malformed",
    );
  });

  it("an altered leaf among new ones is refused and changes nothing", async () => {
    founder.record([{}, {}]);
    const request = founder.push(3);
    const altered = { kind: "leaf", leaf: crypto.sha256(Uint8Array.of(2)) } as const;
    await refused(
      { ...request, entries: [altered, ...request.entries.slice(1)] },
      "push_root_wrong",
    );
  });

  it("an altered header is refused; an altered frame is no event that is here already", async () => {
    founder.record([{}]);
    const request = founder.push(3);
    const [entry] = request.entries;
    if (entry?.kind !== "full") throw new Error("no body");
    const { header, frames } = entry.body;
    const body = { header: header.replace('"op":"create"', '"op":"amend"'), frames };
    await refused({ ...request, entries: [{ kind: "full", body }] }, "push_root_wrong");
    await answered(request);
    const before = digestOf(lab.engine);
    const bytes = Uint8Array.from(frames[0]?.bytes ?? []);
    bytes[20] = (bytes[20] ?? 0) ^ 1;
    const changed = { ...frames[0], bytes } as (typeof frames)[number];
    const again = await answered({
      ...request,
      entries: [{ kind: "full", body: { header, frames: [changed] } }],
    });
    expect(again.dispositions).toMatchObject([{ disposition: "duplicate" }]);
    expect(digestOf(lab.engine)).toBe(before);
  });

  it.each([
    ["of another tenant", { ten: "A".repeat(22) }, "event_foreign"],
    ["of another device", { dev: "A".repeat(22) }, "event_foreign"],
    ["with another sequence", { seq: 9 }, "event_link_wrong"],
    ["that follows another leaf", { prev: "A".repeat(43) }, "event_link_wrong"],
    ["without a type", { type: "" }, "header_invalid"],
    ["with a member of its own", { admin: true }, "header_invalid"],
    ["dated outside of time", { at: -1 }, "header_invalid"],
    ["row 9: with U+0000 in a name", { scope: `${"A".repeat(21)}\u0000` }, "header_invalid"],
    [
      "row 10: with a name that turns its text around",
      { stream: "\u202E".repeat(22) },
      "header_invalid",
    ],
    [
      "row 53: with a counter of 2^53",
      { vv: { [`${"A".repeat(22)}/${"0".repeat(16)}`]: 2 ** 53 } },
      "header_invalid",
    ],
    ["row 53: with a vector of 300 devices", { vv: vectorOf(300) }, "header_invalid"],
  ])("row 23: a rightly signed event %s is rejected and owed", async (_name, change, code) => {
    const held = eventsHeld();
    const answer = await answered(forgedPush(founder, (header) => ({ ...header, ...change })));
    expect(answer.dispositions).toMatchObject([{ disposition: "rejected", code }]);
    expect(eventsHeld()).toBe(held);
  });

  it.each([
    ["under a key that the header does not name", { key: base64url(new Uint8Array(16)) }],
    ["evicted", { state: "evicted", bytes: undefined }],
    ["owed", { state: "owed", bytes: undefined }],
    ["of another section", { section: "other" }],
    ["too short to be one", { bytes: new Uint8Array(3) }],
  ] as const)(
    "row 45: a frame that would stop every reader is rejected: %s",
    async (_name, change) => {
      const held = eventsHeld();
      const answer = await answered(
        forgedPush(
          founder,
          (header) => header,
          ({ frames }) => frames.map((frame) => ({ ...frame, ...change })),
        ),
      );
      expect(answer.dispositions).toMatchObject([
        { disposition: "rejected", code: "event_frames_wrong" },
      ]);
      expect(eventsHeld()).toBe(held);
    },
  );

  it("row 30: an event of 1970 or 2099 is kept as it says", async () => {
    for (const at of [0, Date.UTC(2099, 0, 1)]) {
      founder.record([{ at }]);
      await kept(founder.push(founder.events.length - 1));
    }
  });

  it("row 46: an event of an unknown type and a header of a later version are kept", async () => {
    founder.record([{ type: "NeverHeardOf" }]);
    await kept(founder.push(3));
    await kept(forgedPush(founder, (header) => ({ ...header, v: 2, new: "x" })));
  });
});

describe("rows 19 to 25: again, twice, apart", () => {
  it("row 19: a replay is answered with the same receipt and changes nothing", async () => {
    const first = await answered(founder.push(0));
    const before = digestOf(lab.engine);
    expect(await answered(founder.push(0))).toEqual(first);
    expect(digestOf(lab.engine)).toBe(before);
  });

  it("an overlap after a lost response is no fork: the rest is taken", async () => {
    founder.record([{}]);
    await pushOver(lab, founder.push(3), token);
    founder.record([{}]);
    const overlap = await answered(founder.push(2));
    expect(overlap).toMatchObject({ status: "receipted", size: 5, owed: [] });
    expect(quarantineHeld()).toBe(0);
  });

  it("row 20: one id in two events: the second is rejected", async () => {
    const { id } = founder.events[1]?.header ?? {};
    const answer = await answered(forgedPush(founder, (header) => ({ ...header, id })));
    expect(answer.dispositions).toMatchObject([
      { disposition: "rejected", code: "event_id_conflict" },
    ]);
  });

  it("row 22: ten concurrent pushes of the same have one effect", async () => {
    founder.record([{}, {}]);
    const request = founder.push(3);
    const held = eventsHeld();
    const answers = await Promise.all(Array.from({ length: 10 }, () => answered(request)));
    expect(new Set(answers.map(({ size }) => size))).toEqual(new Set([5]));
    expect(eventsHeld()).toBe(held + 2);
  });

  it("row 23: a gap is answered with what is expected, and nothing is taken", async () => {
    founder.record([{}]);
    founder.record([{}]);
    const before = digestOf(lab.engine);
    expect(await answered(founder.push(4))).toEqual({ status: "behind", size: 3 });
    expect(digestOf(lab.engine)).toBe(before);
  });

  it("rows 18 and 25: a clone and a rewound device are forks: evidence is kept, the log stays", async () => {
    const next = founder.events.length;
    const clone = forgedPush(founder, (header) => header);
    founder.record([{}]);
    await answered(founder.push(next));
    const held = eventsHeld();
    const answer = await answered(clone);
    expect(answer).toMatchObject({ status: "fork", index: next, size: next + 1 });
    expect(eventsHeld()).toBe(held);
    expect(quarantineHeld()).toBe(1);
    // The original goes on as if nothing had been.
    founder.record([{}]);
    expect(await answered(founder.push(next + 1))).toMatchObject({ status: "receipted" });
  });

  it("evidence of forks has a bound: a device that goes on like this fills no disk", async () => {
    const clones = Array.from({ length: 24 }, () => {
      const request = forgedPush(founder, (header) => header);
      const leaf = crypto.sha256(Uint8Array.of(7));
      const many = Array.from({ length: 60_000 }, () => ({ kind: "leaf", leaf }) as const);
      const leaves = founder.events.map((event) => event.leaf);
      const all = [...leaves, ...request.entries.map(() => base64url(leaf)), base64url(leaf)];
      return { ...request, entries: [...request.entries, ...many], all };
    });
    founder.record([{}]);
    await answered(founder.push(3));
    for (const { all: _, ...clone } of clones) {
      // The note needs only be signed and name the size: a fork is shown before the tree is looked at.
      const size = 3 + clone.entries.length;
      const root = crypto.sha256(lab.engine.chance.bytes(8));
      const note = signedNote(founder, [], { size, root });
      expect(await answered({ ...clone, note })).toMatchObject({ status: "fork" });
    }
    const kept = await lab.engine.reads.quarantined(founder.tenant, founder.device);
    expect(kept).toBeLessThanOrEqual(limits.forkEvidenceBytesMax);
    expect(kept).toBeGreaterThan(limits.forkEvidenceBytesMax / 4);
  });

  it("a device opens only so many logs", async () => {
    const first = await lab.engine.join();
    let last: PushingDevice = first;
    const theirs = await lab.token(first);
    for (let at = 1; at < limits.deviceLogsMax; at++) {
      last = first.successor();
      await lab.engine.receipted(last, 0);
    }
    expect(last.device).toBe(first.device);
    await refused(first.successor().push(0), "opening_wrong", theirs);
    founder.record([{}]);
    expect(await answered(founder.push(3))).toMatchObject({ status: "receipted" });
  });
});

describe("row 28: in another's name", () => {
  it("a log of another device or of another tenant is not pushed to", async () => {
    const other = await lab.engine.join();
    const theirs = await lab.token(other);
    founder.record([{}]);
    await refused(founder.push(3), "push_foreign", theirs);
    const stranger = await foundOther(lab.engine);
    stranger.record([{}]);
    await refused(stranger.push(1), "push_foreign");
  });

  it("a log of one's own that names another tenant begins nowhere", async () => {
    const stranger = await foundOther(lab.engine);
    const { chance } = lab.engine;
    const elsewhere = createPushingDevice({ crypto, chance, tenant: stranger.tenant });
    await refused({ ...elsewhere.push(0), device: founder.device }, "opening_wrong");
  });

  it("a revoked device hands over into quarantine and reads nothing", async () => {
    const leaving = await lab.engine.join();
    const theirs = await lab.token(leaving);
    leaving.record([{}]);
    await answered(leaving.push(0), theirs);
    await lab.post("/v1/devices/revoke", { device: leaving.device, why: "lost" }, token);
    const held = eventsHeld();
    leaving.record([{}]);
    const answer = await answered(leaving.push(2), theirs);
    expect(answer.dispositions).toMatchObject([
      { disposition: "quarantined", code: "device_revoked" },
    ]);
    expect(eventsHeld()).toBe(held);
    for (const path of ["/v1/devices", "/v1/conflicts", "/v1/grants?after=0"]) {
      expect((await refusalOf(await lab.get(path, theirs))).code).toBe("device_revoked");
    }
  });

  it("row 35: the tail of a device that was revoked ends at the next heartbeat", async () => {
    const leaving = await lab.engine.join();
    const tail = await lab.get("/v1/tail", await lab.token(leaving));
    await lab.post("/v1/devices/revoke", { device: leaving.device, why: "lost" }, token);
    lab.engine.clock.advance(limits.tailHeartbeatMs);
    expect(await tail.text()).toContain("event: end");
  });

  it("row 42: a plain device says nothing about access, a reader writes nothing", async () => {
    const plain = await lab.engine.join();
    plain.record([
      {
        type: "AccessGranted",
        sections: [],
        pub: {
          device: plain.device,
          role: "device",
          scopes: ["*"],
          hpke: plain.hpke,
          dev_spki: plain.log.spki.toString(),
        },
      },
    ]);
    const said = await answered(plain.push(0), await lab.token(plain));
    expect(said.dispositions.at(-1)?.disposition).not.toBe("accepted");
    expect(await lab.engine.reads.access(plain.tenant, plain.device)).toEqual([]);
    const reader = await lab.engine.join("reader");
    reader.record([{}]);
    const wrote = await answered(reader.push(0), await lab.token(reader));
    expect(wrote.dispositions.at(-1)).toMatchObject({
      disposition: "quarantined",
      code: "role_insufficient",
    });
  });
});

describe("what would fill the server", () => {
  it("one device's assertions have a share: others still get tokens", async () => {
    const device = await lab.engine.join();
    let status = 200;
    let asked = 0;
    for (; status === 200 && asked < 300; asked++) {
      status = (await postToken(lab.url, lab.assertion(device))).status;
    }
    expect(status).toBe(429);
    expect(asked).toBeLessThan(200);
    expect((await postToken(lab.url, lab.assertion(founder))).status).toBe(200);
  });

  it("row 15: a zstd frame that asks for a window of 128 MiB is refused: 400", async () => {
    const params = { [constants.ZSTD_c_windowLog]: 27, [constants.ZSTD_c_contentSizeFlag]: 0 };
    const frame = zstdCompressSync(Buffer.alloc(300_000, "x"), { params });
    const headers = {
      ...bearer(token),
      "content-type": mediaTypes.json,
      "content-encoding": "zstd",
    };
    // Without a stated size the window stays the one that was asked for.
    frame[5] = 17 << 3;
    expect(zstdDecompressSync(frame)).toHaveLength(300_000);
    const answer = await fetch(`${lab.url}/v1/pull`, { method: "POST", headers, body: frame });
    expect(await refusalOf(answer)).toMatchObject({ status: 400, code: "message_malformed" });
  });

  it("row 34: a HEAD opens no tail", async () => {
    const answer = await fetch(`${lab.url}/v1/tail`, { method: "HEAD", headers: bearer(token) });
    expect(answer.status).toBe(405);
    const tails = await Promise.all([1, 2, 3, 4].map(() => lab.get("/v1/tail", token)));
    expect(tails.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  });

  it("row 34: one who asks and does not read holds a bounded number of answers", async () => {
    const most = 16;
    const body = JSON.stringify({
      scopes: "*",
      after: 0,
      events: 1_000,
      bytes: limits.pullBytesMax,
      checkpoint: 0,
      held: {},
      own: true,
    });
    const big = { plaintext: new Uint8Array(200_000), name: "content" };
    for (let at = 0; at < 4; at++) founder.record([{ sections: [big] }, { sections: [big] }]);
    for (let from = 3; from < founder.events.length; from += 2) {
      await lab.engine.receipted(founder, from, { to: from + 2 });
    }
    const hold = Array.from({ length: 3 * most }, () => new AbortController());
    const answers = await Promise.all(
      hold.map(({ signal }) =>
        fetch(`${lab.url}/v1/pull`, {
          method: "POST",
          headers: { ...bearer(token), "content-type": mediaTypes.json },
          body,
          signal,
        }),
      ),
    );
    const taken = answers.filter(({ status }) => status === 200).length;
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThanOrEqual(most);
    expect(answers.every(({ status }) => status === 200 || status === 429)).toBe(true);
    for (const each of hold) each.abort();
    // Who is gone holds nothing any more.
    let status = 429;
    while (status === 429) status = (await lab.get("/v1/devices", token)).status;
    expect(status).toBe(200);
  });

  it("row 13: a page is read in bounds, however large the events", async () => {
    const big = { plaintext: new Uint8Array(200_000), name: "content" };
    for (let at = 0; at < 6; at++) founder.record([{ sections: [big] }]);
    for (let from = 3; from < founder.events.length; from++) {
      await lab.engine.receipted(founder, from, { to: from + 1 });
    }
    const found = await lab.engine.reads.events(founder.tenant, "*", 3, 1_000, undefined, 300_000);
    expect(found).toHaveLength(2);
  });
});
