import { createNodeCrypto, systemRandom } from "@holdfast/node";
import { createMemoryRecordFile } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { ageRecovery, generateRecoveryKey } from "@holdfast/core/recovery";
import { fromUtf8, hex, utf8 } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import type { KeyringFiles, RecordFile } from "./copies.ts";
import { createKeyring, type Keyring, openKeyring } from "./keyring.ts";
import { recoverKeyring } from "./keyring-recovery.ts";
import { isOver } from "./rotation.ts";
import { createSoftwareProvider, openSoftwareProvider } from "./software.ts";

const crypto = createNodeCrypto();
const random = systemRandom;
const cost = { memoryKib: 8, passes: 1, lanes: 1 };
const tenant = "AAECAwQFBgcICQoLDA0ODw";

const providerFor = (passphrase: string) =>
  createSoftwareProvider({ crypto, random, passphrase, parameters: undefined, cost });

/** Two copies whose `n`-th write is cut short or does not happen, as a crash leaves it. */
function files(): KeyringFiles & { crashAt: number; writes: number; text(): string } {
  const made = { store: createMemoryRecordFile(), registered: createMemoryRecordFile() };
  const state = { crashAt: Number.POSITIVE_INFINITY, writes: 0 };
  const over = (file: RecordFile): RecordFile => {
    const write = (bytes: Uint8Array, act: (bytes: Uint8Array) => void, torn: boolean): void => {
      state.writes += 1;
      if (state.writes === state.crashAt) {
        if (torn && state.writes % 3 !== 0) act(bytes.subarray(0, bytes.length >> 1));
        throw new Error("crash");
      }
      act(bytes);
    };
    return {
      ...file,
      append: (bytes) => {
        write(bytes, file.append, true);
      },
      // A replacement is atomic: it happens or it does not.
      replace: (bytes) => {
        write(bytes, file.replace, false);
      },
    };
  };
  const text = (): string =>
    [made.store, made.registered].map((file) => fromUtf8(file.read() ?? utf8(""))).join("");
  return Object.assign(state, { store: over(made.store), registered: over(made.registered), text });
}

async function made(keys: number) {
  const on = files();
  const keyring = await createKeyring({
    crypto,
    random,
    files: on,
    provider: providerFor("old"),
    tenant,
    recovery: ageRecovery,
  });
  const { ref, spki } = await keyring.provider.generateSigningKey("ed25519");
  keyring.addSigningKey({
    device: "d",
    incarnation: "0011223344556677",
    algorithm: "ed25519",
    spki,
    ref,
  });
  for (let at = 0; at < keys; at++) keyring.dataKeyToSeal(`scope-${at}`, "content");
  keyring.flush();
  return { on, keyring };
}

const openWith = async (on: KeyringFiles, passphrase: string): Promise<Keyring> =>
  openKeyring({
    crypto,
    random,
    files: on,
    recovery: ageRecovery,
    openProvider: openSoftwareProvider({ crypto, random, passphrase }),
  });

/** Everything that a keyring gives out, so that two can be compared. */
async function contentOf(keyring: Keyring): Promise<unknown> {
  const { spki } = keyring.signingKeys()[0] ?? { spki: utf8("") };
  const sign = await keyring.signer("0011223344556677");
  return {
    page: hex(keyring.pageKey()),
    hpke: hex(keyring.hpke().privateKey()),
    pseudonym: keyring.streamOf("x"),
    mark: hex(keyring.markMac().mac(utf8("x"))),
    signs: crypto.verify("ed25519", spki, utf8("m"), await sign(utf8("m"))),
    keys: keyring
      .dataKeys()
      .map(({ id, generation }) => hex(keyring.dataKeyMaterial(id, generation)?.key ?? utf8("")))
      .toSorted(),
  };
}

async function rotateOn(keyring: Keyring): Promise<void> {
  keyring.rotation.settle();
  for (;;) {
    const state = keyring.rotation.state();
    if (state === undefined || isOver(state.phase)) return;
    while (keyring.rotation.prepare());
    await keyring.rotation.commit();
  }
}

