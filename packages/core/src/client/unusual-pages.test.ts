/** Pages of a pull that are not as usual: what comes back to an older copy, and what cannot be read here. */
import { createNodeCrypto, openPlainSqlite, systemRandom } from "@holdfast/node";
import {
  createChance,
  createNoteDraft as note,
  createPushingDevice,
  createReferenceServer,
  type ReferenceServer,
  createTestDevices,
  duePull,
  enrolAt,
  giveKeys,
  pullAll,
  pushAll,
  testTenant as tenant,
} from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { createRegistry, defineEvent } from "../event/registry.ts";
import { deviceLogOrigin, formatCheckpoint } from "../proof/checkpoint.ts";
import { formatNote, noteKeyId } from "../proof/note.ts";
import { createTreeBuilder, leafHash } from "../proof/tree.ts";
import { base64url, type Bytes, fromBase64, utf8 } from "../std/bytes.ts";
import { canonicalJson } from "../std/jcs.ts";
import { limits } from "../std/limits.ts";
import type { PushEntry, PushRequest } from "../sync/messages/push.ts";
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

function serverFor(now = () => 1_000): ReferenceServer {
  return createReferenceServer({ crypto, tenant, now });
}

describe("a device that was put back", () => {
  it("put back to an older copy, takes back what it had delivered since", async () => {
    const server = serverFor();
    const a = await devices.make();
    const b = await devices.make();
    await enrolAt(server, a);
    await enrolAt(server, b);
    await a.store.append(note("x", "1"));
    await pushAll(a, server);
    await pullAll(a, server);
    const before = a.store.status().incarnation;
    const older = devices.keep(a);
    for (let times = 0; times < 60; times++) await a.store.append(note(`x${times % 7}`, "lost"));
    await b.store.append(note("x", "of another"));
    for (const each of [a, b]) await pushAll(each, server);
    const texts = (of: Device) =>
      of.store.read({ type: "NoteTaken", limit: 1_000 }).map(({ leaf }) => leaf);
    const delivered = texts(a);
    await a.life.close();
    older({ marks: false });
    const again = await devices.reopen(a, { acceptRollback: true });
    await again.store.append(note("x", "since"));
    expect(again.store.status().incarnation).not.toBe(before);
    await pushAll(again, server);
    const small = { events: 16, bytes: limits.pullBytesMax };
    // Nothing changes before all of it is here: the log verifies at every page.
    let request = again.sync.planPull(small);
    expect(request?.own).toBe(true);
    for (let pages = 0; request !== undefined && pages < 3; pages++) {
      const answer = server.pull(again.store.status().device, request);
      expect(await again.sync.takePull(request, answer)).toMatchObject({ more: true });
      expect(again.store.verify().problems).toEqual([]);
      request = again.sync.planPull(small);
    }
    // The other device has sent its opening and its event.
    expect(await pullAll(again, server, small)).toBe(62);
    const found = new Set(texts(again));
    expect(delivered.filter((leaf) => !found.has(leaf))).toEqual([]);
    expect(texts(again)).toHaveLength(63);
    expect(again.store.verify({ allNotes: true }).problems).toEqual([]);
    expect(again.sync.watermarks()).toMatchObject({ waiting: 0, owed: [] });
    // Once: the next pull asks for what others sent, and nothing comes twice.
    expect(again.sync.planPull(small)?.own).toBeUndefined();
    await again.store.append(note("x3", "goes on"));
    expect(again.store.history("x3").at(-1)?.concurrentWith).toEqual([]);
    await pushAll(again, server);
    await pullAll(b, server);
    expect(new Set(texts(b))).toEqual(new Set(texts(again)));
    for (const each of [again, b]) expect(each.store.verify().problems).toEqual([]);
    for (const each of [again, b]) await each.life.close();
  });

  it("put back to before an answer, hears of it and takes back what came after", async () => {
    const server = serverFor();
    const a = await devices.make();
    await enrolAt(server, a);
    await a.store.append(note("x", "1"));
    await pushAll(a, server);
    await a.store.append(note("x", "on its way"));
    const older = devices.keep(a);
    await pushAll(a, server);
    await a.store.append(note("x", "lost"));
    await pushAll(a, server);
    const delivered = a.store.read({ type: "NoteTaken" }).map(({ data }) => data);
    await a.life.close();
    older({ marks: true });
    const copy = await devices.reopen(a);
    const [outcome] = await pushAll(copy, server);
    expect(outcome).toEqual({ status: "reopened", reason: "rewound" });
    expect(await pullAll(copy, server)).toBe(1);
    const found = copy.store.read({ type: "NoteTaken" }).map(({ data }) => data);
    expect(found).toEqual(delivered);
    expect(copy.store.verify({ allNotes: true }).problems).toEqual([]);
    await copy.life.close();
  });

  it("takes nothing back of a log that the server has with another branch", async () => {
    const server = serverFor();
    const a = await devices.make();
    await enrolAt(server, a);
    await a.store.append(note("x", "1"));
    await pushAll(a, server);
    const older = devices.keep(a);
    for (const text of ["2", "3"]) await a.store.append(note("x", text));
    await pushAll(a, server);
    await a.life.close();
    // The whole machine is put back, and it goes on in the same log: a fork, which the server refuses.
    older({ marks: true });
    const again = await devices.reopen(a);
    await again.store.append(note("x", "another"));
    await pushAll(again, server);
    await pullAll(again, server);
    expect(again.store.verify().problems).toEqual([]);
    expect(again.store.read({ type: "NoteTaken" })).toHaveLength(2);
    await again.life.close();
  });
});

