import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import {
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createRecordingObserver,
  createWeightDraft as weight,
  createStoreFiles,
} from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";
import { checkInclusion, leafHash } from "../proof/tree.ts";
import { createNoteVerifier, openNote } from "../proof/note.ts";
import { parseCheckpoint } from "../proof/checkpoint.ts";
import { verifySignature } from "../proof/signature.ts";
import { base64, base64url, type Bytes, fromBase64, utf8 } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { type Mark, readMark, writeMark } from "../store/mark.ts";
import type { Holdfast } from "./holdfast.ts";

const crypto = createNodeCrypto();
const stores = createStoreFiles({ crypto, random: systemRandom, openFile: openSqlite });
afterAll(stores.remove);

async function made() {
  const { path, test, clock, faults } = await stores.make({ clock: createManualClock(1_000_000) });
  const observer = createRecordingObserver();
  const registry = createNoteRegistry();
  const open: typeof test.open = (more = {}) => test.open({ registry, observer, ...more });
  return { path, test, clock, faults, observer, open };
}

async function codeOf(run: () => unknown): Promise<string> {
  try {
    await run();
    return "nothing was thrown";
  } catch (error) {
    return isHoldfastError(error) ? error.code : String(error);
  }
}

const textsOf = (store: Holdfast, ...query: Parameters<Holdfast["read"]>): readonly unknown[] =>
  store
    .read(...query)
    .filter(({ type }) => type === "NoteTaken")
    .map(({ data }) => (data as { text: string } | undefined)?.text);

describe("reading", () => {
  it("filters by words or ids, by time, and page by page", async () => {
    const { clock, open } = await made();
    const store = await open();
    for (let at = 1; at <= 6; at++) {
      clock.advance(10);
      const actor = at % 2 === 0 ? "nurse/even" : "nurse/odd";
      await store.append(
        note(at <= 3 ? "early" : "late", String(at), { actor, scope: at <= 3 ? "ada" : "bob" }),
      );
    }
    const times = store.read({ type: "NoteTaken" }).map(({ recordedAt }) => recordedAt);
    expect(textsOf(store, { stream: "early" })).toEqual(["1", "2", "3"]);
    expect(textsOf(store, { stream: store.streamId("late") })).toEqual(["4", "5", "6"]);
    expect(textsOf(store, { actor: "nurse/even" })).toEqual(["2", "4", "6"]);
    expect(textsOf(store, { since: times[3] as number })).toEqual(["4", "5", "6"]);
    expect(textsOf(store, { until: times[1] as number })).toEqual(["1"]);
    expect(textsOf(store, { after: 1, limit: 2 })).toEqual(["1", "2"]);
    expect(textsOf(store, { after: 3, stream: "early", actor: "nurse/odd" })).toEqual(["3"]);
    expect(textsOf(store, { unsynced: true })).toHaveLength(6);
    const [header] = store.read({ headersOnly: true, stream: "early" });
    expect(header).toMatchObject({
      content: "none",
      data: undefined,
      known: true,
      type: "NoteTaken",
    });
    expect(header?.scope).toBe(store.scopeId("ada"));
    expect(header?.actor).toBe(store.actorId("nurse/odd"));
    for (const wrong of [{ limit: -1 }, { limit: 0.5 }, { after: -1 }, { after: Number.NaN }]) {
      expect(() => store.read(wrong)).toThrow(/^query_invalid/);
    }
    await store.close();
  });

  it("gives an event by id and by leaf with all that it says", async () => {
    const { open } = await made();
    const store = await open();
    const result = await store.append(
      note("s", "x", { reason: "asked", occurredAt: 5, role: "nurse" }),
    );
    const [event] = result.status === "appended" ? result.events : [];
    const read = store.get(event?.id ?? "");
    expect(read).toMatchObject({
      leaf: event?.leaf,
      reason: "asked",
      occurredAt: 5,
      content: "opened",
      data: { text: "x" },
      position: 2,
    });
    expect(read?.header.role).toBe("nurse");
    expect(store.get(event?.leaf ?? "")).toEqual(read);
    expect(store.get("nothing")).toBeUndefined();
    expect(store.get("A".repeat(43))).toBeUndefined();
    await store.close();
  });

  it("shows frames that are not here by their state, and says when one does not open", async () => {
    const { path, test, open } = await made();
    const store = await open();
    await store.append([note("a", "1"), note("b", "2"), note("c", "3"), note("d", "4")]);
    await store.close();
    const keyring = await test.openKeyring();
    const driver = openSqlite({ path, pageKey: keyring.pageKey(), readOnly: false, create: false });
    driver.exec("UPDATE frames SET state = 'owed', bytes = NULL WHERE position = 2");
    driver.exec("UPDATE frames SET state = 'shredded', bytes = NULL WHERE position = 3");
    driver.exec(
      "UPDATE frames SET bytes = (SELECT bytes FROM frames WHERE position = 5) WHERE position = 4",
    );
    driver.close();
    const again = await open();
    expect(again.get(again.read({ limit: 2 })[1]?.id ?? "")).toMatchObject({
      content: "owed",
      data: undefined,
    });
    expect(again.read({ after: 2, limit: 1 })).toMatchObject([
      { content: "shredded", data: undefined },
    ]);
    expect(() => again.read({ after: 3, limit: 1 })).toThrow(/^section_unopened.*position=4/);
    expect(textsOf(again, { after: 4 })).toEqual(["4"]);
    expect(again.verify().ok).toBe(false);
    await again.close();
  });

  it("keeps what it knows of unknown types", async () => {
    const { test, open } = await made();
    const store = await open();
    await store.append(weight("w", 7));
    await store.close();
    const bare = await test.open();
    expect(bare.read({ type: "WeightMeasured" })).toMatchObject([
      { known: false, content: "opened" },
    ]);
    expect(await codeOf(() => bare.append(weight("w", 8)))).toBe("event_type_unknown");
    await bare.close();
  });
});

