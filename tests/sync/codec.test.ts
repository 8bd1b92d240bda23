/** The wire of protocol v1: round trips, and any bytes give a message or a coded refusal. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodeFrames,
  decodePage,
  decodePush,
  decodeTokenRequest,
  encodeFrames,
  encodePage,
  encodePush,
  encodeTokenRequest,
  enrolRequestShape,
  fromUtf8,
  isHoldfastError,
  limits,
  pullRequestShape,
  pushAnswerShape,
  readJson,
  tokenAnswerShape,
  u32,
  utf8,
  concat,
  writeJson,
} from "@holdfast/core";
import {
  enrolRequests,
  frames,
  pullPages,
  pullRequests,
  pushAnswers,
  pushRequests,
} from "./arbitrary-messages.ts";

const decoders: readonly (readonly [string, (bytes: Uint8Array) => unknown])[] = [
  ["push", decodePush],
  ["page", decodePage],
  ["frames", decodeFrames],
  ["token", decodeTokenRequest],
  ["push answer", (bytes) => readJson(pushAnswerShape, bytes)],
  ["pull request", (bytes) => readJson(pullRequestShape, bytes)],
  ["enrol request", (bytes) => readJson(enrolRequestShape, bytes)],
];

/** What a decoder made of the bytes: a message, or one of the two refusals. */
function outcome(decode: (bytes: Uint8Array) => unknown, bytes: Uint8Array): string {
  try {
    decode(bytes);
    return "taken";
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    expect(error.details["part"]).toBeTypeOf("string");
    return error.code;
  }
}

const known = ["taken", "message_malformed", "message_too_large"];

function refusal(decode: () => unknown): Readonly<Record<string, unknown>> {
  try {
    decode();
  } catch (error) {
    if (isHoldfastError(error)) return { code: error.code, ...error.details };
  }
  throw new Error("nothing was refused");
}

describe("round trips", () => {
  it("push requests", () => {
    fc.assert(
      fc.property(pushRequests, (request) => {
        const bytes = encodePush(request);
        expect(decodePush(bytes)).toEqual(request);
        expect(encodePush(decodePush(bytes))).toEqual(bytes);
      }),
    );
  });
  it("pull pages", () => {
    fc.assert(
      fc.property(pullPages, (page) => {
        expect(decodePage(encodePage(page))).toEqual(page);
      }),
    );
  });
  it("frames", () => {
    fc.assert(
      fc.property(frames, (value) => {
        expect(decodeFrames(encodeFrames(value))).toEqual(value);
      }),
    );
  });
  it("push answers, pull and enrol requests", () => {
    fc.assert(
      fc.property(pushAnswers, pullRequests, enrolRequests, (answer, pull, enrol) => {
        expect(readJson(pushAnswerShape, writeJson(pushAnswerShape, answer))).toEqual(answer);
        expect(readJson(pullRequestShape, writeJson(pullRequestShape, pull))).toEqual(pull);
        expect(readJson(enrolRequestShape, writeJson(enrolRequestShape, enrol))).toEqual(enrol);
      }),
    );
  });
  it("tokens, in the words of RFC 6749", () => {
    const request = { assertion: "eyJ0.eyJ1.c2ln" };
    expect(decodeTokenRequest(encodeTokenRequest(request))).toEqual(request);
    const answer = { accessToken: "abc.def.ghi", expiresInMs: 600_000 };
    const text = fromUtf8(writeJson(tokenAnswerShape, answer));
    expect(JSON.parse(text)).toEqual({
      access_token: "abc.def.ghi",
      token_type: "Bearer",
      expires_in: 600,
    });
    expect(readJson(tokenAnswerShape, utf8(text))).toEqual(answer);
  });
});

