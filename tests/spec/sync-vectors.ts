/** Messages of protocol v1 with their bytes: valid ones, and what each decoder refuses. */
import {
  base64,
  canonicalJson,
  concat,
  decodePage,
  decodePush,
  decodeTokenRequest,
  encodePage,
  encodePush,
  encodeTokenRequest,
  fromUtf8,
  isHoldfastError,
  pullRequestShape,
  type PullPage,
  type PushAnswer,
  pushAnswerShape,
  type PushRequest,
  readJson,
  u32,
  utf8,
  writeJson,
} from "@holdfast/core";

const device = "0123456789abcdefghijkl";
const incarnation = "0123456789abcdef";
const hash = (byte: number): Uint8Array<ArrayBuffer> => new Uint8Array(32).fill(byte);
const note = `${device}/d/${device}/${incarnation}\n3\n${base64(hash(1))}\n\n— name c2lnbmF0dXJl\n`;
const proven = { text: '{"kind":"receipt"}', index: 7, path: [hash(2), hash(3)] };
const body = {
  header: '{"v":1}',
  frames: [
    { section: "note", key: "AAAAAAAAAAAAAAAAAAAAAA", state: "present", bytes: utf8("frame") },
    { section: "identity", key: "AAAAAAAAAAAAAAAAAAAAAQ", state: "shredded", bytes: undefined },
  ],
} as const;

const push: PushRequest = {
  device,
  incarnation,
  from: 1,
  note,
  entries: [
    { kind: "leaf", leaf: hash(4) },
    { kind: "leaf", leaf: hash(5) },
    { kind: "full", body },
  ],
  fills: [{ index: 0, body: { header: "{}", frames: [] } }],
  checkpoint: 12,
};

const answer: PushAnswer = {
  status: "receipted",
  size: 4,
  owed: [[1, 3]],
  receipt: proven,
  checkpoint: "checkpoint\n",
  consistency: [hash(6)],
  dispositions: [{ index: 3, disposition: "rejected", code: "event_leaf_wrong" }],
};

const page: PullPage = {
  next: 9,
  head: 20,
  checkpoint: "checkpoint\n",
  consistency: [],
  logs: [
    {
      device,
      incarnation,
      note,
      receipt: proven,
      enrolment: proven,
      opening: "{}",
      hashes: [hash(8)],
      consistency: [],
    },
  ],
  events: [{ log: 0, index: 2, position: 9, body }],
};

type Decoder = (bytes: Uint8Array) => unknown;
const decoders: Readonly<Record<string, Decoder>> = {
  push: decodePush,
  page: decodePage,
  "push answer": (bytes) => readJson(pushAnswerShape, bytes),
  "pull request": (bytes) => readJson(pullRequestShape, bytes),
  token: decodeTokenRequest,
};

const pushBytes = encodePush(push);
const empty = encodePush({ ...push, entries: [], fills: [] });
const pull = { scopes: "*", after: 0, events: 10, bytes: 1_000, checkpoint: 0, held: {} };
const json = (value: unknown): Uint8Array => utf8(JSON.stringify(value));

const cases: readonly (readonly [message: string, name: string, bytes: Uint8Array])[] = [
  ["push", "leaves, a body, a fill", pushBytes],
  ["push", "nothing but a note", empty],
  ["push", "cut in its last byte", pushBytes.subarray(0, -1)],
  ["push", "a byte behind", concat(pushBytes, Uint8Array.of(9))],
  ["push", "an empty run of leaves", concat(empty, Uint8Array.of(0, 0, 0, 0, 0))],
  ["push", "more leaves than there are", concat(empty, Uint8Array.of(0, 0, 0, 0, 2), hash(1))],
  ["push", "more leaves than one exchange takes", concat(empty, Uint8Array.of(0, 0, 2, 0, 1))],
  ["push", "control that is not canonical", spaced(empty)],
  ["push", "no control", Uint8Array.of(0, 0, 0, 0)],
  ["push answer", "receipted", writeJson(pushAnswerShape, answer)],
  ["push answer", "behind", json({ status: "behind", size: 3 })],
  ["push answer", "fork", json({ status: "fork", index: 1, held: "n", size: 3 })],
  ["push answer", "an unknown status", json({ status: "lost", size: 3 })],
  ["push answer", "a member more", json({ status: "behind", size: 3, more: 1 })],
  ["pull request", "every scope", json(pull)],
  ["pull request", "a negative position", json({ ...pull, after: -1 })],
  ["pull request", "too many events", json({ ...pull, events: 1_001 })],
  ["pull request", "a key twice", utf8('{"after":0,"after":0}')],
  ["page", "one event of one log", encodePage(page)],
  ["page", "nothing new", encodePage({ ...page, logs: [], events: [] })],
  ["page", "cut", encodePage(page).subarray(0, -3)],
  ["token", "an assertion", encodeTokenRequest({ assertion: "aa.bb.cc" })],
  ["token", "another grant type", utf8("grant_type=password&client_assertion=aa.bb.cc")],
];

/** The control part with a space behind it. */
function spaced(bytes: Uint8Array): Uint8Array {
  const control = concat(bytes.subarray(4), utf8(" "));
  return concat(u32(control.length), control);
}

/** A message as plain JSON: byte strings in base64. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return base64(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(members.map(([name, member]) => [name, plain(member)]));
}

function verdict(decode: Decoder, bytes: Uint8Array): object {
  try {
    return { message: JSON.parse(canonicalJson(plain(decode(bytes)))) as object };
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return { refused: error.code, part: error.details["part"] };
  }
}

/** What spec/vectors/sync.json holds. */
export function syncVectors(): unknown {
  return cases.map(([message, name, bytes]) => ({
    message,
    name,
    ...(message === "push" || message === "page"
      ? { bytes: base64(bytes) }
      : { text: fromUtf8(bytes) }),
    expect: verdict(decoders[message] as Decoder, bytes),
  }));
}
