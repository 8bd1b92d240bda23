import type { AppendAnswer, Draft, RecordedEvent, VersionVector } from "@holdfast/core";
import { expect, test } from "vitest";
import { importFhir, type ImportStore } from "./import.ts";
import { fhirProjection, type FhirRow } from "./projection.ts";

/** Streams in memory, for what the importer decides; tests/cli runs it against a real store. */
function createStreams(): ImportStore & { readonly drafts: readonly Draft[] } {
  const rows = new Map<
    string,
    { readonly state: FhirRow; readonly scope: string; readonly size: number }
  >();
  const drafts: Draft[] = [];
  return {
    drafts,
    streamId: (words) => words,
    scopeId: (words) => words,
    read: () => [],
    frontier: (stream) => {
      const row = rows.get(stream);
      return row === undefined ? undefined : { "d/i": row.size };
    },
    row: <State>(_: string, stream: string) => {
      const row = rows.get(stream);
      return row === undefined
        ? undefined
        : { stream, scope: row.scope, columns: {}, state: row.state as State };
    },
    async append(given, options): Promise<AppendAnswer> {
      await Promise.resolve();
      const draft = given as Draft;
      const before = rows.get(draft.stream);
      const frontier: VersionVector = before === undefined ? {} : { "d/i": before.size };
      const expected = options?.expect === "none" ? {} : (options?.expect ?? frontier);
      if (JSON.stringify(expected) !== JSON.stringify(frontier)) {
        return { status: "conflict", stream: draft.stream, frontier };
      }
      drafts.push(draft);
      const leaf = `leaf${drafts.length}`;
      const event = { ...draft, leaf, content: "opened" } as unknown as RecordedEvent;
      const state = fhirProjection.fold(before?.state, event) as FhirRow;
      rows.set(draft.stream, { state, scope: draft.scope ?? "", size: (before?.size ?? 0) + 1 });
      return { status: "appended", events: [] } as unknown as AppendAnswer;
    },
  };
}

function bundle(...resources: readonly object[]): string {
  return JSON.stringify({
    resourceType: "Bundle",
    entry: resources.map((resource) => ({ resource })),
  });
}

const observation = (status: string, patient = "p"): object => {
  const subject = { reference: `Patient/${patient}` };
  return { resourceType: "Observation", id: "o", status, code: { text: "x" }, subject };
};

const by = { actor: "tester" };

test("a repeat appends nothing, a change and a return to earlier content are amendments", async () => {
  const store = createStreams();
  const run = (...resources: readonly object[]) => importFhir(store, [bundle(...resources)], by);
  expect(await run(observation("final"), { resourceType: "Patient", id: "p" })).toEqual({
    appended: 2,
    duplicates: 0,
    amended: 0,
    resources: { Observation: 1, Patient: 1 },
  });
  expect(await run(observation("final"))).toMatchObject({ appended: 0, duplicates: 1, amended: 0 });
  expect(await run(observation("amended"))).toMatchObject({
    appended: 0,
    duplicates: 0,
    amended: 1,
  });
  expect(await run(observation("final"))).toMatchObject({ appended: 0, duplicates: 0, amended: 1 });
  expect(store.drafts.slice(2).map(({ op, why, ref, scope }) => ({ op, why, ref, scope }))).toEqual(
    [
      { op: "amend", why: "source-changed", ref: ["leaf1"], scope: "Patient/p" },
      { op: "amend", why: "source-changed", ref: ["leaf3"], scope: "Patient/p" },
    ],
  );
});

test("one resource twice in a bundle is compared in order", async () => {
  const store = createStreams();
  const text = bundle(observation("final"), observation("final"), observation("amended"));
  expect(await importFhir(store, [text], by)).toMatchObject({
    appended: 1,
    duplicates: 1,
    amended: 1,
  });
});

test("of two importers at once one records each resource", async () => {
  const store = createStreams();
  const many = Array.from({ length: 450 }, (_, index) => ({
    resourceType: "Basic",
    id: `b${index}`,
  }));
  const [a, b] = await Promise.all([
    importFhir(store, [bundle(...many)], by),
    importFhir(store, [bundle(...many.slice(100))], by),
  ]);
  expect(store.drafts.length).toBe(450);
  expect(a.appended + b.appended).toBe(450);
  expect(a.duplicates + b.duplicates).toBe(350);
  expect(a.amended + b.amended).toBe(0);
});

test("a changed resource of another patient is refused", async () => {
  const store = createStreams();
  await importFhir(store, [bundle(observation("final"))], by);
  await expect(importFhir(store, [bundle(observation("final", "q"))], by)).rejects.toMatchObject({
    code: "fhir_subject_changed",
    details: { path: "/entry/0/resource" },
  });
});

test("nothing is recorded when any source cannot be read", async () => {
  const store = createStreams();
  await expect(importFhir(store, [bundle(observation("final")), "{}"], by)).rejects.toMatchObject({
    code: "fhir_bundle_invalid",
    details: { source: 2 },
  });
  expect(store.drafts).toEqual([]);
});