describe("proofs", () => {
  it("stand alone: header, path and note are enough to check an event", async () => {
    const { open } = await made();
    const store = await open();
    for (let commit = 0; commit < 5; commit++) {
      await store.append(
        Array.from({ length: 1 + commit * 2 }, (_, at) => note(`s${at}`, `${commit}.${at}`)),
      );
    }
    for (const { id, header } of store.read()) {
      const proof = store.prove(id);
      const name = `${header.ten}/d/${header.dev}/${header.inc}`;
      const spki = fromBase64(proof.spki) as Bytes;
      const verifier = createNoteVerifier(crypto, { name, algorithm: "ed25519", spki });
      const opened = openNote(proof.note, [verifier], (...signed) =>
        verifySignature(crypto, ...signed),
      );
      expect(opened.status).toBe("verified");
      const text = proof.note.slice(0, proof.note.indexOf("\n\n") + 1);
      const { size, root } = parseCheckpoint(text);
      const leaf = leafHash(crypto, utf8(proof.header));
      expect(base64url(leaf)).toBe(proof.leaf);
      const claim = {
        leaf,
        index: proof.index,
        size,
        root,
        path: proof.path.map((hash) => fromBase64(hash) as Bytes),
      };
      expect(checkInclusion(crypto, claim)).toBe(true);
      expect(proof.size).toBe(size);
      expect(checkInclusion(crypto, { ...claim, leaf: crypto.sha256(leaf) })).toBe(false);
      expect(base64(root)).not.toBe("");
    }
    expect(() => store.prove("nothing")).toThrow(/^event_not_found/);
    await store.close();
  });
});

describe("status", () => {
  it("tells where the store stands", async () => {
    const { clock, open } = await made();
    const store = await open();
    await store.append([note("a", "1"), note("b", "2")]);
    clock.advance(500);
    const [opening] = store.read();
    expect(store.status()).toMatchObject({
      device: opening?.header.dev,
      incarnation: opening?.header.inc,
      events: 3,
      head: { sequence: 3, root: expect.any(String) as string },
      outbox: { waiting: 3, oldestMs: 500 },
      projections: [],
      findings: [],
    });
    await store.close();
  });
});

describe("a reader", () => {
  it("sees what is there, writes nothing, and needs no lease", async () => {
    const { open } = await made();
    const store = await open();
    await store.append(note("s", "1"));
    const reader = await open({ readOnly: true });
    expect(textsOf(reader)).toEqual(["1"]);
    await store.append(note("s", "2"));
    expect(textsOf(reader)).toEqual(["1", "2"]);
    expect(reader.verify().ok).toBe(true);
    expect(await codeOf(() => reader.append(note("s", "never")))).toBe("store_read_only");
    expect(await codeOf(() => reader.rebuild("any"))).toBe("store_read_only");
    await reader.close();
    await store.close();
    expect(() => reader.read()).toThrow(/^store_closed/);
  });
});

