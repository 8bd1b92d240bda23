/** After a store is locked, no memory of its process holds a key. */
import { fork } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  base64url,
  canonicalBytes,
  decodeLines,
  fromBase64url,
  fromUtf8,
  hex,
  openKeyring,
  openSoftwareProvider,
  utf8,
} from "@holdfast/core";
import { createNodeCrypto, initStore, keyringFiles, openStore, systemRandom } from "@holdfast/node";
import { createNoteDraft as note, createNoteRegistry } from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";

const root = mkdtempSync(join(tmpdir(), "holdfast-lock-"));
afterAll(() => {
  rmSync(root, { recursive: true });
});
const crypto = createNodeCrypto();
const random = systemRandom;
const passphrase = "correct horse battery staple";
const place = { directory: join(root, "store"), stateDirectory: join(root, "state") };

type Keys = ReadonlyMap<string, Uint8Array>;

/** Every key of the store, as this process opens it. */
async function keysOf(storeId: string): Promise<Keys> {
  const files = keyringFiles(place.directory, place.stateDirectory, storeId);
  const lines = decodeLines(crypto, files.store.read() ?? new Uint8Array(0));
  const records = lines.flatMap((line) => {
    return line.state === "record" ? [JSON.parse(fromUtf8(line.raw).slice(0, -17)) as Line] : [];
  });
  const one = (kind: string): Line => records.find((line) => line.kind === kind) as Line;
  const { salt, memory_kib: memoryKib, passes, lanes } = one("provider").parameters;
  const cost = { memoryKib, passes, lanes };
  const providerKey = crypto.argon2id(
    utf8(passphrase),
    fromBase64url(salt) as Uint8Array,
    cost,
    32,
  );
  const openProvider = openSoftwareProvider({ crypto, random, passphrase });
  const provider = await openProvider({ ...one("provider"), name: "software" });
  const [wrap] = one("epoch").wraps;
  const { store, tenant } = one("keyring");
  const { id: epoch } = one("epoch");
  const context = { v: 1, kind: "epoch", store, tenant, epoch, provider: wrap?.provider ?? "" };
  const wrapped = fromBase64url(wrap?.wrapped ?? "") as Uint8Array;
  const epochKey = await provider?.unwrap(wrapped, canonicalBytes(context));
  using keyring = await openKeyring({ crypto, random, files, openProvider });
  const data = keyring.dataKeys().map(({ id, generation }, at) => {
    return [`data ${at}`, keyring.dataKeyMaterial(id, generation)?.key] as const;
  });
  const all = [
    ["provider", providerKey],
    ["epoch", epochKey],
    ["page", keyring.pageKey()],
    ["hpke", keyring.hpke().privateKey()],
    ["pseudonym", keyring.pseudonymKey()],
    ...data,
  ] as const;
  return new Map(all.map(([name, key]) => [name, Uint8Array.from(key ?? [])]));
}

interface Line {
  readonly kind: string;
  readonly id: string;
  readonly store: string;
  readonly tenant: string;
  readonly parameters: {
    readonly salt: string;
    readonly memory_kib: number;
    readonly passes: number;
    readonly lanes: number;
  };
  readonly wraps: readonly { readonly provider: string; readonly wrapped: string }[];
}

/** Names of the keys that a heap snapshot holds as text or as a list of numbers. */
function inSnapshot(path: string, keys: Keys): readonly string[] {
  const text = readFileSync(path, "latin1");
  return [...keys]
    .filter(([, key]) => {
      const forms = [hex(key), base64url(key), Buffer.from(key).toString("base64").slice(0, 42)];
      return [...forms, key.join(",")].some((form) => text.includes(form));
    })
    .map(([name]) => name);
}

/** Names of the keys that the memory of a process holds; `undefined` where it may not be read. */
function inMemory(pid: number, keys: Keys): ReadonlySet<string> | undefined {
  const found = new Set<string>();
  let memory: number;
  try {
    memory = openSync(`/proc/${pid}/mem`, "r");
  } catch {
    return undefined;
  }
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, "utf8").split("\n")) {
      const [, from = "", to = ""] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
      if (from !== "") scan(memory, BigInt(`0x${from}`), BigInt(`0x${to}`), keys, found);
    }
  } finally {
    closeSync(memory);
  }
  return found;
}

const stepBytes = 8 * 1024 * 1024;

function scan(memory: number, from: bigint, to: bigint, keys: Keys, found: Set<string>): void {
  const chunk = Buffer.alloc(stepBytes + 64);
  for (let at = from; at < to; at += BigInt(stepBytes)) {
    const length = Number(to - at > BigInt(chunk.length) ? BigInt(chunk.length) : to - at);
    let read: number;
    try {
      read = readSync(memory, chunk, 0, length, at);
    } catch {
      // Pages that nobody has touched.
      continue;
    }
    const part = chunk.subarray(0, read);
    for (const [name, key] of keys) if (part.includes(Buffer.from(key))) found.add(name);
  }
}

const marker = Uint8Array.from({ length: 32 }, (_, at) => (0xa0 ^ (at * 7)) & 255);

describe("a locked store", () => {
  it("leaves no key in a heap snapshot, nor anywhere in the memory of its process", async () => {
    const { storeId } = await initStore({ ...place, passphrase, tenant: "Ward 3" });
    const registry = createNoteRegistry();
    const store = await openStore({ ...place, passphrase, registry, projections: [] });
    await store.append(note("s", "zero"));
    await store.close();
    const keys = await keysOf(storeId);
    expect([...keys.values()].every((key) => key.length === 32)).toBe(true);
    expect(keys.size).toBeGreaterThan(5);

    const child = fork(fileURLToPath(new URL("lock.child.ts", import.meta.url)), {
      execArgv: ["--conditions=@holdfast/source", "--expose-gc"],
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    const heard = (word: string): Promise<void> =>
      new Promise((resolve, reject) => {
        child.once("message", (said) => {
          if (said === word) resolve();
          else reject(new Error("it said something else"));
        });
        child.once("exit", () => {
          reject(new Error("it ended"));
        });
      });
    const [open, locked] = [join(root, "open.heapsnapshot"), join(root, "locked.heapsnapshot")];
    child.send({ ...place, passphrase, open, locked });
    await heard("open");
    const marked = new Map([["marker", marker], ...keys]);
    const before = inMemory(child.pid ?? 0, marked);
    child.send("go");
    await heard("locked");
    const after = inMemory(child.pid ?? 0, marked);
    child.removeAllListeners("exit");
    child.send("end");
    await new Promise((resolve) => child.once("exit", resolve));

    expect(inSnapshot(open, keys)).toEqual([]);
    expect(inSnapshot(locked, keys)).toEqual([]);
    if (before === undefined || after === undefined) {
      console.warn("memory is not read here: /proc/<pid>/mem is closed");
      return;
    }
    // Reading works: the marker is there, and while the store is open its keys are.
    expect(before.has("marker")).toBe(true);
    expect(before.size).toBeGreaterThan(1);
    expect([...after]).toEqual(["marker"]);
  });
});
