import { describe, expect, it } from "vitest";
import { diaryProjection, type DiaryEntry } from "./diary/projections.ts";
import { fhirProjection, type FhirRow } from "./fhir/projection.ts";
import { wordsOf } from "./search-words.ts";

describe("the words of a value", () => {
  it("are its texts under the wanted names, each once, in order", () => {
    const value = { a: "one", b: ["two", "three", { a: "four" }], c: "one", d: 5, e: null };
    expect(wordsOf(value, () => true)).toBe("one two three four");
    expect(wordsOf(value, (name) => name === "b")).toBe("two three");
    expect(wordsOf(undefined, () => true)).toBe("");
  });

  it("end at 20,000 characters", () => {
    const list = Array.from({ length: 100 }, (_, at) => String(at).padStart(1_000, "x"));
    expect(wordsOf(list, () => true).length).toBeLessThanOrEqual(20_000 + 20);
  });
});

describe("what the packs search", () => {
  it("is what a diary entry says, and nothing of a retracted one", () => {
    const entry = { started_at: "2026-03-01T08:00:00Z", severity: "pouring", notes: "at work" };
    const state = { status: "recorded", entry } as DiaryEntry;
    expect(diaryProjection.search?.(state)).toEqual({ words: "pouring at work" });
    expect(diaryProjection.search?.({ ...state, status: "retracted" })).toEqual({ words: "" });
  });

  it("is what a FHIR resource calls things, and their codes, without its markup", () => {
    const resource = {
      resourceType: "Condition",
      text: { status: "generated", div: "<div>markup</div>" },
      code: { coding: [{ system: "s", code: "249366005", display: "Bleeding from nose" }] },
      note: [{ text: "since Monday" }],
    };
    const state = { status: "current", text: JSON.stringify(resource) } as FhirRow;
    expect(fhirProjection.search?.(state)).toEqual({
      words: "Bleeding from nose since Monday",
      codes: "249366005",
    });
    expect(fhirProjection.search?.({ ...state, status: "retracted" })).toEqual({
      words: "",
      codes: "",
    });
  });
});
