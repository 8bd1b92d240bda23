/**
 * Checkpoints of the server logs and proofs in them. A checkpoint is signed in the transaction that appended the
 * leaves: every committed state has one over all of its leaves, so that whatever is read can be proven.
 */
import {
  type Bytes,
  createStoredTree,
  type Crypto,
  formatCheckpoint,
  formatNote,
  derFromP1363,
  HoldfastError,
  invariant,
  type MaybePromise,
  noteKeyId,
  type Observer,
  proveConsistency,
  proveInclusion,
  type ProvenLeaf,
  publicKeyOfSpki,
  rootOf,
  type SignatureAlgorithm,
  utf8,
} from "@holdfast/core";
import type { CheckpointRow, ServerLogName, ServerReads, ServerWrites } from "../server-store.ts";
import { together } from "../together.ts";

/** The key that signs checkpoints. */
export interface CheckpointKey {
  /** DER SubjectPublicKeyInfo, Ed25519 or ECDSA P-256. */
  readonly spki: Bytes;
  /** Raw Ed25519 R ‖ S, or ECDSA r ‖ s. */
  sign(message: Uint8Array): MaybePromise<Bytes>;
}

/** Origin of a server log, and name of the key that signs it. */
export function serverLogOrigin(host: string, shard: string, log: number): string {
  return `${host}/holdfast/${shard}/${log}`;
}

/** Proofs in the tree of one checkpoint. */
export interface ShardProof {
  readonly checkpoint: CheckpointRow;
  prove(index: number): Promise<ProvenLeaf>;
  /** From the tree of that size; empty for 0. Throws `server_behind` when this log is smaller. */
  consistency(before: number): Promise<readonly Bytes[]>;
}

export function createShardProof(
  crypto: Crypto,
  reads: ServerReads,
  { shard, log }: ServerLogName,
  checkpoint: CheckpointRow,
): ShardProof {
  const { size } = checkpoint;
  const tree = createStoredTree(crypto, size, (spans) => reads.serverHashes(shard, spans, log));
  return {
    checkpoint,
    async prove(index) {
      const [[text], path] = await together(
        () => reads.serverLeaves(shard, index, index + 1, log),
        () => tree.prove((by, hashOf) => proveInclusion(by, index, size, hashOf)),
      );
      invariant(text !== undefined, "a proven leaf is in the server log");
      return { text, index, path };
    },
    async consistency(before) {
      if (before > size) throw new HoldfastError("server_behind", { part: "checkpoint", size });
      if (before === 0) return [];
      return tree.prove((by, hashOf) => proveConsistency(by, before, size, hashOf));
    },
  };
}

export interface CheckpointDeps {
  readonly crypto: Crypto;
  readonly host: string;
  readonly key: CheckpointKey;
  readonly observer: Observer;
  now(): number;
}

/** Signs the tree as the transaction leaves it, unless its newest checkpoint covers it already. */
export async function keepCheckpoint(
  deps: CheckpointDeps,
  tx: ServerWrites,
  shard: string,
): Promise<CheckpointRow> {
  const { leaves, log } = await tx.head(shard);
  const newest = await tx.checkpoint(shard);
  if (newest?.size === leaves) return newest;
  const root = rootOf(deps.crypto, await tx.serverRange(shard));
  const origin = serverLogOrigin(deps.host, shard, log);
  const note = await signCheckpoint(deps, origin, leaves, root);
  const row = { size: leaves, root, note, at: deps.now() };
  await tx.addCheckpoint(shard, row);
  deps.observer.count("server_checkpoints", 1);
  return row;
}

async function signCheckpoint(
  { crypto, key }: CheckpointDeps,
  origin: string,
  size: number,
  root: Bytes,
): Promise<string> {
  const algorithm = algorithmOf(key.spki);
  const text = formatCheckpoint({ origin, size, root });
  const made = await key.sign(utf8(text));
  const signature = algorithm === "ecdsa-p256" ? derFromP1363(made) : made;
  const keyId = noteKeyId(crypto, { name: origin, algorithm, spki: key.spki });
  return formatNote(text, [{ name: origin, keyId, signature }]);
}

/** Throws `vkey_malformed` for a key of another algorithm. */
export function algorithmOf(spki: Bytes): SignatureAlgorithm {
  if (publicKeyOfSpki("ed25519", spki) !== undefined) return "ed25519";
  if (publicKeyOfSpki("ecdsa-p256", spki) !== undefined) return "ecdsa-p256";
  throw new HoldfastError("vkey_malformed", { reason: "key" });
}
