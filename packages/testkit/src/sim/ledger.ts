/**
 * What callers were told, kept outside of the system: the ledger that every check compares with. Nothing in it
 * comes from a store's own tables.
 */
import type { AppendedEvent, PushAnswer } from "@holdfast/core";

/** An event that `append` answered. */
export interface Acknowledged {
  readonly device: string;
  readonly word: string;
  readonly leaf: string;
  readonly id: string;
  /** Virtual time of the answer. */
  readonly at: number;
}

/** A draft that was handed to `append`, whatever came of it. */
export interface Offered {
  readonly device: string;
  readonly word: string;
  /** Words for the stream. */
  readonly stream: string;
  /** Scope id: who was not granted it must not see the word. */
  readonly scope: string | undefined;
  /** Chosen by the caller, when it may hand the draft over again. */
  readonly id: string | undefined;
}

/** A promise that was broken. */
export class SafetyError extends Error {
  override readonly name = "SafetyError";
}

/** Something that was to happen and did not. */
export class LivenessError extends Error {
  override readonly name = "LivenessError";
}

/** Everything that callers did and were told. */
export interface Ledger {
  readonly offered: ReadonlyMap<string, Offered>;
  readonly acknowledged: ReadonlyMap<string, Acknowledged>;
  /** Receipts that devices have heard, by origin of the server log and index in it. */
  readonly receipts: ReadonlyMap<string, string>;
  /** Answers that the fault atlas says may be lost, by leaf: the device was put back to an older state. */
  readonly excused: ReadonlySet<string>;
  offer(draft: Offered): void;
  acknowledge(device: string, words: readonly string[], events: readonly AppendedEvent[]): void;
  receipt(answer: Extract<PushAnswer, { readonly status: "receipted" }>): void;
  /** The device was put back to what it was then. */
  excuse(device: string, since: number): void;
}

/** An empty ledger over virtual time. */
export function createLedger(now: () => number): Ledger {
  const offered = new Map<string, Offered>();
  const acknowledged = new Map<string, Acknowledged>();
  const excused = new Set<string>();
  const receipts = new Map<string, string>();
  return {
    receipts,
    offered,
    acknowledged,
    excused,
    offer(draft) {
      offered.set(draft.word, draft);
    },
    acknowledge(device, words, events) {
      if (words.length !== events.length) {
        throw new SafetyError(`${device}: ${words.length} drafts, ${events.length} answers`);
      }
      for (const [at, { leaf, id }] of events.entries()) {
        const word = words[at] as string;
        const before = acknowledged.get(word);
        if (before !== undefined && before.leaf !== leaf && !excused.has(before.leaf)) {
          throw new SafetyError(`${word} was acknowledged twice, as ${before.leaf} and ${leaf}`);
        }
        acknowledged.set(word, { device, word, leaf, id, at: now() });
      }
    },
    receipt({ checkpoint, receipt: { index, text } }) {
      // The first line of a checkpoint is the origin of its log.
      const place = `${checkpoint.split("\n", 1)[0] ?? ""} ${index}`;
      const before = receipts.get(place);
      if (before !== undefined && before !== text) {
        throw new SafetyError(`leaf ${place} of the server log was ${before} and is ${text}`);
      }
      receipts.set(place, text);
    },
    excuse(device, since) {
      for (const { leaf, device: by, at } of acknowledged.values()) {
        if (by === device && at >= since) excused.add(leaf);
      }
    },
  };
}
