/** Every model there and back: what the reference shows is recorded by a real store and read again. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  base64url,
  canonicalJson,
  createRegistry,
  createSchema,
  decodeLines,
  type EventType,
  formatNote,
  fromUtf8,
  fromWire,
  type Holdfast,
  invariant,
  isoTime,
  type Mark,
  type MarkFile,
  markSlotBytes,
  parseCheckpoint,
  parseNote,
  readMark,
  type RecordedEvent,
  toWire,
  type WireEvent,
  writeMark,
} from "@holdfast/core";
import { generateHpkeKeyPair, unwrapGrant, wrapGrant } from "@holdfast/core/grant";
import {
  createNodeCrypto,
  initStore,
  keyringFileName,
  openSqlite,
  openStore,
  systemRandom,
} from "@holdfast/node";
import {
  diaryEvents,
  eventExamples,
  homeEvents,
  legacyEvents,
  packProjections,
} from "@holdfast/packs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { rowExamples } from "../../tools/models/examples.ts";

const types: readonly EventType[] = [...diaryEvents, ...homeEvents, ...legacyEvents];
const registry = createRegistry(types);
const occurredAt = Date.parse("2026-03-01T08:00:00.250Z");

const folder = mkdtempSync(join(tmpdir(), "holdfast-models-"));
const place = {
  directory: join(folder, "store"),
  stateDirectory: join(folder, "state"),
  passphrase: "correct horse battery staple",
};
let store: Holdfast;

/** Records the former shapes as an older release did: under a registry that knows no later one. */
async function recordFormerShapes(): Promise<void> {
  const former = types.filter(({ version }) => version > 1);
  const older = former.map((type) => ({
    ...type,
    version: 1,
    upcasters: {},
    schema: z.looseObject({}),
  }));
  const before = await openStore({ ...place, registry: createRegistry(older), projections: [] });
  for (const { type } of former) {
    const data = eventExamples[type]?.former?.[1];
    await before.append({ type, stream: `former/${type}`, scope: "ada", actor: "nurse/7", data });
  }
  await before.close();
}

beforeAll(async () => {
  await initStore({ ...place, tenant: "Models" });
  await recordFormerShapes();
  store = await openStore({ ...place, registry, projections: packProjections });
});

