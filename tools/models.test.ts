import {
  diaryEvents,
  eventExamples,
  homeEvents,
  legacyEvents,
  payloadFields,
} from "@holdfast/packs";
import { schema } from "@holdfast/core";
import { describe, expect, it } from "vitest";
import { columnsOf, membersOf, modelsPath, renderModels } from "./models.ts";
import { rowExamples } from "./models/examples.ts";
import { readText } from "./project.ts";

const types = [...diaryEvents, ...homeEvents, ...legacyEvents];

describe("the model reference", () => {
  it("is what the schemas say (rewrite it with npm run docs)", () => {
    expect(readText(modelsPath)).toBe(renderModels());
  });

  it.each(types.map((type) => [type.type, type] as const))(
    "shows an example of %s with every field, and one of each former version",
    (name, type) => {
      const example = eventExamples[name];
      const fields = payloadFields(type).map((field) => field.name);
      expect(Object.keys(example?.current ?? { missing: true }).toSorted()).toEqual(
        fields.toSorted(),
      );
      const former = Object.keys(example?.former ?? {}).map(Number);
      expect(former).toEqual(Array.from({ length: type.version - 1 }, (_, index) => index + 1));
    },
  );

  it("shows no example of a type that is not there", () => {
    const names = new Set(types.map(({ type }) => type));
    expect(Object.keys(eventExamples).filter((name) => !names.has(name))).toEqual([]);
  });
});

describe("the readers", () => {
  it("find every column of a table", () => {
    expect(columnsOf("outbox")).toContainEqual({
      name: "next_at",
      type: "INTEGER",
      nullable: true,
      rule: "",
    });
    for (const { table, row } of rowExamples)
      expect(columnsOf(table).map(({ name }) => name)).toEqual(Object.keys(row));
    expect(schema).toContain("CREATE TABLE outbox");
  });

  it("find members with their comments, and say so when there is no such type", () => {
    const path = "packages/core/src/event/event.ts";
    expect(membersOf(path, "Header")).toContainEqual([
      "`why`",
      "`string`",
      "yes",
      "Reason code; mandatory for amend, retract, redact.",
    ]);
    expect(() => membersOf(path, "Nothing")).toThrow(/declares no Nothing/);
  });
});
