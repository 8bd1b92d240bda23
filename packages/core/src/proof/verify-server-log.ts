/**
 * Verifies what is kept of the server log: its checkpoints as one chain, from one log into the next by epoch
 * statements, and statements in it. Each statement is proven by a checkpoint of its own log.
 */
import { base64, type Bytes } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import { endsAfter, logStep, openEpoch } from "./check-epoch.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { CheckpointRow, EpochRow, Report, ServerLeafRow, SyncRows } from "./log-source.ts";
import { openSignedCheckpoint, type PublicKey, publicKeyOf } from "./server-key.ts";
import { checkProvenLeaf, type DeviceStatement, parseStatement } from "./server-leaf.ts";
import { checkConsistency, hashBytes } from "./tree.ts";

export interface ServerLogWalk {
  /** A statement whose place in the server log is proven; `undefined`: reported. */
  statement(row: ServerLeafRow, object: string): DeviceStatement | undefined;
  /**
   * Reports `log_tail_lost` when receipts of a device log stand beyond the end of their server log, and the server has
   * not receipted as much again since.
   */
  checkLost(rows: readonly ServerLeafRow[], object: string): void;
  /** Does a statement stand beyond the end of its server log? It proves what was said, and not what is held. */
  isLost(row: Pick<ServerLeafRow, "log" | "leafIndex">): boolean;
}

/** Checks every checkpoint and its consistency with the one before. */
export function walkServerLog(crypto: Crypto, sync: SyncRows, report: Report): ServerLogWalk {
  const key = publicKeyOf(sync.server()?.key ?? "");
  const trusted = new Map<string, Checkpoint>();
  const epochs = new Map(sync.epochs().map((row) => [row.log, row]));
  const ends = new Map<string, number>();
  const joining = { crypto, key, trusted, ends, report };
  let before: Checkpoint | undefined;

  function check(row: CheckpointRow): void {
    const object = `checkpoint ${row.size} of ${row.log}`;
    const signed = key === undefined ? undefined : openSignedCheckpoint(crypto, row.note, key);
    const says =
      signed?.origin === row.log && signed.size === row.size && base64(signed.root) === row.root;
    if (signed === undefined || !says) {
      report("checkpoint_forged", object, "the pinned server key did not sign it");
      return;
    }
    if (before?.origin === row.log) {
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
    } else if (before !== undefined) {
      checkStep(joining, before, signed, epochs.get(row.log), object);
    }
    before = signed;
    trusted.set(`${row.log} ${row.size}`, signed);
  }

  for (const row of sync.checkpoints()) check(row);
  const isLost = (row: Pick<ServerLeafRow, "log" | "leafIndex">): boolean =>
    row.leafIndex >= (ends.get(row.log) ?? Infinity);
  return {
    isLost,
    checkLost(rows, object) {
      const sizeOf = (some: readonly ServerLeafRow[]): number =>
        Math.max(0, ...some.filter(({ kind }) => kind === "receipt").map(({ size }) => size));
      const lost = sizeOf(rows.filter((row) => isLost(row)));
      const known = sizeOf(rows.filter((row) => !isLost(row)));
      if (lost <= known) return;
      report("log_tail_lost", object, `the server receipted ${lost} of it, and knows of ${known}`);
    },
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

/** Does the next log go on for the one before, by its epoch statement? */
function checkStep(
  parts: {
    readonly crypto: Crypto;
    readonly key: PublicKey | undefined;
    readonly trusted: ReadonlyMap<string, Checkpoint>;
    /** Where logs ended below what is held of them: filled here. */
    readonly ends: Map<string, number>;
    readonly report: Report;
  },
  before: Checkpoint,
  next: Checkpoint,
  row: EpochRow | undefined,
  object: string,
): void {
  const { crypto, key, trusted, ends, report } = parts;
  const path = hashesOf(row?.path ?? new Uint8Array(1));
  const epoch = { text: row?.leaf ?? "", index: 0, path: path ?? [] };
  const shown = { epoch, next, last: row?.last ?? "" };
  const last =
    key !== undefined && path !== undefined && row?.logSize === next.size
      ? openEpoch(crypto, key, shown)
      : undefined;
  if (row === undefined || last?.origin !== before.origin) {
    report("checkpoint_unjoined", object, "no epoch statement joins its log to the one before");
    return;
  }
  if (last.size >= before.size) {
    const same = last.size === before.size && endsAfter(crypto, before, last, []);
    if (!same) report("checkpoint_forked", object, "the log before ended with another tree");
    return;
  }
  // A restored server: what was held below that size must agree, what was held beyond it is its loss.
  const known = [...trusted.values()].findLast(
    ({ origin, size }) => origin === before.origin && size <= last.size,
  );
  const consistency = hashesOf(row.consistency);
  const agrees =
    logStep(before.origin, next.origin) === "restored" &&
    consistency !== undefined &&
    (known === undefined || endsAfter(crypto, known, last, consistency));
  if (agrees) ends.set(last.origin, last.size);
  else report("checkpoint_forked", object, "the log before ended with another tree");
}

/** Hashes that were stored one after the other; `undefined` when they are no whole number of hashes. */
export function hashesOf(bytes: Uint8Array): readonly Bytes[] | undefined {
  if (bytes.length % hashBytes !== 0) return undefined;
  return Array.from({ length: bytes.length / hashBytes }, (_, at) =>
    Uint8Array.from(bytes.subarray(at * hashBytes, (at + 1) * hashBytes)),
  );
}