describe("what cannot be read here", () => {
  it("stores what does not open under its key as that, and goes on", async () => {
    const server = serverFor();
    const a = await devices.make();
    const b = await devices.make();
    await enrolAt(server, a);
    await enrolAt(server, b);
    await a.store.append([note("x", "1"), note("y", "2"), note("z", "3")]);
    await pushAll(a, server);
    const keys = a.life.deps.keyring;
    for (const { id, generation } of keys.dataKeys()) {
      const material = keys.dataKeyMaterial(id, generation);
      if (material !== undefined) b.life.deps.keyring.addDataKey(material);
    }
    const request = duePull(b);
    const { device: name } = b.store.status();
    const answer = server.pull(name, request);
    // A frame of another event, as whoever sealed it, or whoever keeps it, may have put it there.
    const [, first, second] = answer.events;
    if (first === undefined || second === undefined) throw new Error("no events");
    const [frame] = second.body.frames;
    const body = {
      ...first.body,
      frames: first.body.frames.map((each) => ({ ...each, bytes: frame?.bytes })),
    };
    const swapped = answer.events.map((event) => (event === first ? { ...event, body } : event));
    const outcome = await b.sync.takePull(request, { ...answer, events: swapped });
    expect(outcome).toEqual({ status: "stored", events: 4, more: false });
    expect(b.sync.evidence()).toBeUndefined();
    const read = b.store.read({ type: "NoteTaken" });
    expect(read.map(({ content }) => content)).toEqual(["unopened", "opened", "opened"]);
    expect(read.map(({ data }) => data)).toMatchObject([undefined, { text: "2" }, { text: "3" }]);
    expect(b.store.status().findings.map(({ code }) => code)).toContain("section_unopened");
    expect(b.store.verify().problems.map(({ code }) => code)).toEqual(["frame_altered"]);
    // A frame under another key than the header names is what no honest server lets in.
    const key = "A".repeat(22);
    const frames = first.body.frames.map((each) => ({ ...each, key }));
    const lied = answer.events.map((event) =>
      event === first ? { ...event, body: { ...first.body, frames } } : event,
    );
    expect(await b.sync.takePull(request, { ...answer, events: lied })).toEqual({
      status: "contradiction",
      code: "server_page_wrong",
    });
    for (const each of [a, b]) await each.life.close();
  });

  it("goes on over content that another device should not have sealed", async () => {
    const server = serverFor();
    const a = await devices.make();
    const b = await devices.make();
    await enrolAt(server, a);
    await enrolAt(server, b);
    await a.store.append([note("x", "1"), note("y", "2")]);
    await pushAll(a, server);
    giveKeys(a, b);
    await b.life.close();
    // The same type with a schema that its content does not meet.
    const strict = createRegistry([
      defineEvent({ type: "NoteTaken", schema: z.object({ text: z.literal("2") }) }),
    ]);
    const again = await devices.reopen(b, { registry: strict });
    expect(await pullAll(again, server)).toBe(3);
    const read = again.store.read({ type: "NoteTaken" });
    expect(read.map(({ content }) => content)).toEqual(["unopened", "opened"]);
    expect(again.store.verify().problems).toEqual([]);
    for (const each of [a, again]) await each.life.close();
  });

  it("proves and passes over an event whose header is of a newer version, and fetches it once it can", async () => {
    const server = serverFor();
    const b = await devices.make();
    await enrolAt(server, b);
    server.push(newerPush());
    const asked = duePull(b);
    const answer = server.pull(b.store.status().device, asked);
    // Opening, a note, the newer one in the same stream, and one that follows it there.
    expect(answer.events).toHaveLength(4);
    const unproven = answer.events.map((event) =>
      event.index === 2
        ? { ...event, body: { ...event.body, header: event.body.header.replace("says", "lies") } }
        : event,
    );
    expect(await b.sync.takePull(asked, { ...answer, events: unproven })).toEqual({
      status: "contradiction",
      code: "server_page_wrong",
    });
    expect(await b.sync.takePull(asked, answer)).toMatchObject({ status: "stored", more: false });
    expect(
      b.store.read().filter(({ header }) => header.dev !== b.store.status().device),
    ).toHaveLength(3);
    expect(b.store.status().findings.map(({ code }) => code)).toContain("header_newer");
    expect(b.store.verify({ allNotes: true }).problems).toEqual([]);
    await b.store.append(note("x", "goes on"));
    await pushAll(b, server);
    // A release that reads the version fetches it again, with its scope.
    const { driver } = b.life.current();
    driver.exec("DELETE FROM sync WHERE name = 'header_version'");
    driver.exec("UPDATE sync SET value = json_set(value, '$.v', 1) WHERE name GLOB 'newer/*'");
    const asking: (readonly string[] | "*")[] = [];
    for (let more = true; more;) {
      const request = duePull(b);
      asking.push(request.scopes);
      const outcome = await b.sync.takePull(request, server.pull(b.store.status().device, request));
      more = outcome.status === "stored" && outcome.more;
    }
    const scope = (JSON.parse(answer.events[2]?.body.header ?? "{}") as { scope: string }).scope;
    expect(asking.some((scopes) => scopes.includes(scope))).toBe(true);
    await b.life.close();
  });
});