const wrapsIn = (text: string): ReadonlySet<string> =>
  new Set([...text.matchAll(/"wrapped":"([^"]+)"/g)].map(([, wrapped]) => wrapped as string));

describe("rotation of the epoch key", () => {
  it("changes no key, and leaves no wrap of the old one in any copy", async () => {
    const { on, keyring } = await made(700);
    const { recipient } = await generateRecoveryKey(random);
    await keyring.recovery.add(recipient);
    const before = await contentOf(keyring);
    const old = wrapsIn(on.text());
    await keyring.rotation.begin("epoch");
    await expect(keyring.rotation.begin("epoch")).rejects.toThrow(/^rotation_under_way/);
    // It would lead into one of the two epoch keys alone.
    const late = await generateRecoveryKey(random);
    await expect(keyring.recovery.add(late.recipient)).rejects.toThrow(/^rotation_under_way/);
    await rotateOn(keyring);
    expect(keyring.rotation.state()).toMatchObject({ phase: "old-key-destroyed", done: 705 });
    expect(await contentOf(keyring)).toEqual(before);
    const escrow = /"kind":"escrow"[^\n]*"wrapped":"([^"]+)"/.exec(on.text())?.[1];
    expect([...wrapsIn(on.text())].filter((wrapped) => old.has(wrapped))).toEqual([escrow]);
    expect(on.text().match(/"kind":"epoch"/g)).toHaveLength(2);
    const again = await openWith(on, "old");
    expect(again.findings).toEqual([]);
    expect(await contentOf(again)).toEqual(before);
  });

  it("goes on after a crash at every write, with appends in between, and ends in the new state", async () => {
    const { on, keyring } = await made(0);
    await keyring.rotation.begin("epoch");
    await rotateOn(keyring);
    const writes = 40;
    const reached = new Set<string>();
    for (let crashAt = 1; crashAt <= writes; crashAt++) {
      const one = await made(300);
      one.on.writes = 0;
      one.on.crashAt = crashAt;
      const before = (await contentOf(one.keyring)) as { keys: string[] };
      let crashed = false;
      try {
        await one.keyring.rotation.begin("epoch");
        await rotateOn(one.keyring);
      } catch (error) {
        crashed = true;
        expect((error as Error).message).toBe("crash");
      }
      one.on.crashAt = Number.POSITIVE_INFINITY;
      const next = await openWith(one.on, "old");
      reached.add(next.rotation.state()?.phase ?? "none");
      expect(await contentOf(next)).toEqual(before);
      // Recording goes on in whatever state that is.
      next.dataKeyToSeal("late", "content");
      next.flush();
      const held = await contentOf(next);
      await rotateOn(next);
      expect(await contentOf(next)).toEqual(held);
      const phase = next.rotation.state()?.phase;
      expect(["old-key-destroyed", undefined]).toContain(phase);
      const last = await openWith(one.on, "old");
      expect(last.findings).toEqual([]);
      expect(await contentOf(last)).toEqual(held);
      if (phase !== undefined) expect(one.on.text().match(/"kind":"epoch"/g)).toHaveLength(2);
      if (!crashed) break;
    }
    expect([...reached].toSorted()).toEqual([
      "distributed",
      "new-key-created",
      "none",
      "old-key-destroyed",
      "planned",
      "primary",
      "rewrapping",
      "verified",
    ]);
    expect(on.text().match(/"kind":"epoch"/g)).toHaveLength(2);
  });

  it("destroys nothing while a key is not there under the new epoch key", async () => {
    const { on, keyring } = await made(20);
    await keyring.rotation.begin("epoch");
    let spoilt = false;
    for (;;) {
      const state = keyring.rotation.state();
      if (state === undefined || isOver(state.phase)) break;
      if (!spoilt && state.phase === "rewrapping" && state.done === state.total) {
        // One moved record is damaged on the medium of one copy after it was written.
        const content = on.registered.read() ?? utf8("");
        content[content.length - 300] = (content[content.length - 300] ?? 0) ^ 1;
        on.registered.replace(content);
        spoilt = true;
        while (keyring.rotation.prepare());
        expect((await keyring.rotation.commit()).phase).toBe("primary");
        continue;
      }
      while (keyring.rotation.prepare());
      await keyring.rotation.commit();
    }
    expect(spoilt).toBe(true);
    const again = await openWith(on, "old");
    expect(await contentOf(again)).toEqual(await contentOf(keyring));
    expect(again.findings).toEqual([]);
  });

  it("is learned by another process that has the keyring open", async () => {
    const { on, keyring } = await made(5);
    const other = await openWith(on, "old");
    const before = await contentOf(other);
    await keyring.rotation.begin("epoch");
    await rotateOn(keyring);
    other.refresh();
    expect(await contentOf(other)).toEqual(before);
    other.dataKeyToSeal("from another", "content");
    other.flush();
    keyring.refresh();
    expect(keyring.dataKeys()).toHaveLength(6);
  });
});

const codeOf = async (run: Promise<unknown>): Promise<string> => {
  try {
    await run;
    return "opened";
  } catch (error) {
    return isHoldfastError(error) ? error.code : String(error);
  }
};

