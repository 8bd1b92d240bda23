import { readFileSync } from "node:fs";
import { createNodeCrypto, systemRandom } from "@holdfast/node";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Bytes, concat, fromUtf8, hex, utf8 } from "../std/bytes.ts";
import { type ErrorCode, HoldfastError, InvariantError, isHoldfastError } from "../std/errors.ts";
import type { KeyringFiles, RecordFile } from "./copies.ts";
import { type Keyring, createKeyring, openKeyring } from "./keyring.ts";
import { createSoftwareProvider, openSoftwareProvider } from "./software.ts";

const crypto = createNodeCrypto();
const random = systemRandom;
const leaf = new Uint8Array(32).fill(7);
const cost = { memoryKib: 8, passes: 1, lanes: 1 };

interface MemoryFile extends RecordFile {
  /** How often it was synced by itself. */
  synced: number;
  /** How often somebody asked whether it changed. */
  looked: number;
  content: Bytes | undefined;
  failing: boolean;
}

function memoryFile(content?: Bytes): MemoryFile {
  let writes = 0;
  const write = (file: MemoryFile, bytes: Bytes): void => {
    if (file.failing) throw new HoldfastError("store_full");
    file.content = bytes;
    writes++;
  };
  return {
    content,
    synced: 0,
    looked: 0,
    failing: false,
    read() {
      return this.content && Uint8Array.from(this.content);
    },
    version() {
      this.looked++;
      return this.content && `${writes}:${this.content.length}`;
    },
    append(bytes) {
      if (this.content === undefined) throw new Error("no file");
      write(this, concat(this.content, bytes));
    },
    replace(bytes) {
      write(this, Uint8Array.from(bytes));
    },
    sync() {
      if (this.failing) throw new HoldfastError("store_io_error", { result: "fsync" });
      this.synced += 1;
    },
  };
}

interface Files extends KeyringFiles {
  readonly store: MemoryFile;
  readonly registered: MemoryFile;
}
const filesOf = (store?: Bytes, registered?: Bytes): Files => ({
  store: memoryFile(store),
  registered: memoryFile(registered),
});

function create(files: KeyringFiles, tenant = "tenant-1"): Keyring {
  const provider = createSoftwareProvider({
    crypto,
    random,
    passphrase: "right",
    parameters: undefined,
    cost,
  });
  return createKeyring({ crypto, random, files, provider, tenant }) as Keyring;
}
function open(files: KeyringFiles, passphrase = "right", more: object = {}): Keyring {
  const openProvider = openSoftwareProvider({ crypto, random, passphrase });
  return openKeyring({ crypto, random, files, openProvider, ...more }) as Keyring;
}
function codeOf(run: () => unknown): string | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    if (isHoldfastError(error)) return error.code;
    throw error;
  }
}

/** A keyring with one of everything, and what its keys are. */
function full(): { readonly files: Files; readonly id: string; readonly truth: readonly string[] } {
  const files = filesOf();
  using keyring = create(files);
  const { id } = keyring.dataKeyToSeal("scope", "clinical");
  keyring.flush();
  const { ref, spki } = keyring.provider.generateSigningKey("ed25519") as {
    ref: Bytes;
    spki: Bytes;
  };
  const record = {
    device: "d",
    incarnation: "00".repeat(8),
    algorithm: "ed25519",
    spki,
    ref,
  } as const;
  keyring.addSigningKey(record);
  return { files, id, truth: keysOf(keyring, id) };
}

/** Every key as text; a key that cannot be had as its code. */
function keysOf(keyring: Keyring, id: string): readonly string[] {
  const asks: readonly (() => string)[] = [
    () => hex(keyring.pageKey()),
    () => keyring.scopeOf("s", "site"),
    () => {
      const key = keyring.dataKey(id, 1);
      return key ? hex(key.frameKey("clinical", leaf)) : "!none";
    },
    () => hex((keyring.signer("00".repeat(8)) as (m: Uint8Array) => Bytes)(leaf)),
    () => hex(keyring.markMac().mac(leaf)),
    () => hex(keyring.hpke().privateKey()) + hex(keyring.hpke().publicKey),
    () => `${keyring.storeId} ${keyring.tenant}`,
  ];
  return asks.map((ask) => {
    let answer = "";
    const code = codeOf(() => {
      answer = ask();
    });
    return code === undefined ? answer : `!${code}`;
  });
}

/** The right keys, or a code for each; never another key. */
function neverWrong(
  files: KeyringFiles,
  id: string,
  truth: readonly string[],
): "all" | "some" | "none" {
  let found: readonly string[] = [];
  const code = codeOf(() => {
    using keyring = open(files);
    found = keysOf(keyring, id);
  });
  if (code !== undefined) return "none";
  for (const [i, answer] of found.entries()) {
    if (!answer.startsWith("!")) expect(answer).toBe(truth[i]);
  }
  return found.every((answer) => !answer.startsWith("!")) ? "all" : "some";
}

