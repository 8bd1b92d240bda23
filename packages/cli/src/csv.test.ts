import { expect, test } from "vitest";
import { csvLine } from "./csv.ts";

test("a cell that a spreadsheet would run is made text", () => {
  for (const start of ["=", "+", "-", "@", "\t", "\r"]) {
    expect(csvLine([`${start}1+1`])).toBe(`"'${start}1+1"\r\n`);
  }
  expect(csvLine(["a=1", -5, true, null, undefined, { a: 1 }])).toBe(
    'a=1,-5,true,,,"{""a"":1}"\r\n',
  );
});

test("quotes, commas and line breaks are kept", () => {
  expect(csvLine(['say "x"', "a,b", "a\nb"])).toBe('"say ""x""","a,b","a\nb"\r\n');
});
