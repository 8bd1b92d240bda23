import { PassThrough } from "node:stream";
import type { AppendAnswer, AppendResult, Draft } from "@holdfast/core";
import { HoldfastError } from "@holdfast/core";
import { expect, test } from "vitest";
import { createOutput } from "../output.ts";
import { appendLines } from "./append.ts";

const line = (stream: string, data: object = { text: "x" }): string =>
  `${JSON.stringify({ type: "DiaryNoteWritten", stream, actor: "a", data })}\n`;

/** Runs lines through; appends answer in the order in which their streams are named in `slow`, then the rest. */
async function run(input: PassThrough, append: (stream: string) => Promise<AppendResult>) {
  const printed: string[] = [];
  const stream = new PassThrough();
  stream.on("data", (chunk: Buffer) => printed.push(...chunk.toString().trim().split("\n")));
  let error: unknown;
  try {
    const store = {
      append: async (draft: unknown) => (await append((draft as Draft).stream)) as AppendAnswer,
    };
    await appendLines(store, input, createOutput(true, stream), {});
  } catch (caught) {
    error = caught;
  }
  await new Promise((resolve) => stream.end(resolve));
  return { ids: printed.map((text) => (JSON.parse(text) as { readonly id: string }).id), error };
}

function appended(id: string): AppendResult {
  const event = { id, position: 1, sequence: 1, leaf: "L", stream: id, duplicate: false };
  return { status: "appended", events: [event] };
}

test("answers are printed in the order of the lines", async () => {
  const input = new PassThrough();
  const first = Promise.withResolvers<AppendResult>();
  const append = (stream: string): Promise<AppendResult> => {
    if (stream === "one") return first.promise;
    first.resolve(appended("one"));
    return Promise.resolve(appended(stream));
  };
  input.end(line("one") + line("two") + line("three"));
  expect(await run(input, append)).toEqual({ ids: ["one", "two", "three"], error: undefined });
});

test("a bad line stops the run at itself; what came before stays printed", async () => {
  const input = new PassThrough();
  const taken: string[] = [];
  // The input stays open: the refusal must not wait for its end.
  input.write(line("one") + line("two", { text: 5 }) + line("three"));
  const { ids, error } = await run(input, async (stream) => {
    taken.push(stream);
    return appended(stream);
  });
  expect(ids).toEqual(["one"]);
  expect(taken).toEqual(["one"]);
  expect(error).toMatchObject({
    code: "payload_invalid",
    details: { line: 2, path: "/data/text" },
  });
});

test("a refusal by the store names its line while the input is still open", async () => {
  const input = new PassThrough();
  input.write(line("one") + line("two"));
  const { ids, error } = await run(input, async (stream) => {
    if (stream === "two") throw new HoldfastError("store_full");
    return appended(stream);
  });
  expect(ids).toEqual(["one"]);
  expect(error).toMatchObject({ code: "store_full", details: { line: 2 } });
});