/** A device log whose third event is of a later release: opening, a note, that, and another note. */
function newerPush(): PushRequest {
  const maker = createPushingDevice({ crypto, chance: createChance(7), tenant });
  maker.record([{}]);
  const [, last] = maker.events;
  if (last === undefined) throw new Error("nothing recorded");
  const newer = { ...last.header, v: 2, seq: 3, prev: last.leaf, says: "says", sseq: "two" };
  const third = canonicalJson({ ...newer, id: uuid("c") });
  const after = { ...last.header, seq: 4, prev: leafOf(third), sseq: 3, id: uuid("d") };
  const texts = [third, canonicalJson(after)];
  const tree = createTreeBuilder(crypto);
  const all = [...maker.events.map(({ headerText }) => headerText), ...texts];
  for (const text of all) tree.append(leafHash(crypto, utf8(text)));
  const name = deviceLogOrigin(maker);
  const spki = fromBase64(String(maker.events[0]?.header.pub?.["spki"])) as Bytes;
  const statement = formatCheckpoint({ origin: name, size: 4, root: tree.root() });
  const keyId = noteKeyId(crypto, { name, algorithm: "ed25519", spki });
  const signature = maker.sign(utf8(statement));
  const request = maker.push(0);
  const more = texts.map((header): PushEntry => ({
    kind: "full",
    body: { header, frames: last.frames },
  }));
  return {
    ...request,
    note: formatNote(statement, [{ name, keyId, signature }]),
    entries: [...request.entries, ...more],
  };
}

function uuid(digit: string): string {
  return `01900000-0000-7000-8000-00000000000${digit}`;
}

function leafOf(header: string): string {
  return base64url(leafHash(crypto, utf8(header)));
}
