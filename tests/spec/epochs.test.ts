/** Epoch statements: the vectors, and that each is judged as it says. */
import { describe, expect, it } from "vitest";
import {
  type Bytes,
  endsAfter,
  formatEpoch,
  fromBase64,
  openEpoch,
  openSignedCheckpoint,
  parseEpoch,
  publicKeyOf,
} from "@holdfast/core";
import { type EpochVector, epochVectors, serverKey } from "./epoch-vectors.ts";
import { crypto } from "./ports.ts";
import { compareVectors } from "./vector-file.ts";

const bytes = (text: string): Bytes => fromBase64(text) ?? new Uint8Array(0);

function verdictOf({ held, epoch, checkpoint, last, consistency }: EpochVector): string {
  const key = publicKeyOf(serverKey);
  const next = key && openSignedCheckpoint(crypto, checkpoint, key);
  if (key === undefined || next === undefined) return "epoch_wrong";
  const shown = { epoch: { ...epoch, path: epoch.path.map(bytes) }, next, last };
  const ended = openEpoch(crypto, key, shown);
  if (ended === undefined) return "epoch_wrong";
  const tree = { size: held.size, root: bytes(held.root) };
  return endsAfter(crypto, tree, ended, consistency.map(bytes)) ? "joined" : "forked";
}

const vectors = epochVectors();

describe("steps from one server log to the next", () => {
  it("have vectors", () => {
    compareVectors("epochs", { key: serverKey, steps: vectors });
  });

  it.each(vectors.map((vector) => [vector.name, vector] as const))("%s", (_, vector) => {
    expect(verdictOf(vector)).toBe(vector.expect);
  });

  it("have statements of one text each", () => {
    for (const { epoch, expect: verdict } of vectors) {
      if (verdict === "joined") expect(formatEpoch(parseEpoch(epoch.text))).toBe(epoch.text);
    }
  });
});