describe("a store that is not as it was left", () => {
  it("opens a new incarnation where it was moved, which the old key hands over", async () => {
    const { test, open } = await made();
    let store = await open();
    await store.append(note("s", "1"));
    const before = store.status();
    await store.close();
    test.place = { folder: "/elsewhere", identity: "2" };
    store = await open();
    expect(store.status().findings).toMatchObject([{ code: "store_moved" }]);
    await store.append(note("s", "2"));
    const after = store.status();
    expect(after.device).toBe(before.device);
    expect(after.incarnation).not.toBe(before.incarnation);
    const [opening] = store.read({ after: 2, limit: 1 });
    expect(opening?.header.pub).toMatchObject({
      reason: "moved",
      predecessor: before.incarnation,
      size: 2,
      root: before.head.root,
    });
    expect(store.verify({ allNotes: true })).toMatchObject({ ok: true });
    await store.close();
  });

  it("writes nothing when it holds less than its mark attests, unless that is accepted", async () => {
    const { test, faults, open } = await made();
    let store = await open();
    await store.append(note("s", "1"));
    const { incarnation } = store.status();
    await store.append(note("s", "2"));
    await store.close();
    // The mark of a longer life of this store, made by its own keyring.
    const mac = (await test.openKeyring()).markMac();
    const file = test.medium.markFile(incarnation);
    const { mark } = readMark(mac, file);
    expect(mark?.size).toBe(3);
    writeMark(mac, file, { ...(mark as Mark), size: 9, count: 99 });
    store = await open();
    expect(store.status().findings).toMatchObject([{ code: "store_rolled_back" }]);
    expect(await codeOf(() => store.append(note("s", "never")))).toBe("store_rolled_back");
    expect(textsOf(store)).toEqual(["1", "2"]);
    expect(store.verify().problems).toContainEqual(
      expect.objectContaining({ code: "store_rolled_back" }),
    );
    await store.close();
    store = await open({ acceptRollback: true });
    // Accepted once, accepted also after a medium that could only be read for a while.
    faults.plan({ sql: /^BEGIN/u, when: "before", result: "SQLITE_IOERR" });
    faults.plan({ sql: /wal_checkpoint/u, when: "before", result: "SQLITE_FULL", times: 99 });
    expect(await codeOf(() => store.append(note("s", "never")))).toBe("store_io_error");
    expect(textsOf(store)).toEqual(["1", "2"]);
    faults.heal();
    await store.append(note("s", "3"));
    expect(store.status().incarnation).not.toBe(incarnation);
    expect(textsOf(store)).toEqual(["1", "2", "3"]);
    await store.close();
  });

  it("takes a mark that lags, and says when a slot of it is damaged", async () => {
    const { test, open } = await made();
    let store = await open();
    await store.append(note("s", "1"));
    const { incarnation } = store.status();
    const mark = test.marks.get(incarnation);
    const lagging = mark?.slots?.map((slot) => Uint8Array.from(slot)) as [Bytes, Bytes];
    await store.append(note("s", "2"));
    await store.close();
    (mark as NonNullable<typeof mark>).slots = lagging;
    store = await open();
    expect(store.status().findings).toEqual([]);
    await store.close();
    lagging[0].fill(1);
    store = await open();
    expect(store.status().findings).toMatchObject([{ code: "mark_damaged" }]);
    await store.append(note("s", "3"));
    expect(store.status().incarnation).toBe(incarnation);
    await store.close();
  });

  it("goes on when its mark cannot be written, and says so", async () => {
    const { observer, open } = await made();
    const store = await open({
      medium: (medium) => ({
        openDriver: (...given) => medium.openDriver(...given),
        place: medium.place,
        markFile(incarnation) {
          const file = medium.markFile(incarnation);
          return {
            read: () => file.read(),
            write(slot, bytes) {
              if (observer.total("append_calls") > 0) throw new Error("read-only file system");
              file.write(slot, bytes);
            },
          };
        },
      }),
    });
    await store.append(note("s", "1"));
    await store.append(note("s", "2"));
    expect(observer.logged("mark_unwritable")).toBeGreaterThan(0);
    expect(store.status().findings).toMatchObject([{ code: "mark_unwritable" }]);
    await store.close();
  });

  it.each([
    ["DROP TRIGGER events_no_update", "store_drifted"],
    ["UPDATE store SET value = 'another' WHERE name = 'store_id'", "store_foreign"],
    ["PRAGMA application_id = 7", "store_foreign"],
    ["PRAGMA user_version = 9", "store_newer"],
  ])("is refused after %s: %s", async (statement, code) => {
    const { path, test, open } = await made();
    const store = await open();
    await store.close();
    const keyring = await test.openKeyring();
    const driver = openSqlite({ path, pageKey: keyring.pageKey(), readOnly: false, create: false });
    driver.exec(statement);
    driver.close();
    expect(await codeOf(() => open())).toBe(code);
    expect(await codeOf(() => open({ readOnly: true }))).toBe(code);
  });

  it("names in verify what the outbox lacks", async () => {
    const { path, test, open } = await made();
    let store = await open();
    await store.append(note("s", "1"));
    await store.close();
    const keyring = await test.openKeyring();
    const driver = openSqlite({ path, pageKey: keyring.pageKey(), readOnly: false, create: false });
    driver.exec("DELETE FROM outbox WHERE position = 2");
    driver.close();
    store = await open();
    expect(store.verify()).toMatchObject({
      ok: false,
      problems: [{ code: "outbox_entry_missing", object: "event 2" }],
    });
    await store.close();
  });

  it("reports in verify what cannot be read, by name", async () => {
    const { faults, observer, open } = await made();
    const store = await open();
    await store.append(note("s", "1"));
    faults.plan({ sql: /FROM frames WHERE position/, when: "before", result: "SQLITE_CORRUPT" });
    const { ok, problems } = store.verify();
    expect(ok).toBe(false);
    expect(problems[0]).toMatchObject({ code: "store_corrupt", object: "frames of event 1" });
    faults.plan({ sql: /FROM outbox/, when: "before", result: "SQLITE_IOERR_READ" });
    expect(store.verify().problems).toMatchObject([
      { code: "store_io_error", object: "table outbox" },
    ]);
    expect(observer.total("verify_problems")).toBe(2);
    expect(store.verify({ depth: "headers" }).ok).toBe(true);
    await store.close();
  });
});
