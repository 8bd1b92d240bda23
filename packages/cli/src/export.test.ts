/** Exports of a real store, read back by others: FHIR by the importer, Parquet by DuckDB. */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { DuckDBInstance } from "@duckdb/node-api";
import type { Draft, Holdfast } from "@holdfast/core";
import { initStore, openStore } from "@holdfast/node";
import {
  type BundleResource,
  diaryFhir,
  exportFhir,
  importFhir,
  type JsonObject,
  readBundle,
  sameJsonText,
} from "@holdfast/packs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parquetOf } from "./parquet.ts";
import { eventTable, modelTable, type Table } from "./rows.ts";
import { writeFileWhole } from "./sink.ts";
import { projections, registry } from "./store.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const shared = join(process.env["HOLDFAST_SHARED"] ?? join(root, "../shared"), "data/fhir");
const bundles = existsSync(shared)
  ? readdirSync(shared)
      .filter((name) => name.endsWith(".json"))
      .map((name) => join(shared, name))
  : [];
const full = process.env["HOLDFAST_FULL"] !== undefined;

interface Place {
  readonly folder: string;
  readonly directory: string;
  readonly stateDirectory: string;
  readonly passphrase: string;
}

async function newPlace(): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-export-"));
  const passphrase = "correct horse battery staple";
  const place = {
    folder,
    directory: join(folder, "store"),
    stateDirectory: join(folder, "state"),
    passphrase,
  };
  await initStore({ ...place, tenant: "test" });
  return place;
}

function openAt(place: Place): Promise<Holdfast> {
  return openStore({ ...place, registry, projections });
}

function fhirText(store: Holdfast): string {
  return [...exportFhir(store, { models: [diaryFhir] })].join("");
}

async function writeParquet(path: string, table: Table): Promise<number> {
  let rows = 0;
  await writeFileWhole(path, async (write) => {
    const pieces = parquetOf(table);
    for (;;) {
      const { done, value } = pieces.next();
      if (done === true) {
        rows = value;
        return;
      }
      await write(value);
    }
  });
  return rows;
}