describe("rotation of a provider key", () => {
  it("changes the passphrase, takes the signing keys along, and the old one opens nothing", async () => {
    const { on, keyring } = await made(3);
    const before = await contentOf(keyring);
    const salt = /"salt":"([^"]+)"/.exec(on.text())?.[1] ?? "none";
    await keyring.rotation.begin(providerFor("new"));
    await rotateOn(keyring);
    expect(await contentOf(keyring)).toEqual(before);
    expect(await codeOf(openWith(on, "old"))).toBe("key_wrong");
    expect(await contentOf(await openWith(on, "new"))).toEqual(before);
    expect(on.text()).not.toContain(salt);
  });

  it("is old or new after a crash at every write, never between, never both for long", async () => {
    for (let crashAt = 1; crashAt < 40; crashAt++) {
      const { on, keyring } = await made(3);
      const before = await contentOf(keyring);
      on.writes = 0;
      on.crashAt = crashAt;
      let crashed = false;
      try {
        await keyring.rotation.begin(providerFor("new"));
        await rotateOn(keyring);
      } catch {
        crashed = true;
      }
      on.crashAt = Number.POSITIVE_INFINITY;
      const old = await codeOf(openWith(on, "old"));
      const passphrase = old === "opened" ? "old" : "new";
      const next = await openWith(on, passphrase);
      expect(await contentOf(next)).toEqual(before);
      await rotateOn(next);
      expect(await contentOf(next)).toEqual(before);
      expect(await codeOf(openWith(on, passphrase))).toBe("opened");
      expect(await codeOf(openWith(on, passphrase === "old" ? "new" : "old"))).toBe("key_wrong");
      expect((await openWith(on, passphrase)).findings).toEqual([]);
      if (!crashed) return;
    }
    throw new Error("the rotation never came to its end");
  });

  it("goes forward where the process that comes next has the new passphrase", async () => {
    const { on, keyring } = await made(3);
    const before = await contentOf(keyring);
    await keyring.rotation.begin(providerFor("new"));
    await keyring.rotation.commit();
    expect(keyring.rotation.state()?.phase).toBe("new-key-created");
    const next = await openWith(on, "new");
    await rotateOn(next);
    expect(next.rotation.state()?.phase).toBe("old-key-destroyed");
    expect(await contentOf(next)).toEqual(before);
    expect(await codeOf(openWith(on, "old"))).toBe("key_wrong");
  });
});

describe("recovery keys", () => {
  it("open the keyring, words or identity, and a new passphrase goes on with the same log", async () => {
    const { on, keyring } = await made(3);
    const key = await generateRecoveryKey(random);
    const added = await keyring.recovery.add(key.recipient);
    expect(added).toMatchObject({ recipient: key.recipient, signingKeys: 1 });
    await expect(keyring.recovery.add(key.recipient)).rejects.toThrow(/^recovery_key_exists/);
    const text = on.text();
    expect(await keyring.recovery.drill(key.words)).toEqual({
      id: added.id,
      epochs: 1,
      signingKeys: 1,
      withoutEscrow: 0,
    });
    expect(on.text()).toBe(text);
    const before = await contentOf(keyring);
    // Before the recovery a rotation: the recovery key leads into the new epoch as well.
    await keyring.rotation.begin("epoch");
    await rotateOn(keyring);
    const provider = providerFor("new");
    const options = { crypto, random, files: on, recovery: ageRecovery, provider };
    const recovered = await recoverKeyring({ ...options, identity: key.identity });
    expect(recovered).toEqual({ recovery: added.id, signingKeys: 1 });
    expect(await codeOf(openWith(on, "old"))).toBe("key_wrong");
    const next = await openWith(on, "new");
    expect(await contentOf(next)).toEqual(before);
    expect(next.findings).toEqual([]);
    expect(await next.recovery.drill(key.words)).toMatchObject({ signingKeys: 1 });
  });

  it("refuse words with a slip, a foreign key, and a wrap of another store", async () => {
    const { on, keyring } = await made(1);
    const key = await generateRecoveryKey(random);
    await keyring.recovery.add(key.recipient);
    const words = key.words.split(" ");
    const slip = [words[1], words[0], ...words.slice(2)].join(" ");
    if (words[0] !== words[1]) {
      const code = await codeOf(keyring.recovery.drill(slip));
      expect(["recovery_key_malformed", "recovery_key_unknown"]).toContain(code);
    }
    expect(await codeOf(keyring.recovery.drill("abandon abandon"))).toBe("recovery_key_malformed");
    const other = await generateRecoveryKey(random);
    expect(await codeOf(keyring.recovery.drill(other.words))).toBe("recovery_key_unknown");
    const text = on.text();
    const options = {
      crypto,
      random,
      files: on,
      recovery: ageRecovery,
      provider: providerFor("n"),
    };
    expect(await codeOf(recoverKeyring({ ...options, identity: other.words }))).toBe(
      "recovery_key_unknown",
    );
    expect(on.text()).toBe(text);
  });

  it("lead out of a rotation that was interrupted in the midst of moving", async () => {
    const { on, keyring } = await made(300);
    const key = await generateRecoveryKey(random);
    await keyring.recovery.add(key.recipient);
    const before = await contentOf(keyring);
    await keyring.rotation.begin("epoch");
    while (
      keyring.rotation.state()?.phase !== "rewrapping" ||
      keyring.rotation.state()?.done === 0
    ) {
      while (keyring.rotation.prepare());
      await keyring.rotation.commit();
    }
    const provider = providerFor("new");
    await recoverKeyring({
      crypto,
      random,
      files: on,
      recovery: ageRecovery,
      provider,
      identity: key.words,
    });
    const next = await openWith(on, "new");
    expect(await contentOf(next)).toEqual(before);
    await rotateOn(next);
    expect(next.rotation.state()?.phase).toBe("old-key-destroyed");
    expect(await contentOf(await openWith(on, "new"))).toEqual(before);
  });
});