describe.each(decoders)("%s: total", (_name, decode) => {
  it("takes or refuses any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(known).toContain(outcome(decode, bytes));
      }),
      { numRuns: 500 },
    );
  });

  it("takes or refuses JSON of any form", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        const control = concat(u32(utf8(text).length), utf8(text));
        expect(known).toContain(outcome(decode, utf8(text)));
        expect(known).toContain(outcome(decode, control));
      }),
    );
  });

  it("takes or refuses messages with a byte changed, cut off or added", () => {
    const messages = fc.oneof(
      pushRequests.map(encodePush),
      pullPages.map(encodePage),
      frames.map(encodeFrames),
      pushAnswers.map((answer) => writeJson(pushAnswerShape, answer)),
      pullRequests.map((request) => writeJson(pullRequestShape, request)),
    );
    fc.assert(
      fc.property(messages, fc.nat(), fc.nat(255), fc.nat(2), (bytes, place, byte, how) => {
        const at = place % (bytes.length + 1);
        const changed =
          how === 0
            ? concat(bytes.subarray(0, at), Uint8Array.of(byte), bytes.subarray(at + 1))
            : how === 1
              ? bytes.subarray(0, at)
              : concat(bytes.subarray(0, at), Uint8Array.of(byte), bytes.subarray(at));
        expect(known).toContain(outcome(decode, changed));
      }),
      { numRuns: 500 },
    );
  });
});

const emptyPush = {
  device: "AAAAAAAAAAAAAAAAAAAAAA",
  incarnation: "0123456789abcdef",
  from: 0,
  note: "n",
  entries: [],
  fills: [],
  checkpoint: 0,
};
const control = encodePush(emptyPush);
const body = { header: "{}", frames: [] };
const encodedBody = concat(u32(2), utf8("{}"), Uint8Array.of(0));

describe("push: one message, one encoding", () => {
  it.each([
    ["an unknown kind", Uint8Array.of(3), "entry"],
    ["an empty run", Uint8Array.of(0, 0, 0, 0, 0), "leaves"],
    ["a run that claims more than there is", Uint8Array.of(0, 0, 0, 255, 255), "leaves"],
    [
      "two runs where one would do",
      concat(Uint8Array.of(0, 0, 0, 0, 1), new Uint8Array(32), Uint8Array.of(0)),
      "entry",
    ],
    [
      "an entry behind a fill",
      concat(Uint8Array.of(2), new Uint8Array(8), encodedBody, Uint8Array.of(1)),
      "entry",
    ],
    ["a fill beyond 2^53", concat(Uint8Array.of(2), new Uint8Array(8).fill(255)), "fill"],
    ["a cut body", concat(Uint8Array.of(1), encodedBody.subarray(0, 5)), "body/header"],
  ])("refuses %s", (_name, rest, part) => {
    expect(refusal(() => decodePush(concat(control, rest)))).toEqual({
      code: "message_malformed",
      part,
    });
  });

  it("refuses control text that is not canonical", () => {
    const loose = utf8(
      `${JSON.stringify({ ...emptyPush, entries: undefined, fills: undefined })} `,
    );
    const bytes = concat(u32(loose.length), loose);
    expect(refusal(() => decodePush(bytes))).toMatchObject({ part: "control" });
  });

  it("row 14: names the bound that an exchange exceeds", () => {
    const entry = { kind: "full", body } as const;
    const many = Array.from({ length: limits.pushBodiesMax + 1 }, () => entry);
    expect(refusal(() => decodePush(encodePush({ ...emptyPush, entries: many })))).toEqual({
      code: "message_too_large",
      part: "bodies",
      max: limits.pushBodiesMax,
    });
    const exactly = many.slice(1);
    expect(decodePush(encodePush({ ...emptyPush, entries: exactly })).entries).toHaveLength(
      limits.pushBodiesMax,
    );
    const claimed = concat(control, Uint8Array.of(0), u32(limits.pushLeavesMax + 1));
    expect(refusal(() => decodePush(claimed))).toMatchObject({ part: "entries" });
    const large = { kind: "full", body: { header: "x".repeat(60_000), frames: [] } } as const;
    const heavy = Array.from({ length: 18 }, () => large);
    expect(refusal(() => decodePush(encodePush({ ...emptyPush, entries: heavy })))).toMatchObject({
      code: "message_too_large",
      part: "bytes",
    });
  });

  it("takes an exchange of as many leaves as there may be", () => {
    const entry = { kind: "leaf", leaf: new Uint8Array(32) } as const;
    const entries = Array.from({ length: limits.pushLeavesMax }, () => entry);
    const bytes = encodePush({ ...emptyPush, entries });
    expect(decodePush(bytes).entries).toHaveLength(limits.pushLeavesMax);
    expect(bytes.length).toBeLessThan(limits.pushRequestBytesMax);
  });

  it("keeps leaves and frames in the memory of the input", () => {
    const leaf = new Uint8Array(32).fill(7);
    const bytes = encodePush({
      ...emptyPush,
      entries: Array.from({ length: 1_000 }, () => ({ kind: "leaf", leaf })),
    });
    for (const entry of decodePush(bytes).entries) {
      expect(entry.kind === "leaf" && entry.leaf.buffer === bytes.buffer).toBe(true);
    }
  });
});