/** Rows that DuckDB answers; whole numbers as text. */
async function duckdb(sql: string): Promise<readonly Record<string, unknown>[]> {
  const instance = await DuckDBInstance.create(":memory:");
  const connection = await instance.connect();
  try {
    return (await connection.runAndReadAll(sql)).getRowObjectsJson();
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

function countsOf(resources: readonly BundleResource[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { resourceType } of resources) counts[resourceType] = (counts[resourceType] ?? 0) + 1;
  return counts;
}

function countsIn(rows: readonly Record<string, unknown>[]): Readonly<Record<string, number>> {
  return Object.fromEntries(rows.map(({ type, n }) => [String(type), Number(n)]));
}

describe("FHIR in, FHIR and Parquet out", () => {
  // One file says what all of them say; the long run takes every file.
  const some = full ? bundles : bundles.slice(0, 1);
  // A table without rows would leave nothing that can be reported as skipped.
  const files = some.length === 0 ? ["no bundle"] : some;
  test.skipIf(bundles.length === 0).each(files)(
    "%s comes back resource by resource (skipped without ../shared/data/fhir)",
    async (file) => {
      const place = await newPlace();
      const store = await openAt(place);
      try {
        const source = readBundle(readFileSync(file));
        const imported = await importFhir(store, [readFileSync(file)], { actor: "tester" });
        expect(imported.appended).toBe(source.length);
        const exported = readBundle(fhirText(store));
        const texts = new Map(exported.map(({ stream, text }) => [stream, text]));
        expect(exported.length).toBe(source.length);
        for (const { stream, text, value } of source) {
          const back = texts.get(stream) ?? "";
          // Byte for byte, and for whoever reads it as JSON; digits of decimals as written.
          expect(back === text && sameJsonText(back, text)).toBe(true);
          expect(JSON.parse(back)).toEqual(value);
        }
        const path = join(place.folder, "events.parquet");
        await writeParquet(path, eventTable(store, {}, true));
        const byType = await duckdb(
          `SELECT substr(type, 6) AS type, count(*) AS n FROM '${path}'
           WHERE type LIKE 'fhir.%' GROUP BY ALL`,
        );
        expect(countsIn(byType)).toEqual(countsOf(source));
        const inPayload = await duckdb(
          `SELECT json_extract_string(data, '$.resourceType') AS type, count(*) AS n
           FROM '${path}' WHERE type LIKE 'fhir.%' GROUP BY ALL`,
        );
        expect(countsIn(inPayload)).toEqual(countsOf(source));
        const model = join(place.folder, "fhir.parquet");
        const fhir = projections.find(({ name }) => name === "fhir");
        if (fhir === undefined) throw new Error("the command knows the model");
        await writeParquet(model, modelTable(store, fhir));
        const rows = await duckdb(
          `SELECT resource_type AS type, count(*) AS n FROM '${model}' GROUP BY ALL`,
        );
        expect(countsIn(rows)).toEqual(countsOf(source));
      } finally {
        await store.close();
        await rm(place.folder, { recursive: true, force: true });
      }
    },
  );
});

const by = { scope: "Patient/p1", actor: "tester" } as const;
const at = "2026-03-01T08:00:00+01:00";

describe("a store with records of both packs", () => {
  let place: Place;
  let store: Holdfast;
  const leaves: Record<string, string> = {};

  async function append(name: string, draft: Omit<Draft, "scope" | "actor">): Promise<void> {
    const result = await store.append({ ...by, ...draft });
    if (result.status !== "appended") throw new Error(result.status);
    leaves[name] = result.events[0]?.leaf ?? "";
  }

  function exported(): readonly JsonObject[] {
    return readBundle(fhirText(store)).map(({ value }) => value);
  }

  function of(name: string): JsonObject | undefined {
    const id = store.get(leaves[name] ?? "")?.id;
    return exported().find((one) => one["id"] === id);
  }

  beforeAll(async () => {
    place = await newPlace();
    store = await openAt(place);
  });
  afterAll(async () => {
    await store.close();
    await rm(place.folder, { recursive: true, force: true });
  });

  test("an empty store is a bundle without entries", () => {
    expect(JSON.parse(fhirText(store))).toEqual({ resourceType: "Bundle", type: "collection" });
  });

  test("an amended resource is its newest text; a retracted one is left out", async () => {
    const patient = '{"resourceType":"Patient","id":"p1","birthDate":"1971-04-23"}';
    const weight = (id: string, value: string): string =>
      `{"resourceType":"Observation","id":"${id}","status":"final","code":{"text":"w"},` +
      `"subject":{"reference":"Patient/p1"},"valueQuantity":{ "value":${value} }}`;
    const bundle = (...texts: readonly string[]): string =>
      `{"resourceType":"Bundle","type":"collection","entry":[${texts
        .map((text) => `{"resource":${text}}`)
        .join(",")}]}`;
    await importFhir(store, [bundle(patient, weight("o1", "61.50"), weight("o2", "1"))], by);
    await importFhir(store, [bundle(weight("o1", "61.40"))], by);
    const stream = "fhir/Observation/o2";
    const gone = store.read({ stream: store.streamId(stream) })[0]?.leaf ?? "";
    await append("gone", {
      type: "DiaryEntryRetracted",
      stream,
      op: "retract",
      ref: [gone],
      why: "entered-in-error",
      data: {},
    });
    // The projection of FHIR sees only FHIR types: what it does not fold, it does not retract.
    expect(store.row("fhir", stream)).toBeDefined();
    await append("gone", {
      type: "fhir.Observation",
      stream,
      op: "retract",
      ref: [gone],
      why: "entered-in-error",
      data: JSON.parse(weight("o2", "1")) as JsonObject,
      text: weight("o2", "1"),
    });
    const text = fhirText(store);
    expect(text).toContain(weight("o1", "61.40"));
    expect(text).not.toContain('"id":"o2"');
    expect(readBundle(text).length).toBe(2);
  });

  test("diary entries become coded resources that name their event", async () => {
    await append("bleed", {
      type: "NosebleedRecorded",
      stream: "bleed/1",
      data: {
        started_at: at,
        ended_at: "2026-03-01T08:12:00+01:00",
        severity: "dripping",
        side: "left",
        interventions: ["pressure"],
        notes: 'after "sport"',
      },
    });
    const id = store.get(leaves["bleed"] ?? "")?.id ?? "";
    expect(of("bleed")).toMatchObject({
      resourceType: "Observation",
      identifier: [{ system: "urn:ietf:rfc:3986", value: `urn:uuid:${id}` }],
      subject: { reference: "Patient/p1" },
      status: "final",
      code: { coding: [{ system: "http://snomed.info/sct", code: "249366005" }] },
      effectivePeriod: { start: at, end: "2026-03-01T08:12:00+01:00" },
      component: [
        { valueQuantity: { value: 12, system: "http://unitsofmeasure.org", code: "min" } },
        { valueCodeableConcept: { text: "dripping" } },
        { valueCodeableConcept: { coding: [{ code: "7771000" }] } },
        { valueString: "pressure" },
      ],
      note: [{ text: 'after "sport"' }],
    });
  });

  test("medicines, answers and notes keep their digits and their gaps", async () => {
    await append("dose", {
      type: "MedicationTaken",
      stream: "dose/1",
      data: {
        taken_at: "2026-03-01T09:00:00Z",
        medication: "Tranexamic acid",
        dose: "0500.50",
        unit: "mg",
      },
    });
    await append("note", { type: "DiaryNoteWritten", stream: "note/1", data: { text: "fine" } });
    await append("answers", {
      type: "QuestionnaireAnswered",
      stream: "q/1",
      data: {
        answered_at: at,
        instrument: "Epistaxis Severity Score",
        answers: [
          { item: "1", value: 2.5 },
          { item: "2", value: null },
          { item: "3", value: true },
        ],
        score: 3.25,
      },
    });
    expect(of("note")).toMatchObject({
      code: { coding: [{ code: "51855-5" }] },
      valueString: "fine",
    });
    expect(of("answers")).toMatchObject({
      category: [{ coding: [{ code: "survey" }] }],
      valueQuantity: { value: 3.25 },
      component: [
        { valueQuantity: { value: 2.5 } },
        { dataAbsentReason: { coding: [{ code: "unknown" }] } },
        { valueBoolean: true },
      ],
    });
    expect(of("dose")).toMatchObject({ resourceType: "MedicationStatement", status: "completed" });
    expect(fhirText(store)).toContain('"doseQuantity":{"value":500.50,"unit":"mg"}');
  });

  test("an amended entry holds; a retracted one does not", async () => {
    await append("better", {
      type: "NosebleedRecorded",
      stream: "bleed/1",
      op: "amend",
      ref: [leaves["bleed"] ?? ""],
      why: "entered-in-error",
      data: { started_at: at, duration_minutes: 20 },
    });
    await append("withdrawn", {
      type: "DiaryEntryRetracted",
      stream: "note/1",
      op: "retract",
      ref: [leaves["note"] ?? ""],
      why: "entered-in-error",
      data: {},
    });
    const found = exported();
    const bleeds = found.filter(({ code }) => JSON.stringify(code ?? "").includes("249366005"));
    expect(bleeds).toMatchObject([
      { status: "amended", component: [{ valueQuantity: { value: 20 } }] },
    ]);
    expect(JSON.stringify(found)).not.toContain("51855-5");
  });

  test("every reading of a series is exported, without those withdrawn", async () => {
    const reading = (systolic: number): Omit<Draft, "scope" | "actor"> => ({
      type: "BloodPressureMeasured",
      stream: "pressure",
      data: { measured_at: at, systolic_mmhg: systolic, diastolic_mmhg: 80, position: "sitting" },
    });
    for (let index = 0; index < 205; index++) await append(`r${index}`, reading(100 + index / 10));
    await append("away", {
      type: "DiaryEntryRetracted",
      stream: "pressure",
      op: "retract",
      ref: [leaves["r204"] ?? ""],
      why: "entered-in-error",
      data: {},
    });
    const readings = exported().filter((one) => JSON.stringify(one).includes("85354-9"));
    expect(readings.length).toBe(204);
    expect(readings[1]).toMatchObject({
      category: [{ coding: [{ code: "vital-signs" }] }],
      component: [
        { code: { coding: [{ code: "8480-6" }] }, valueQuantity: { value: 100.1, code: "mm[Hg]" } },
        { code: { coding: [{ code: "8462-4" }] }, valueQuantity: { value: 80 } },
        { valueCodeableConcept: { coding: [{ code: "33586001" }] } },
      ],
    });
  });

  test("one subject can be exported alone", async () => {
    await store.append({
      scope: "someone else",
      actor: "tester",
      type: "DiaryNoteWritten",
      stream: "note/2",
      data: { text: "not of p1" },
    });
    const all = fhirText(store);
    const one = [
      ...exportFhir(store, { models: [diaryFhir], scope: store.scopeId("Patient/p1") }),
    ].join("");
    expect(all).toContain("not of p1");
    expect(all).toContain(`"identifier":{"value":"${store.scopeId("someone else")}"}`);
    expect(one).not.toContain("not of p1");
    expect(readBundle(one).length).toBe(readBundle(all).length - 1);
  });

  test("DuckDB reads types, times and text as recorded", async () => {
    const path = join(place.folder, "all.parquet");
    const rows = await writeParquet(path, eventTable(store, {}, true));
    expect(rows).toBe(store.status().events);
    const [first] = await duckdb(
      `SELECT count(*) AS n, max(position) AS last, min(recorded_at) > TIMESTAMPTZ '2020-01-01' AS recent,
              count(occurred_at) < count(*) AS partly FROM '${path}'`,
    );
    expect(first).toMatchObject({
      n: String(rows),
      last: String(rows),
      recent: true,
      partly: true,
    });
    const types = await duckdb(
      `SELECT name, type FROM (DESCRIBE SELECT * FROM '${path}') t(name, type, a, b, c, d)`,
    );
    expect(Object.fromEntries(types.map(({ name, type }) => [name, type]))).toMatchObject({
      position: "BIGINT",
      recorded_at: "TIMESTAMP WITH TIME ZONE",
      data: "VARCHAR",
    });
    const [digits] = await duckdb(
      `SELECT count(*) AS n FROM '${path}' WHERE data LIKE '%"valueQuantity":{ "value":61.40 }%'`,
    );
    expect(digits).toEqual({ n: "1" });
    // Headers alone hold no payload.
    const plain = join(place.folder, "plain.parquet");
    await writeParquet(plain, eventTable(store, {}, false));
    const names = await duckdb(
      `SELECT name FROM (DESCRIBE SELECT * FROM '${plain}') t(name, a, b, c, d, e)`,
    );
    expect(names.map(({ name }) => name)).not.toContain("data");
    expect((await readFile(plain)).includes("61.40")).toBe(false);
  });

  test("the command refuses what would leak, and writes whole files only", async () => {
    const env = {
      ...process.env,
      HOLDFAST_STORE: place.directory,
      HOLDFAST_STATE: place.stateDirectory,
      HOLDFAST_PASSPHRASE: place.passphrase,
    };
    const run = (
      ...args: readonly string[]
    ): Promise<{ code: number | null; out: string; err: string }> => {
      const child = spawn(
        process.execPath,
        [join(root, "packages/cli/bin/holdfast.mjs"), "export", ...args],
        { env },
      );
      let [out, err] = ["", ""];
      child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
      child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
      return new Promise((resolve) => child.on("close", (code) => resolve({ code, out, err })));
    };
    const file = join(place.folder, "out.json");
    const refused = await Promise.all([
      run("--format", "fhir"),
      run("--model", "diary"),
      run("--format", "parquet"),
      run("--format", "fhir", "--include-payload", "--type", "x"),
    ]);
    expect(refused.map(({ code, out }) => [code, out])).toEqual(refused.map(() => [2, ""]));
    const written = await run("--format", "fhir", "--include-payload", "--out", file, "--json");
    expect(written).toMatchObject({ code: 0, err: "" });
    expect(JSON.parse(written.out)).toMatchObject({
      resources: { Patient: 1, MedicationStatement: 1 },
    });
    expect(readBundle(await readFile(file)).length).toBe(exported().length);
    expect((await stat(file)).mode & 0o077).toBe(0);
    const again = await run("--format", "fhir", "--include-payload", "--out", file, "--json");
    expect(again.code).toBe(3);
    expect(JSON.parse(again.err)).toMatchObject({ error: { code: "output_exists" } });
    const nowhere = await run(
      "--format",
      "csv",
      "--out",
      join(place.folder, "none", "x.csv"),
      "--json",
    );
    expect(JSON.parse(nowhere.err)).toMatchObject({ error: { code: "output_unwritable" } });
    const table = await run("--format", "csv", "--model", "diary", "--include-payload");
    expect(table.out).toContain("stream,scope,kind,status,started_at");
    expect(table.out).toContain(",NosebleedRecorded,amended,2026-03-01T07:00:00.000Z,");
    await expect(
      writeFileWhole(join(place.folder, "broken"), async (write) => {
        await write("half");
        throw new Error("stop");
      }),
    ).rejects.toThrow("stop");
    expect(readdirSync(place.folder).filter((name) => name.startsWith("broken"))).toEqual([]);
    await writeFile(join(place.folder, "there"), "x");
    await expect(
      writeFileWhole(join(place.folder, "there"), () => Promise.resolve()),
    ).rejects.toMatchObject({ code: "output_exists" });
  });
});
