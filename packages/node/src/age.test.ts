import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from "age-encryption";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type AgeIdentities,
  type AgeRecipients,
  ageSealedChunkBytes,
  createAgeSealer,
  openAge,
  openAgeChunk,
  startAge,
} from "./age.ts";

let folder = "";
let identity = "";
let recipient = "";

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-age-"));
  identity = await generateX25519Identity();
  recipient = await identityToRecipient(identity);
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function seal(plain: Uint8Array, to: AgeRecipients, piece = 10_000): Promise<Buffer> {
  const { start, key } = await startAge(to);
  const sealer = createAgeSealer(key);
  const chunks: Uint8Array[] = [start];
  for (let at = 0; at < plain.length; at += piece) {
    chunks.push(...sealer.push(plain.subarray(at, at + piece)));
  }
  return Buffer.concat([...chunks, ...sealer.finish()]);
}

async function open(file: Uint8Array, by: AgeIdentities): Promise<Buffer> {
  const { at, key } = await openAge(file, by);
  const chunks: Buffer[] = [];
  for (let from = at, counter = 0; from < file.length; from += ageSealedChunkBytes, counter++) {
    const to = Math.min(file.length, from + ageSealedChunkBytes);
    chunks.push(openAgeChunk(key, counter, file.subarray(from, to), to === file.length));
  }
  return Buffer.concat(chunks);
}

const sizes = [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000];

describe("age files", () => {
  it.each(sizes)("of %i bytes are opened by the library, and its by us", async (size) => {
    const plain = randomBytes(size);
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    const sealed = await seal(plain, { recipients: [recipient] });
    expect(Buffer.from(await decrypter.decrypt(sealed)).equals(plain)).toBe(true);
    const encrypter = new Encrypter();
    encrypter.addRecipient(recipient);
    const theirs = await encrypter.encrypt(plain);
    expect((await open(theirs, { identities: [identity] })).equals(plain)).toBe(true);
  });

  it("with a passphrase are opened by the library, and its by us", async () => {
    const plain = randomBytes(70_000);
    const decrypter = new Decrypter();
    decrypter.addPassphrase("correct horse");
    const sealed = await seal(plain, { passphrase: "correct horse" });
    expect(Buffer.from(await decrypter.decrypt(sealed)).equals(plain)).toBe(true);
    const encrypter = new Encrypter();
    encrypter.setPassphrase("correct horse");
    encrypter.setScryptWorkFactor(10);
    const theirs = await encrypter.encrypt(plain);
    expect((await open(theirs, { passphrase: "correct horse" })).equals(plain)).toBe(true);
    await expect(open(theirs, { passphrase: "wrong horse" })).rejects.toThrow("backup_key_wrong");
  });

  it("are opened by stock age, and its by us", async (context) => {
    if (spawnSync("age", ["--version"]).status !== 0) context.skip("age is not installed");
    const keys = join(folder, "keys");
    writeFileSync(keys, `${identity}\n`);
    for (const size of sizes) {
      const plain = randomBytes(size);
      const file = join(folder, "file.age");
      writeFileSync(file, await seal(plain, { recipients: [recipient] }));
      const theirs = execFileSync("age", ["-d", "-i", keys, file], { maxBuffer: 1e7 });
      expect(theirs.equals(plain), `${size} bytes`).toBe(true);
      const sealed = execFileSync("age", ["-r", recipient], { input: plain, maxBuffer: 1e7 });
      expect((await open(sealed, { identities: [identity] })).equals(plain)).toBe(true);
    }
    expect(readFileSync(keys, "utf8")).toContain("AGE-SECRET-KEY-1");
  });

  it("are refused with a code", async () => {
    const sealed = await seal(randomBytes(200_000), { recipients: [recipient] });
    const by = { identities: [identity] };
    const stranger = { identities: [await generateX25519Identity()] };
    await expect(open(sealed, stranger)).rejects.toThrow("backup_key_wrong");
    await expect(open(Buffer.from("SQLite format 3"), by)).rejects.toThrow("backup_foreign");
    await expect(open(sealed.subarray(0, 100), by)).rejects.toThrow("backup_truncated");
    const { at } = await openAge(sealed, by);
    await expect(open(sealed.subarray(0, at + ageSealedChunkBytes), by)).rejects.toThrow(
      "backup_truncated",
    );
    const altered = Buffer.from(sealed);
    altered[at + 5] = (altered[at + 5] as number) ^ 1;
    await expect(open(altered, by)).rejects.toThrow("backup_altered");
  });

  it.each([{ recipients: ["age1nonsense"] }, { passphrase: "" }])(
    "are not made for %j",
    async (to) => {
      await expect(startAge(to)).rejects.toThrow("backup_recipient_invalid");
    },
  );

  it("ask nothing of a hostile header", async () => {
    const salt = Buffer.alloc(16).toString("base64").replaceAll("=", "");
    const body = Buffer.alloc(32).toString("base64").replaceAll("=", "");
    const mac = "A".repeat(43);
    const costly = `age-encryption.org/v1\n-> scrypt ${salt} 40\n${body}\n--- ${mac}\n${" ".repeat(99)}`;
    await expect(open(Buffer.from(costly), { passphrase: "x" })).rejects.toThrow("backup_altered");
  });
});
