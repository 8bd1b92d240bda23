/** The table of `spec/rest-transport.md` and the function are the same, for every status and every request. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { backendVerdict, type Judged } from "@holdfast/core";

const page = readFileSync(new URL("../../spec/rest-transport.md", import.meta.url), "utf8");

interface Row {
  readonly from: number;
  readonly to: number;
  readonly fits: (request: Judged) => boolean;
  readonly outcome: string;
}

const requests: Readonly<Record<string, Row["fits"]>> = {
  any: () => true,
  delete: ({ operation }) => operation === "delete",
  "delete, absent acknowledged": ({ operation, absent }) =>
    operation === "delete" && absent === "acknowledged",
  "attempted before, 1 to 3 times": ({ attempts }) => attempts >= 1 && attempts <= 3,
};

const rows: readonly Row[] =
  page
    .split("## Answers")[1]
    ?.split("\n")
    .filter((line) => /^\| \d/.test(line))
    .map((line) => {
      const [status = "", request = "", kind = "", code = ""] = line
        .split("|")
        .slice(1, 5)
        .map((cell) => cell.trim());
      const [from = 0, to = from] = status.split("–").map(Number);
      const fits = requests[request];
      if (fits === undefined) throw new Error(`unknown request: ${request}`);
      return { from, to, fits, outcome: `${kind} ${code}`.trim() };
    }) ?? [];

test("every status leads to what the page says", () => {
  expect(rows).toHaveLength(17);
  const met = new Set<Row>();
  for (const operation of ["create", "update", "delete", "control"] as const) {
    for (const absent of ["acknowledged", "refused"] as const) {
      for (const attempts of [0, 1, 3, 4, 1_000]) {
        const request = { operation, absent, attempts };
        for (let status = 0; status < 1_000; status++) {
          const row = rows.find(
            ({ from, to, fits }) => status >= from && status <= to && fits(request),
          );
          const verdict = backendVerdict(status, request);
          const came = verdict.kind === "failed" ? `failed ${verdict.code}` : verdict.kind;
          if (came !== row?.outcome) expect.fail(`${status} ${JSON.stringify(request)}: ${came}`);
          met.add(row);
        }
      }
    }
  }
  expect(met.size).toBe(rows.length);
});
