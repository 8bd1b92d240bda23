/**
 * Checkpoint and inclusion proofs of our server log, judged by somebody else's code: the transparency log verifier
 * of Sigstore (`@sigstore/verify`), which checks the C2SP note, its key hint and name, and the RFC 6962 path.
 */
import { createHash, createPublicKey } from "node:crypto";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createNodeCrypto, openPlainSqlite } from "@holdfast/node";
import { callerOf, createTestServer, type TestServer } from "@holdfast/testkit";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

interface ForeignEntry {
  readonly inclusionProof: {
    readonly checkpoint: { readonly envelope: string };
    readonly logIndex: string;
    readonly hashes: readonly Buffer[];
  };
  readonly canonicalizedBody: Buffer;
}

interface ForeignCheckpoint {
  readonly logSize: bigint;
  readonly logHash: Buffer;
}

// The package exports its whole verifier only; its parts for notes and trees are files of it.
const resolve = createRequire(import.meta.url);
const folder = join(dirname(resolve.resolve("@sigstore/verify")), "tlog");
const { verifyCheckpoint } = resolve(join(folder, "checkpoint.js")) as {
  verifyCheckpoint(entry: ForeignEntry, logs: readonly object[]): ForeignCheckpoint;
};
const { verifyMerkleInclusion } = resolve(join(folder, "merkle.js")) as {
  verifyMerkleInclusion(entry: ForeignEntry, checkpoint: ForeignCheckpoint): void;
};

const crypto = createNodeCrypto();
let here: TestServer;

beforeEach(async () => {
  const driver = openPlainSqlite({ path: ":memory:", readOnly: false });
  here = await createTestServer({ crypto, driver });
  for (let round = 0; round < 9; round++) {
    here.founder.record([{}]);
    await here.receipted(here.founder, 0);
  }
});
afterEach(async () => {
  await here.close();
});

/** The key as that verifier takes it; the key hint is computed here from C2SP signed-note, not by our code. */
function trustedLog(origin: string): object {
  const publicKey = createPublicKey({ key: Buffer.from(here.spki), format: "der", type: "spki" });
  const logID = createHash("sha256")
    .update(`${origin}\n`)
    .update(Uint8Array.of(1))
    .update(here.spki.subarray(-32))
    .digest();
  return { logID, publicKey, baseURL: `https://${origin}` };
}

async function entryAt(index: number): Promise<ForeignEntry & { readonly origin: string }> {
  const caller = callerOf(here.founder);
  const { checkpoint } = await here.server.checkpoint(caller);
  const [origin = "", decimal] = checkpoint.split("\n");
  const { leaf } = await here.server.inclusion(caller, { index, size: Number(decimal) });
  return {
    origin,
    inclusionProof: {
      checkpoint: { envelope: checkpoint },
      logIndex: String(leaf.index),
      hashes: leaf.path.map((hash) => Buffer.from(hash)),
    },
    canonicalizedBody: Buffer.from(leaf.text),
  };
}

function verify(entry: ForeignEntry, origin: string): void {
  const checkpoint = verifyCheckpoint(entry, [trustedLog(origin)]);
  verifyMerkleInclusion(entry, checkpoint);
}

function edited(text: string, at: number): string {
  return `${text.slice(0, at)}${text[at] === "A" ? "B" : "A"}${text.slice(at + 1)}`;
}

describe("Sigstore's verifier", () => {
  test("accepts the checkpoint and the proof of every leaf", async () => {
    for (let index = 0; index < 11; index++) {
      const entry = await entryAt(index);
      expect(entry.origin).toMatch(/^server\.test:8443\/holdfast\/[\w-]{22}\/1$/);
      verify(entry, entry.origin);
    }
  });

  test("refuses another leaf, index, path, root or signature", async () => {
    const entry = await entryAt(4);
    const { origin, inclusionProof } = entry;
    const { envelope } = inclusionProof.checkpoint;
    const withProof = (change: Partial<ForeignEntry["inclusionProof"]>): ForeignEntry => ({
      ...entry,
      inclusionProof: { ...inclusionProof, ...change },
    });
    const rootAt = envelope.indexOf("\n", origin.length + 1) + 5;
    const tampered = [
      { ...entry, canonicalizedBody: Buffer.from(`${entry.canonicalizedBody.toString()} `) },
      withProof({ logIndex: "5" }),
      withProof({ hashes: inclusionProof.hashes.toReversed() }),
      withProof({ hashes: inclusionProof.hashes.slice(1) }),
      withProof({ checkpoint: { envelope: edited(envelope, rootAt) } }),
      withProof({ checkpoint: { envelope: edited(envelope, envelope.length - 10) } }),
      withProof({ checkpoint: { envelope: envelope.replace("\n11\n", "\n12\n") } }),
    ];
    for (const one of tampered)
      expect(() => verify(one, origin)).toThrow(/root hash|signature|hash count/);
    verify(entry, origin);
  });
});
