/** Verifies what is kept of the server log: its checkpoints as one chain, and statements in it. */
import { base64, type Bytes } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import type { CheckpointRow, Report, ServerLeafRow, SyncRows } from "./log-source.ts";
import { openSignedCheckpoint, publicKeyOf } from "./server-key.ts";
import { checkProvenLeaf, type DeviceStatement, parseStatement } from "./server-leaf.ts";
import { checkConsistency, hashBytes } from "./tree.ts";

export interface ServerLogWalk {
  /** A statement whose place in the server log is proven; `undefined`: reported. */
  statement(row: ServerLeafRow, object: string): DeviceStatement | undefined;
}

/** Checks every checkpoint and its consistency with the one before. */
export function walkServerLog(crypto: Crypto, sync: SyncRows, report: Report): ServerLogWalk {
  const key = publicKeyOf(sync.server()?.key ?? "");
  const trusted = new Map<string, { readonly size: number; readonly root: Bytes }>();
  let before: { readonly log: string; readonly size: number; readonly root: Bytes } | undefined;

  function check(row: CheckpointRow): void {
    const object = `checkpoint ${row.size} of ${row.log}`;
    const signed = key === undefined ? undefined : openSignedCheckpoint(crypto, row.note, key);
    const says =
      signed?.origin === row.log && signed.size === row.size && base64(signed.root) === row.root;
    if (signed === undefined || !says) {
      report("checkpoint_forged", object, "the pinned server key did not sign it");
      return;
    }
    if (before?.log === row.log) {
      const { size: oldSize, root: oldRoot } = before;
      const claim = { oldSize, oldRoot, newSize: row.size, newRoot: signed.root };
      const path = hashesOf(row.path);
      const joined =
        row.before === before.size &&
        path !== undefined &&
        checkConsistency(crypto, { ...claim, path });
      if (!joined) report("checkpoint_forked", object, "it does not continue the one before");
    } else if (row.before !== 0) {
      report("checkpoint_missing", object, "the one that it continues is gone");
    }
    before = { log: row.log, size: row.size, root: signed.root };
    trusted.set(`${row.log} ${row.size}`, { size: row.size, root: signed.root });
  }

  for (const row of sync.checkpoints()) check(row);
  return {
    statement(row, object) {
      const tree = trusted.get(`${row.log} ${row.logSize}`);
      const path = hashesOf(row.path);
      const leaf = { text: row.leaf, index: row.leafIndex, path: path ?? [] };
      if (tree === undefined || path === undefined || !checkProvenLeaf(crypto, leaf, tree)) {
        report("receipt_unproven", object, "no checkpoint that is held proves it");
        return undefined;
      }
      try {
        const statement = parseStatement(row.leaf);
        if (statement.kind === row.kind && statement.size === row.size) return statement;
      } catch (error) {
        if (!isHoldfastError(error, "server_leaf_malformed")) throw error;
      }
      report("receipt_wrong", object, "it is not what its row says");
      return undefined;
    },
  };
}

/** Hashes that were stored one after the other; `undefined` when they are no whole number of hashes. */
export function hashesOf(bytes: Uint8Array): readonly Bytes[] | undefined {
  if (bytes.length % hashBytes !== 0) return undefined;
  return Array.from({ length: bytes.length / hashBytes }, (_, at) =>
    Uint8Array.from(bytes.subarray(at * hashBytes, (at + 1) * hashBytes)),
  );
}
