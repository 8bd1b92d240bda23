/** Messages of protocol v1 at random, for round trips and as a source of bytes to break. */
import * as fc from "fast-check";
import type {
  EnrolRequest,
  EventBody,
  Fill,
  IndexRanges,
  ProvenLeaf,
  PulledLog,
  PullPage,
  PullRequest,
  PushAnswer,
  PushEntry,
  PushRequest,
  WireFrame,
} from "@holdfast/core";
import { base64url, hex } from "@holdfast/core";

const idOf = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => base64url(bytes));
const id = idOf(16);
const digest = idOf(32);
const incarnation = fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => hex(bytes));
const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => new Uint8Array(bytes));
const path = fc.array(hash, { maxLength: 4 });
const count = fc.nat();
/** What strict JSON can hold: well formed, without U+0000. */
const words = fc
  .string({ unit: "grapheme", maxLength: 40 })
  .map((text) => text.replaceAll("\0", ""));
const note = words;

const provenLeaf: fc.Arbitrary<ProvenLeaf> = fc.record({ text: words, index: count, path });

const frame: fc.Arbitrary<WireFrame> = fc
  .record({
    section: fc.stringMatching(/^[a-z]{1,12}$/),
    key: id,
    state: fc.constantFrom("present", "owed", "shredded", "evicted"),
    content: fc.uint8Array({ maxLength: 40 }),
  })
  .map(({ content, ...rest }) => ({
    ...rest,
    bytes: rest.state === "present" ? content : undefined,
  }));

/** Frames of one event: names differ. */
export const frames = fc.uniqueArray(frame, { maxLength: 8, selector: ({ section }) => section });

const body: fc.Arbitrary<EventBody> = fc.record({ header: words, frames });

const entry: fc.Arbitrary<PushEntry> = fc.oneof(
  hash.map((leaf): PushEntry => ({ kind: "leaf", leaf })),
  body.map((full): PushEntry => ({ kind: "full", body: full })),
);
const fill: fc.Arbitrary<Fill> = fc.record({ index: fc.maxSafeNat(), body });

export const pushRequests: fc.Arbitrary<PushRequest> = fc.record({
  device: id,
  incarnation,
  from: count,
  note,
  entries: fc.array(entry, { maxLength: 12 }),
  fills: fc.array(fill, { maxLength: 4 }),
  checkpoint: count,
});

const ranges: fc.Arbitrary<IndexRanges> = fc
  .uniqueArray(fc.nat(10_000), { maxLength: 8 })
  .map((all) => all.toSorted((a, b) => a - b))
  .map((all) =>
    Array.from({ length: Math.floor(all.length / 2) }, (_, at) => [
      all[2 * at] as number,
      all[2 * at + 1] as number,
    ]),
  );

export const pushAnswers: fc.Arbitrary<PushAnswer> = fc.oneof(
  fc.record({
    status: fc.constant("receipted" as const),
    size: count,
    owed: ranges,
    receipt: provenLeaf,
    checkpoint: note,
    consistency: path,
    dispositions: fc.array(
      fc.record({
        index: count,
        disposition: fc.constantFrom("duplicate", "rejected", "quarantined", "owed"),
        code: fc.constant("leaf_mismatch"),
      }),
      { maxLength: 3 },
    ),
  }),
  fc.record({ status: fc.constant("behind" as const), size: count }),
  fc.record({ status: fc.constant("fork" as const), index: count, held: note, size: count }),
);

export const pullRequests: fc.Arbitrary<PullRequest> = fc.record(
  {
    scopes: fc.oneof(fc.constant("*" as const), fc.array(id, { maxLength: 5 })),
    after: fc.maxSafeNat(),
    events: fc.integer({ min: 1, max: 1_000 }),
    bytes: fc.integer({ min: 1, max: 4_194_304 }),
    checkpoint: count,
    held: fc.dictionary(
      fc.tuple(id, incarnation).map(([device, inc]) => `${device}/${inc}`),
      count,
      { maxKeys: 4, noNullPrototype: true },
    ),
    own: fc.boolean(),
  },
  { requiredKeys: ["scopes", "after", "events", "bytes", "checkpoint", "held"] },
);

const pulledLog: fc.Arbitrary<PulledLog> = fc.record({
  device: id,
  incarnation,
  note,
  receipt: provenLeaf,
  enrolment: provenLeaf,
  opening: words,
  hashes: path,
  consistency: path,
});

export const pullPages: fc.Arbitrary<PullPage> = fc.record({
  next: count,
  head: count,
  checkpoint: note,
  consistency: path,
  logs: fc.array(pulledLog, { minLength: 1, maxLength: 3 }),
  events: fc.array(fc.record({ log: fc.constant(0), index: count, position: count, body }), {
    maxLength: 5,
  }),
});

export const enrolRequests: fc.Arbitrary<EnrolRequest> = fc.record({
  proof: digest,
  binding: digest,
  opening: words,
  note,
  path,
});
