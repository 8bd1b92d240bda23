import fc from "fast-check";
import Papa from "papaparse";
import { expect, test } from "vitest";
import { csvLine } from "./csv.ts";

/** Cells that a spreadsheet may run (OWASP, CSV injection). */
const runs = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;

test("a cell that a spreadsheet would run is made text", () => {
  for (const start of [
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
  ]) {
    expect(csvLine([`${start}1+1`])).toBe(`"'${start}1+1"\r\n`);
  }
  expect(csvLine(["a=1", -5, true, null, undefined, { a: 1 }])).toBe(
    'a=1,-5,true,,,"{""a"":1}"\r\n',
  );
});

test("quotes, commas and line breaks are kept", () => {
  expect(csvLine(['say "x"', "a,b", "a\nb"])).toBe('"say ""x""","a,b","a\nb"\r\n');
});

test("another reader finds the same cells, and none that runs", () => {
  const hard = fc.string({
    unit: fc.constantFrom(
      "=",
      "+",
      "-",
      "@",
      "\t",
      "\r",
      "\n",
      '"',
      ",",
      ";",
      "'",
      " ",
      "a",
      "é",
      "\u{1f600}",
      "\uff1d",
    ),
  });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(hard, fc.string(), hard), { minLength: 1, maxLength: 20 }),
      (rows) => {
        const text = csvLine(["a", "b", "c"]) + rows.map((row) => csvLine(row)).join("");
        const { data, errors } = Papa.parse<readonly string[]>(text, {
          delimiter: ",",
          newline: "\r\n",
        });
        expect(errors).toEqual([]);
        const found = data.slice(1, -1);
        // An apostrophe that stood before such a sign already is read as the writer's.
        const plain = (all: readonly (readonly string[])[]): readonly (readonly string[])[] =>
          all.map((row) =>
            row.map((cell) => cell.replace(/^'(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])/, "")),
          );
        expect(plain(found)).toEqual(plain(rows));
        expect(found.flat().filter((cell) => runs.test(cell))).toEqual([]);
      },
    ),
    { numRuns: 300 },
  );
});
