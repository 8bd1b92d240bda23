import { isHoldfastError } from "@holdfast/core";
import { expect, test } from "vitest";
import { conditions, rowText } from "./commands/query.ts";
import { parseDraft } from "./draft.ts";

const good = {
  type: "NosebleedRecorded",
  stream: "diary/1",
  actor: "p1",
  data: { started_at: "2026-03-01T08:00:00Z" },
};

function refusal(line: string): string {
  try {
    parseDraft(line);
    return "taken";
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return `${error.code} ${String(error.details["path"])}`;
  }
}

test("a line is a draft, with what the command line says for all", () => {
  const { type, ...rest } = good;
  const line = JSON.stringify({
    ...rest,
    occurred_at: "2026-03-01T09:00:00+01:00",
    lane: "urgent",
  });
  expect(parseDraft(line, { type, scope: "s" })).toEqual({
    ...good,
    scope: "s",
    occurredAt: Date.UTC(2026, 2, 1, 8),
    lane: "urgent",
  });
});

test("a line that is no draft is refused with a code and a path", () => {
  const changed = (fields: object): string => refusal(JSON.stringify({ ...good, ...fields }));
  expect(refusal("[]")).toBe("draft_invalid ");
  expect(refusal("{")).toMatch(/^json_malformed/);
  expect(refusal(`{"data":{"__proto__":1}}`)).toBe("json_forbidden_key /data/__proto__");
  expect(changed({ type: undefined })).toBe("draft_invalid /type");
  expect(changed({ stream: "" })).toBe("draft_invalid /stream");
  expect(changed({ actor: 1 })).toBe("draft_invalid /actor");
  expect(changed({ data: undefined })).toBe("draft_invalid /data");
  expect(changed({ payload: 1 })).toBe("draft_invalid /payload");
  expect(changed({ occurred_at: "2026-03-01" })).toBe("draft_invalid /occurred_at");
  expect(changed({ op: "update" })).toBe("draft_invalid /op");
  expect(changed({ ref: [1] })).toBe("draft_invalid /ref");
  expect(changed({ type: "Nothing" })).toMatch(/^event_type_unknown/);
  expect(changed({ data: { started_at: "noon" } })).toBe("payload_invalid /data/started_at");
});

test("conditions take the type of their column", () => {
  const columns = { n: "integer", t: "text" } as const;
  expect(conditions({ columns }, ["n>=2", "n<5", "t=a=b"])).toEqual({
    n: { gte: 2, lt: 5 },
    t: { eq: "a=b" },
  });
  expect(() => conditions({ columns }, ["n=x"])).toThrow("query_invalid");
  expect(() => conditions({ columns }, ["n"])).toThrow("field=value");
});

test("a FHIR row keeps the digits of its numbers", () => {
  const state = { text: '{ "value": 5.10 }', leaf: "L" };
  const row = { stream: "s", scope: "c", columns: { id: "1" }, state };
  expect(rowText("fhir", row)).toBe(
    '{"id":"1","stream":"s","scope":"c","leaf":"L","resource":{"value":5.10}}',
  );
});