afterAll(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

async function record(type: string, data: unknown): Promise<RecordedEvent> {
  const result = await store.append({
    type,
    stream: `model/${type}`,
    scope: "ada",
    actor: "nurse/7",
    role: "nurse",
    occurredAt,
    reason: "an example",
    data,
  });
  invariant(result.status === "appended", "nothing was expected of the stream");
  const event = store.get(result.events[0]?.leaf ?? "");
  invariant(event !== undefined, "it was appended");
  return event;
}

describe("a domain model", () => {
  it.each(types.map(({ type }) => type))("%s is recorded and read back", async (type) => {
    const current = eventExamples[type]?.current;
    expect(registry.validate(type, current)).toEqual(current);
    const event = await record(type, current);
    expect(event.data).toEqual(current);
    expect(event).toMatchObject({ type, known: true, occurredAt, reason: "an example" });
    const wire = JSON.parse(JSON.stringify(toWire(event))) as WireEvent;
    expect(fromWire(wire)).toEqual(event);
    expect([wire.recorded_at, wire.occurred_at]).toEqual([
      isoTime(event.recordedAt),
      "2026-03-01T08:00:00.250Z",
    ]);
  });

  it.each(types.filter(({ version }) => version > 1).map((type) => [type.type, type] as const))(
    "%s of version 1 is read in the present shape, and its recorded bytes stay",
    (name, type) => {
      const [event] = store.read({ stream: `former/${name}` });
      expect(event).toMatchObject({ known: true, schemaVersion: type.version });
      expect(event?.header.tv).toBe(1);
      expect(event?.data).toEqual(registry.read(name, 1, eventExamples[name]?.former?.[1]).payload);
      expect(registry.validate(name, event?.data)).toEqual(event?.data);
    },
  );

  it("with optional fields left out is read with their defaults", async () => {
    const event = await record("RoomAdded", { name: "Hall" });
    expect(event.data).toEqual({ name: "Hall", use: "other", floor: null });
  });
});

describe("a system model", () => {
  it("header: its canonical text is the one that was hashed", async () => {
    const event = await record("DiaryNoteWritten", eventExamples["DiaryNoteWritten"]?.current);
    const { header } = store.prove(event.leaf);
    expect(canonicalJson(JSON.parse(header) as never)).toBe(header);
    expect(JSON.parse(header)).toEqual(event.header);
    const leaf = createNodeCrypto().sha256(Uint8Array.of(0), new TextEncoder().encode(header));
    expect(base64url(leaf)).toBe(event.leaf);
  });

  it("commit note: text, parts, and the same text", async () => {
    const event = await record("DiaryNoteWritten", eventExamples["DiaryNoteWritten"]?.current);
    const { note, size } = store.prove(event.leaf);
    const parsed = parseNote(note);
    expect(formatNote(parsed.text, parsed.signatures)).toBe(note);
    expect(parseCheckpoint(parsed.text)).toMatchObject({ size });
  });

  it.each(rowExamples.map((example) => [example.title, example] as const))(
    "%s: written to the table of the store and read back",
    (_title, { table, row }) => {
      const driver = openSqlite({
        path: ":memory:",
        pageKey: undefined,
        readOnly: false,
        create: true,
      });
      try {
        createSchema(driver);
        // The row stands alone here; its event is not part of the example.
        driver.exec("PRAGMA foreign_keys = OFF");
        const names = Object.keys(row);
        const marks = names.map(() => "?").join(", ");
        driver
          .prepare(`INSERT INTO ${table} (${names.join(", ")}) VALUES (${marks})`)
          .run(...Object.values(row));
        expect(driver.prepare(`SELECT * FROM ${table}`).all()).toEqual([row]);
      } finally {
        driver.close();
      }
    },
  );

  it("high-water mark: written to its slots and read back", () => {
    const blank = (): Uint8Array<ArrayBuffer> => new Uint8Array(markSlotBytes);
    const slots: [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>] = [blank(), blank()];
    const file: MarkFile = {
      read: () => slots,
      write(slot, bytes) {
        slots[slot] = Uint8Array.from(bytes);
      },
    };
    const crypto = createNodeCrypto();
    const mac = { mac: (message: Uint8Array) => crypto.sha256(message) };
    const mark: Mark = {
      v: 1,
      store: "s",
      folder: "/stores/ä",
      identity: "1-2",
      device: "d",
      incarnation: "00",
      size: 7,
      root: "r",
      pulled: "",
      count: 3,
    };
    writeMark(mac, file, mark);
    expect(readMark(mac, file)).toEqual({ mark, damaged: 0, present: true });
  });

  it("keyring: each line of the store's own file is its record in canonical form", () => {
    const crypto = createNodeCrypto();
    const lines = decodeLines(
      crypto,
      Uint8Array.from(readFileSync(join(place.directory, keyringFileName))),
    );
    const kinds = lines.map((line) => {
      invariant(line.state === "record", "a keyring that nobody touched has whole lines");
      expect(fromUtf8(line.raw).trimEnd().slice(0, -17)).toBe(canonicalJson(line.record as never));
      return line.record.kind;
    });
    const expected = [
      "data",
      "epoch",
      "hpke",
      "keyring",
      "page",
      "provider",
      "pseudonym",
      "signing",
    ];
    expect([...new Set(kinds)].toSorted()).toEqual(expected);
  });

  it("grant: wrapped to an installation and unwrapped there", async () => {
    const pair = generateHpkeKeyPair(systemRandom);
    const granted = {
      kind: "data",
      id: base64url(systemRandom.bytes(16)),
      scope: base64url(systemRandom.bytes(16)),
      section: "content",
      generation: 1,
      key: systemRandom.bytes(32),
    } as const;
    const tenant = base64url(systemRandom.bytes(16));
    const grant = await wrapGrant(granted, tenant, pair.publicKey, systemRandom);
    expect(canonicalJson(JSON.parse(fromUtf8(grant)) as never)).toBe(fromUtf8(grant));
    expect(await unwrapGrant(grant, tenant, pair)).toEqual(granted);
  });
});
