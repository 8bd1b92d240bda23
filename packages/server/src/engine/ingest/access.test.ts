import fc from "fast-check";
import { expect, test } from "vitest";
import type { AccessChange } from "../server-store.ts";
import { scopesAfter } from "./access.ts";

type Said = Pick<AccessChange, "kind" | "scopes">;

const said = fc.array(
  fc.record<Said>({
    kind: fc.constantFrom("granted", "revoked"),
    scopes: fc.uniqueArray(fc.constantFrom("*", "a", "b", "c"), { minLength: 1 }),
  }),
  { maxLength: 12 },
);

/** What the sentences mean when they are read in order. */
function meaning(sentences: readonly Said[]): readonly string[] {
  const scopes = new Set<string>();
  for (const { kind, scopes: named } of sentences) {
    if (kind === "granted") for (const scope of named) scopes.add(scope);
    else if (named.includes("*")) scopes.clear();
    else for (const scope of named) scopes.delete(scope);
  }
  return [...scopes].toSorted();
}

test("one log's access events count in its order, in whatever order they arrive", () => {
  fc.assert(
    fc.property(said, fc.infiniteStream(fc.nat()), (sentences, chance) => {
      const changes = sentences.map((one, index): AccessChange => {
        return { ...one, device: "d", by: "log", index, position: chance.next().value as number };
      });
      expect(scopesAfter(changes)).toEqual(meaning(sentences));
    }),
  );
});

test("several logs' access events count by position", () => {
  fc.assert(
    fc.property(said, (sentences) => {
      const changes = sentences.map((one, at): AccessChange => {
        return { ...one, device: "d", by: `log ${at % 3}`, index: at, position: at + 1 };
      });
      expect(scopesAfter(changes.toReversed())).toEqual(meaning(sentences));
    }),
  );
});
