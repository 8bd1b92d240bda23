/** The events that a load test records: entries of a diary, spread over streams and scopes, with some text. */
import type { Draft } from "@holdfast/core";

const streams = 500;
const scopes = 50;
/** About half a kilobyte of payload, as in the other benchmarks of delivery. */
const text = "Resting after the walk; pressed for ten minutes, then stopped. ".repeat(7);

/** The draft of that number. */
export function loadDraft(number: number): Draft {
  const stream = number % streams;
  return {
    type: "NosebleedRecorded",
    stream: `load/${stream}`,
    scope: `Patient/load-${stream % scopes}`,
    actor: "load-test",
    data: {
      started_at: "2026-03-01T08:00:00.000Z",
      duration_minutes: number % 600,
      notes: text,
    },
  };
}

/** Drafts of that many numbers. */
export function loadDrafts(from: number, count: number): readonly Draft[] {
  return Array.from({ length: count }, (_, at) => loadDraft(from + at));
}
