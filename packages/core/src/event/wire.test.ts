import fc from "fast-check";
import { expect, test } from "vitest";
import { type Header, operations, type RecordedEvent } from "./event.ts";
import { fromIsoTime, fromWire, isoTime, toWire } from "./wire.ts";

const words = fc.string({ unit: "grapheme" });
const time = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const perhaps = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(value, { nil: undefined });

const event: fc.Arbitrary<RecordedEvent> = fc
  .record({
    position: fc.nat(),
    leaf: words,
    id: words,
    type: words,
    schemaVersion: fc.nat(),
    known: fc.boolean(),
    stream: words,
    scope: words,
    actor: words,
    op: fc.constantFrom(...operations),
    recordedAt: time,
    occurredAt: perhaps(fc.integer({ min: -8e15, max: 8e15 })),
    reason: perhaps(words),
    data: perhaps(fc.jsonValue({ noUnicodeString: false })),
    text: perhaps(words),
    content: fc.constantFrom(
      "opened" as const,
      "owed" as const,
      "shredded" as const,
      "none" as const,
    ),
    seq: fc.nat(),
    why: perhaps(words),
  })
  .map(({ seq, why, ...rest }) => {
    const header = { seq, op: rest.op, at: rest.recordedAt, ...(why === undefined ? {} : { why }) };
    return { ...rest, header: header as Header };
  });

test("an event comes back from the wire as it was", () => {
  fc.assert(
    fc.property(event, (one) => {
      const plain = JSON.parse(JSON.stringify(one.data ?? null)) as unknown;
      const sent = { ...one, data: one.data === undefined ? undefined : plain };
      const wire = JSON.parse(JSON.stringify(toWire(sent))) as ReturnType<typeof toWire>;
      expect(fromWire(wire)).toEqual(sent);
    }),
  );
});

test("times are ISO 8601 with milliseconds, and only instants with an offset are read", () => {
  expect(isoTime(0)).toBe("1970-01-01T00:00:00.000Z");
  expect(fromIsoTime("2026-03-01T09:00:00+01:00")).toBe(Date.UTC(2026, 2, 1, 8));
  for (const text of ["2026-03-01", "2026-03-01T09:00:00", "1", "2026-13-01T00:00:00Z", ""]) {
    expect(fromIsoTime(text)).toBe(undefined);
  }
  const wire = { ...toWire(fc.sample(event, 1)[0] as RecordedEvent), recorded_at: "yesterday" };
  expect(() => fromWire(wire)).toThrow("wire_invalid");
});
