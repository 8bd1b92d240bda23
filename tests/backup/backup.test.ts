/** A store backed up and put back: whole, with stock tools, and refused when it is not as it was written. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { backUp, restoreStore } from "@holdfast/node";
import { describe, expect, test } from "vitest";
import { withScratch } from "../faults/native.ts";
import { draftOf, importOf, makeStore, open, passphrase, placeIn, problemsOf, promiseOf } from "../store/lab.ts";


function keygen(): { recipient: string; identity: string } {
  const text = execFileSync("age-keygen", { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  return {
    recipient: /# public key: (age1\S+)/.exec(text)?.[1] ?? "",
    identity: /(AGE-SECRET-KEY-1\S+)/.exec(text)?.[1] ?? "",
  };
}

describe("backup", () => {
  test("is restored", { timeout: 60_000 }, async () => {
    await withScratch("backup", async (folder) => {
      const keys = keygen();
      await makeStore(folder);
      const store = await open(folder);
      const result = await store.append(Array.from({ length: 300 }, (_, n) => draftOf(n)));
      await store.append(importOf(4));
      await store.close();
      const promises = result.status === "appended" ? result.events.map(({ id }, n) => promiseOf(id, n)) : [];
      const out = join(folder, "a.tar.zst.age");
      const t = performance.now();
      console.log(await backUp({ ...placeIn(folder), passphrase, out, to: { recipients: [keys.recipient] } }), performance.now() - t);
      const t2 = performance.now();
      const restored = await restoreStore({ ...placeIn(folder, "other"), passphrase, file: out, by: { identities: [keys.identity] } });
      console.log(restored, performance.now() - t2);
      expect(await problemsOf(folder, promises, { name: "other" })).toEqual([]);
    });
  });
});