const linesOf = (bytes: Bytes | undefined): string[] =>
  fromUtf8(bytes ?? new Uint8Array(0))
    .split("\n")
    .slice(0, -1);
const without = (bytes: Bytes | undefined, kind: string): Bytes =>
  utf8(
    linesOf(bytes)
      .filter((line) => !line.includes(`"kind":"${kind}"`))
      .map((line) => `${line}\n`)
      .join(""),
  );

describe("keyring", () => {
  it("gives the same keys to the next process", () => {
    const { files, id, truth } = full();
    using keyring = open(files, "right", { tenant: "tenant-1" });
    expect(keysOf(keyring, id)).toEqual(truth);
    expect(truth.some((answer) => answer.startsWith("!"))).toBe(false);
    expect(keyring.findings).toEqual([]);
    expect(keyring.dataKeyToSeal("scope", "clinical").id).toBe(id);
    expect(keyring.dataKeyById(id)?.generation).toBe(1);
    expect(
      new Set([
        keyring.scopeOf("a", "b"),
        keyring.scopeOf("ab", ""),
        keyring.scopeOf("a", "b", 1),
        keyring.streamOf("a"),
        keyring.actorOf("a"),
      ]).size,
    ).toBe(5);
  });

  it("says why it does not open, and changes nothing", () => {
    const { files } = full();
    const good = files.store.content as Bytes;
    const both = (bytes: Bytes): Files => filesOf(bytes, bytes);
    expect(codeOf(() => open(files, "wrong"))).toBe("key_wrong");
    expect(codeOf(() => open(filesOf()))).toBe("keyring_missing");
    expect(codeOf(() => open(both(without(good, "provider"))))).toBe("keyring_salt_missing");
    for (const kind of ["epoch", "page", "hpke"]) {
      expect(codeOf(() => open(both(without(good, kind))))).toBe("keyring_record_missing");
    }
    expect(codeOf(() => open(both(without(good, "keyring"))))).toBe("keyring_corrupt");
    expect(codeOf(() => open(both(new Uint8Array(0))))).toBe("keyring_corrupt");
    expect(codeOf(() => open(files, "right", { tenant: "other" }))).toBe("keyring_foreign");
    expect(codeOf(() => open(filesOf(good, full().files.store.content)))).toBe("keyring_foreign");
    expect(codeOf(() => create(files))).toBe("keyring_exists");
    const newer = '{"file":1,"format":4,"kind":"keyring"}';
    const sum = hex(crypto.sha256(utf8(newer))).slice(0, 16);
    expect(codeOf(() => open(both(utf8(`${newer} ${sum}\n`))))).toBe("keyring_newer");
    expect(files.store.content).toEqual(good);
  });

  it("refuses a record that was changed together with its checksum", () => {
    const { files, id } = full();
    const changed = linesOf(files.store.content).map((line) => {
      const text = line.slice(0, -17).replace('"scope":"scope"', '"scope":"other"');
      return `${text} ${hex(crypto.sha256(utf8(text))).slice(0, 16)}\n`;
    });
    const bytes = utf8(changed.join(""));
    using keyring = open(filesOf(bytes, bytes));
    expect(codeOf(() => keyring.dataKey(id, 1))).toBe("keyring_corrupt");
  });

  it("gives the right keys or a code for every flipped byte", () => {
    const { files, id, truth } = full();
    const good = files.store.content as Bytes;
    const results = { one: new Set<string>(), both: new Set<string>() };
    for (let at = 0; at < good.length; at++) {
      const bad = Uint8Array.from(good);
      bad[at] = (bad[at] as number) ^ (1 << (at % 8));
      results.one.add(neverWrong(filesOf(bad, good), id, truth));
      results.one.add(neverWrong(filesOf(good, bad), id, truth));
      results.both.add(neverWrong(filesOf(bad, bad), id, truth));
    }
    expect([...results.one]).toEqual(["all"]);
    expect([...results.both].sort()).toEqual(["none", "some"]);
  });

  it("gives the right keys or a code when cut at every byte, and repairs on the next write", () => {
    const { files, id, truth } = full();
    const good = files.store.content as Bytes;
    for (let length = 0; length < good.length; length++) {
      const cut = good.slice(0, length);
      expect(neverWrong(filesOf(cut, good), id, truth)).toBe("all");
      expect(neverWrong(filesOf(good, cut), id, truth)).toBe("all");
      neverWrong(filesOf(cut, cut), id, truth);
      if (length % 16 !== 0) continue;
      const torn = filesOf(cut, good);
      using keyring = open(torn);
      expect(keyring.findings.length).toBeGreaterThan(0);
      expect(torn.store.content).toEqual(cut);
      keyring.dataKeyToSeal("new", "clinical");
      keyring.flush();
      expect(linesOf(torn.store.content)).toHaveLength(linesOf(good).length + 1);
      expect(torn.registered.content).toEqual(torn.store.content);
      using again = open(torn);
      expect(again.findings).toEqual([]);
    }
  });

  it("never gives a wrong key for any mixture of damage (property)", () => {
    const { files, id, truth } = full();
    const good = files.store.content as Bytes;
    const damage = fc.array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 })), {
      maxLength: 6,
    });
    fc.assert(
      fc.property(damage, damage, (one, other) => {
        const [a, b] = [Uint8Array.from(good), Uint8Array.from(good)];
        for (const [at, mask] of one) a[at] = (a[at] as number) ^ mask;
        for (const [at, mask] of other) b[at] = (b[at] as number) ^ mask;
        expect(["all", "some", "none"]).toContain(neverWrong(filesOf(a, b), id, truth));
      }),
      { numRuns: 200 },
    );
  });

  it("restores a missing copy, and lets a higher generation win", () => {
    const { files, truth, id } = full();
    const missing = filesOf(undefined, files.registered.content);
    using keyring = open(missing);
    expect(keyring.findings).toEqual([{ code: "keyring_copy_missing", copy: "store", line: 0 }]);
    expect(missing.store.content).toBeUndefined();
    keyring.repair();
    expect(missing.store.content).toEqual(files.registered.content);

    const raised = utf8(
      linesOf(without(files.store.content, "data"))
        .map((line) => {
          const text = line.slice(0, -17).replace('"file":1', '"file":2');
          return `${text} ${hex(crypto.sha256(utf8(text))).slice(0, 16)}\n`;
        })
        .join(""),
    );
    const mixed = filesOf(files.store.content, raised);
    using winner = open(mixed);
    expect(winner.findings).toEqual([{ code: "keyring_copy_stale", copy: "store", line: 0 }]);
    expect(winner.dataKey(id, 1)).toBeUndefined();
    expect(keysOf(winner, id)[0]).toBe(truth[0]);
    winner.repair();
    expect(mixed.store.content).toEqual(raised);
  });

  it("keeps unknown kinds and damaged lines that nothing stands in for", () => {
    const { files } = full();
    const later = '{"file":1,"kind":"later","x":1}';
    const line = `${later} ${hex(crypto.sha256(utf8(later))).slice(0, 16)}\n`;
    const bytes = concat(files.store.content as Bytes, utf8(`${line}damaged in every copy\n`));
    const grown = filesOf(bytes, undefined);
    using keyring = open(grown);
    keyring.repair();
    expect(fromUtf8(grown.registered.content as Bytes)).toContain(later);
    expect(fromUtf8(grown.store.content as Bytes)).toContain("damaged in every copy");
  });

  it("sees what another process appended, and forgets what was released", () => {
    const { files } = full();
    using reader = open(files);
    using writer = open(files);
    const key = writer.dataKeyToSeal("late", "clinical");
    expect(reader.dataKey(key.id, 1)).toBeUndefined();
    writer.flush();
    const seen = reader.dataKey(key.id, 1);
    expect(seen && hex(seen.frameKey("x", leaf))).toBe(hex(key.frameKey("x", leaf)));
    const dropped = writer.dataKeyToSeal("dropped", "clinical");
    writer.release();
    writer.flush();
    expect(writer.dataKey(dropped.id, 1)).toBeUndefined();
    expect(writer.dataKey(key.id, 1)?.id).toBe(key.id);
    expect(reader.dataKeyToSeal("late", "clinical").id).toBe(key.id);
  });

  it("looks at its copies once while nobody else writes, however many keys are asked for", () => {
    const { files } = full();
    using reader = open(files);
    using writer = open(files);
    const early = writer.dataKeyToSeal("early", "clinical");
    writer.flush();
    reader.steadily(() => {
      // What was written before is seen, what comes meanwhile is not looked for.
      expect(reader.dataKey(early.id, 1)?.id).toBe(early.id);
      const late = writer.dataKeyToSeal("late", "clinical");
      writer.flush();
      const looked = files.store.looked;
      for (let asked = 0; asked < 3; asked++) expect(reader.dataKey(late.id, 1)).toBeUndefined();
      expect(files.store.looked).toBe(looked);
    });
    expect(reader.dataKey(writer.dataKeyToSeal("late", "clinical").id, 1)?.scope).toBe("late");
  });

  it("seals with a key that was only read once both copies are synced", () => {
    // A process that was killed between writing and syncing leaves a line that a power cut would take.
    const { files } = full();
    using keyring = open(files);
    [files.store.synced, files.registered.synced] = [0, 0];
    files.registered.failing = true;
    expect(() => {
      keyring.flush();
    }).toThrow(/^store_io_error/);
    files.registered.failing = false;
    keyring.flush();
    expect([files.store.synced, files.registered.synced]).toEqual([2, 1]);
    keyring.flush();
    expect([files.store.synced, files.registered.synced]).toEqual([2, 1]);
    using other = open(files);
    other.dataKeyToSeal("another", "clinical");
    other.flush();
    keyring.refresh();
    keyring.flush();
    expect(files.registered.synced).toBe(3);
  });

  it("makes pending keys durable in both copies after a failed write", () => {
    const { files } = full();
    using keyring = open(files);
    const key = keyring.dataKeyToSeal("s2", "clinical");
    files.registered.failing = true;
    expect(() => {
      keyring.flush();
    }).toThrow(/^store_full/);
    files.registered.failing = false;
    keyring.flush();
    expect(files.store.content).toEqual(files.registered.content);
    expect(linesOf(files.store.content).filter((line) => line.includes(key.id))).toHaveLength(1);
  });

  it("seals with no key that stands in one copy alone, where the other can be written", () => {
    const { files } = full();
    using failed = open(files);
    const key = failed.dataKeyToSeal("s2", "clinical");
    files.registered.failing = true;
    expect(() => {
      failed.flush();
    }).toThrow(/^store_full/);
    using next = open(files);
    expect(next.dataKeyToSeal("s2", "clinical").id).toBe(key.id);
    files.registered.failing = false;
    next.flush();
    expect(files.registered.content).toEqual(files.store.content);
  });

  it("seals with one copy where the medium of the other fails, and only then", () => {
    const settled = (fail: () => never): string | undefined => {
      const { files } = full();
      const registered = memoryFile();
      registered.replace = fail;
      using keyring = open({ ...files, registered });
      return codeOf(() => {
        keyring.flush();
      });
    };
    const failsWith = (code: ErrorCode) => (): never => {
      throw new HoldfastError(code);
    };
    for (const code of ["store_full", "store_read_only", "store_io_error"] as const) {
      expect(settled(failsWith(code))).toBe(undefined);
    }
    for (const code of ["keyring_unsafe_file", "keyring_foreign", "keyring_corrupt"] as const) {
      expect(settled(failsWith(code))).toBe(code);
    }
    const bug = (): never => {
      throw new InvariantError("a bug is told");
    };
    expect(() => settled(bug)).toThrow("a bug is told");
  });

  it("keeps granted keys to open and not to seal", () => {
    const { files } = full();
    using keyring = open(files);
    const material = {
      id: "granted",
      scope: "scope",
      section: "clinical",
      generation: 5,
      key: random.bytes(32),
    };
    keyring.addDataKey(material);
    using again = open(files);
    expect(again.dataKeyToSeal("scope", "clinical").id).not.toBe("granted");
    expect(again.dataKeyMaterial("granted", 5)).toEqual(material);
  });

  it("derives frame keys by HKDF-Expand", () => {
    const { files, id } = full();
    using keyring = open(files);
    const { key } = keyring.dataKeyMaterial(id, 1) as { key: Bytes };
    const info = concat(utf8("holdfast/aead/v1|clinical"), leaf, Uint8Array.of(1));
    expect(keyring.dataKey(id, 1)?.frameKey("clinical", leaf)).toEqual(crypto.hmac(key).mac(info));
  });

  it("gives nothing after it was disposed of", () => {
    const { files, id } = full();
    const keyring = open(files);
    const key = keyring.dataKey(id, 1);
    keyring[Symbol.dispose]();
    expect(() => keyring.pageKey()).toThrow("disposed");
    expect(() => key?.frameKey("clinical", leaf)).toThrow("disposed");
    expect(() => keyring.provider.wrap(leaf, leaf)).toThrow("close");
  });

  it("writes the worked example of spec/keyring.md byte by byte", () => {
    const spec = readFileSync(new URL("../../../../spec/keyring.md", import.meta.url), "utf8");
    const example = /```text\n([^`]*)```/.exec(spec)?.[1];
    let next = 0;
    const counting = { bytes: (length: number) => new Uint8Array(length).map(() => next++) };
    const passphrase = "example";
    const options = { crypto, random: counting, passphrase, parameters: undefined, cost };
    const files = filesOf();
    const provider = createSoftwareProvider(options);
    const tenant = "AAECAwQFBgcICQoLDA0ODw";
    using keyring = createKeyring({ crypto, random: counting, files, provider, tenant }) as Keyring;
    keyring.dataKeyToSeal("scope-1", "clinical");
    keyring.flush();
    expect(fromUtf8(files.store.content as Bytes)).toBe(example);
    using opened = open(filesOf(utf8(example ?? ""), utf8(example ?? "")), passphrase);
    expect(opened.pageKey()).toEqual(keyring.pageKey());
  });
});
