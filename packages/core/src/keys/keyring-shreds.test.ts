import { createNodeCrypto, systemRandom } from "@holdfast/node";
import { createMemoryRecordFile } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { base64url, fromUtf8, hex, utf8 } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { createKeyring, type Keyring, openKeyring } from "./keyring.ts";
import { isOver } from "./rotation.ts";
import { createSoftwareProvider, openSoftwareProvider } from "./software.ts";

const crypto = createNodeCrypto();
const random = systemRandom;
const cost = { memoryKib: 8, passes: 1, lanes: 1 };
const leaf = base64url(new Uint8Array(32).fill(7));
const nothingGranted = (): boolean => false;

async function made() {
  const files = { store: createMemoryRecordFile(), registered: createMemoryRecordFile() };
  const provider = createSoftwareProvider({
    crypto,
    random,
    passphrase: "words",
    parameters: undefined,
    cost,
  });
  const keyring = await createKeyring({ crypto, random, files, provider, tenant: "tenant" });
  const text = (): string =>
    fromUtf8(files.store.read() ?? utf8("")) + fromUtf8(files.registered.read() ?? utf8(""));
  const open = (): Promise<Keyring> =>
    Promise.resolve(
      openKeyring({
        crypto,
        random,
        files,
        openProvider: openSoftwareProvider({ crypto, random, passphrase: "words" }),
      }),
    );
  return { files, keyring, text, open };
}

const granted = (scope: string) => ({
  id: base64url(random.bytes(16)),
  scope,
  section: "content",
  generation: 1,
  key: random.bytes(32),
});

const codeOf = (run: () => unknown): string | undefined => {
  try {
    run();
    return undefined;
  } catch (error) {
    if (isHoldfastError(error)) return error.code;
    throw error;
  }
};

async function closeEpoch({ rotation }: Keyring): Promise<void> {
  let state = await rotation.begin("epoch");
  while (!isOver(state.phase)) {
    while (rotation.prepare());
    state = await rotation.commit();
  }
}

describe("shredding in a keyring", () => {
  it("takes every key of the scope out of both copies, and remembers it over rotations", async () => {
    const { keyring, text, open, files } = await made();
    const [identity, content] = [
      keyring.dataKeyToSeal("ada", "identity"),
      keyring.dataKeyToSeal("ada", "content"),
    ];
    const bob = keyring.dataKeyToSeal("bob", "content");
    keyring.flush();
    keyring.addGenerations(keyring.nextGenerations((scope) => scope === "ada"));
    const other = granted("ada");
    keyring.addDataKey(other);
    const before = files.registered.read();
    keyring.shreds.destroy([{ scope: "ada", shred: "shred", leaf }], nothingGranted);
    for (const { id } of [identity, content, other]) {
      expect(text()).not.toContain(id);
      expect([keyring.dataKey(id, 1), keyring.dataKey(id, 2)]).toEqual([undefined, undefined]);
    }
    const hpke = base64url(keyring.hpke().publicKey);
    const held = { scope: "ada", shred: "shred", leaf, hpke };
    expect(keyring.shreds.list()).toEqual([{ ...held, isEpochClosed: false }]);
    // Done before: nothing is written.
    const written = text();
    keyring.shreds.destroy([{ scope: "ada", shred: "shred", leaf }], nothingGranted);
    expect(text()).toBe(written);
    await closeEpoch(keyring);
    keyring.addHpkeKey();
    keyring.retireHpkeKeys();
    const { hpke: _, ...gone } = held;
    expect(keyring.shreds.list()).toEqual([{ ...gone, isEpochClosed: true }]);
    // An older copy beside it counts for nothing.
    files.registered.replace(before ?? utf8(""));
    const again = await open();
    expect(again.dataKey(content.id, 1)).toBeUndefined();
    expect(again.dataKey(bob.id, 1)?.scope).toBe("bob");
    expect(again.shreds.list()).toHaveLength(1);
    expect(codeOf(() => again.dataKeyToSeal("ada", "content"))).toBe("scope_shredded");
    expect(codeOf(() => again.addDataKey(other))).toBe("scope_shredded");
    expect(codeOf(() => again.dataKeyToSeal("bob", "content"))).toBeUndefined();
  });

  it("takes one section class alone, and no HPKE key where nothing was granted", async () => {
    const { keyring } = await made();
    const content = keyring.dataKeyToSeal("ada", "content");
    const identity = keyring.dataKeyToSeal("ada", "identity");
    keyring.flush();
    const shred = { scope: "ada", section: "identity", shred: "shred", leaf };
    keyring.shreds.destroy([shred], nothingGranted);
    expect(keyring.shreds.list()).toEqual([{ ...shred, isEpochClosed: false }]);
    expect(keyring.dataKey(identity.id, 1)).toBeUndefined();
    expect(keyring.dataKeyToSeal("ada", "content").id).toBe(content.id);
    expect(keyring.shreds.isShredded("ada", "identity")).toBe(true);
    expect(keyring.shreds.isShredded("ada", "content")).toBe(false);
  });

  it("believes no record that a holder of the epoch key has not written", async () => {
    const { keyring, files, open } = await made();
    keyring.shreds.destroy([{ scope: "ada", shred: "shred", leaf }], nothingGranted);
    const forged = fromUtf8(files.store.read() ?? utf8(""))
      .split("\n")
      .map((line) => {
        const text = line.slice(0, -17).replace('"scope":"ada"', '"scope":"bob"');
        return line === "" ? "" : `${text} ${hex(crypto.sha256(utf8(text))).slice(0, 16)}`;
      })
      .join("\n");
    for (const file of [files.store, files.registered]) file.replace(utf8(forged));
    const again = await open();
    expect(codeOf(() => again.shreds.list())).toBe("keyring_corrupt");
    expect(codeOf(() => again.shreds.isShredded("bob", "content"))).toBe("keyring_corrupt");
  });
});
