import { Readable } from "node:stream";
import fc from "fast-check";
import { expect, test } from "vitest";
import { readLines } from "./lines.ts";

async function collected(chunks: readonly Uint8Array[], max = 1_000): Promise<readonly string[]> {
  const out: string[] = [];
  for await (const { number, bytes } of readLines(Readable.from(chunks), max)) {
    out.push(`${number}:${Buffer.from(bytes).toString()}`);
  }
  return out;
}

test("lines are found wherever the chunks are cut", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom("a", "bc", "é", "\n", "\r\n")),
      fc.nat(7),
      async (words, cut) => {
        const text = words.join("");
        const bytes = Buffer.from(text);
        const chunks = Array.from({ length: Math.ceil(bytes.length / (cut + 1)) }, (_, index) =>
          bytes.subarray(index * (cut + 1), (index + 1) * (cut + 1)),
        );
        const lines = text
          .split("\n")
          .map((line, index) => `${index + 1}:${line.replace(/\r$/, "")}`);
        expect(await collected(chunks)).toEqual(lines.filter((line) => !/^\d+:$/.test(line)));
      },
    ),
  );
});

test("a line has a limit, and the refusal its number", async () => {
  await expect(collected([Buffer.from("a\nbbbb\n")], 3)).rejects.toMatchObject({
    code: "line_too_large",
    details: { line: 2 },
  });
});