const pull = {
  scopes: "*",
  after: 0,
  events: 1,
  bytes: 1,
  checkpoint: 0,
  held: {},
};

describe("JSON messages", () => {
  it.each([
    ["row 5: duplicate keys", '{"after":1,"after":2}', "/after", "json_duplicate_key"],
    ["row 6: __proto__", '{"__proto__":{"admin":true}}', "/__proto__", "json_forbidden_key"],
    ["row 7: half a surrogate pair", '{"scopes":"\\ud800"}', "/scopes", "json_lone_surrogate"],
    ["row 9: U+0000", '{"scopes":"a\\u0000"}', "/scopes", "json_nul"],
    ["row 11: 1e999", '{"after":1e999}', "/after", "json_unsafe_number"],
    ["row 12: 2^53 + 1", '{"after":9007199254740993}', "/after", "json_unsafe_number"],
    ["row 1: a byte order mark", "\uFEFF{}", "/", "json_malformed"],
    ["row 1: nothing", "", "/", "json_malformed"],
    ["row 1: no JSON", "after=1", "/", "json_malformed"],
  ])("%s", (_name, text, part, reason) => {
    expect(refusal(() => readJson(pullRequestShape, utf8(text)))).toEqual({
      code: "message_malformed",
      part,
      reason,
    });
  });

  it("row 4: deep nesting", () => {
    const deep = utf8("[".repeat(1_000_000));
    expect(refusal(() => readJson(pullRequestShape, deep))).toMatchObject({
      reason: "json_too_deep",
    });
  });

  it("row 8: bytes that are not UTF-8", () => {
    for (const bytes of [[0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80]]) {
      expect(refusal(() => readJson(pullRequestShape, Uint8Array.from(bytes)))).toMatchObject({
        code: "message_malformed",
        reason: "utf8_malformed",
      });
    }
  });

  it.each([
    ["row 29: a member of the server's own", { ...pull, tenant: "x" }, "/", "message_malformed"],
    ["a member that is missing", { ...pull, after: undefined }, "/after", "message_malformed"],
    ["row 31: a negative position", { ...pull, after: -1 }, "/after", "message_malformed"],
    ["row 32: a limit of 1e9", { ...pull, events: 1e9 }, "/events", "message_too_large"],
    ["row 32: a limit of 0", { ...pull, events: 0 }, "/events", "message_malformed"],
    [
      "row 32: a limit with more in it",
      { ...pull, events: "10;drop" },
      "/events",
      "message_malformed",
    ],
    [
      "row 10: a scope that is no ASCII id",
      { ...pull, scopes: ["e\u0301".padEnd(22, "a")] },
      "/scopes/0",
      "message_malformed",
    ],
    [
      "row 53: a counter of 2^53",
      { ...pull, checkpoint: 2 ** 53 },
      "/checkpoint",
      "message_malformed",
    ],
    ["a number with a fraction", { ...pull, after: 0.5 }, "/after", "message_malformed"],
  ])("%s", (_name, value, part, code) => {
    const text = utf8(JSON.stringify(value));
    expect(refusal(() => readJson(pullRequestShape, text))).toMatchObject({ code, part });
  });

  it("row 13: 100,000 keys, a key of 1 MB", () => {
    const keys = Object.fromEntries(Array.from({ length: 100_000 }, (_, at) => [`k${at}`, 1]));
    const many = utf8(JSON.stringify({ ...pull, held: keys }));
    expect(refusal(() => readJson(pullRequestShape, many))).toMatchObject({
      code: "message_too_large",
      part: "/held",
      max: limits.pullOriginsMax,
    });
    const long = utf8(JSON.stringify({ ...pull, held: { ["x".repeat(1_000_000)]: 1 } }));
    expect(refusal(() => readJson(pullRequestShape, long))).toMatchObject({
      code: "message_malformed",
      part: "/held",
    });
  });
});
