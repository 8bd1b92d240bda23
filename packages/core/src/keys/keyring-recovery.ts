/**
 * Recovery keys of one keyring: the second way in, kept offline. Each has a wrap of every epoch key, beside those
 * of the providers, and an escrow of each signing key that its provider lets go of, so that a store whose
 * passphrase is lost opens again and goes on with its own log.
 */
import { base64url, type Bytes, fromBase64url, wipe } from "../std/bytes.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Crypto, Random } from "../std/ports.ts";
import { openCopies } from "./copies.ts";
import { type Epoch, epochContext, unwrapRecord, wrapRecord } from "./epoch.ts";
import { epochKeyOf } from "./new-keys.ts";
import { newestEpochOf, refuseWhileRotating } from "./rotation-records.ts";
import { trial } from "./signing-keys.ts";
import type { RotationGround } from "./rotation-ground.ts";
import type { KeyProvider } from "./provider.ts";
import type { RecoveryCipher } from "./recovery-cipher.ts";
import {
  unwrapEpochWith,
  unwrapSigningWith,
  wrapEpochFor,
  wrapSigningFor,
} from "./recovery-wraps.ts";
import { indexOf, latestOf } from "./record-index.ts";
import {
  encodeRecord,
  type EpochRecord,
  type EscrowRecord,
  type HeaderRecord,
  keyringFormatOfRotation,
  type KeyringRecord,
  type RecoveryRecord,
  type SigningRecord,
} from "./record.ts";
import { checkedEpoch } from "./unlock.ts";
import type { KeyringFiles } from "./copies.ts";

/** A recovery key as the keyring knows it. */
export interface RecoveryKeyRecord {
  readonly id: string;
  /** `age1…` */
  readonly recipient: string;
  /** Signing keys that it can recover. */
  readonly signingKeys: number;
}

/** What a drill has shown. */
export interface RecoveryDrill {
  readonly id: string;
  /** Epoch keys, and signing keys, that the recovery key opens. */
  readonly epochs: number;
  readonly signingKeys: number;
  /** Signing keys that it cannot recover: their provider keeps them to itself. */
  readonly withoutEscrow: number;
}

/** Recovery keys of an open keyring. */
export interface KeyringRecovery {
  list(): readonly RecoveryKeyRecord[];
  /**
   * Wraps the keyring to a recipient; durable when it resolves, with the lease held. Throws
   * `recovery_key_malformed`, `recovery_key_exists`, `recovery_unavailable`, `rotation_under_way`.
   */
  add(recipient: string): Promise<RecoveryKeyRecord>;
  /**
   * Proves that the recovery key opens the epoch key and the signing keys that stand in the keyring now; changes
   * nothing. Throws `recovery_key_malformed`, `recovery_key_unknown`, `key_unwrap_failed`, `keyring_corrupt`.
   */
  drill(identity: string): Promise<RecoveryDrill>;
  /** Escrows of signing keys that have none yet, as after a new incarnation; how many were written. */
  escrow(): Promise<number>;
}

function cipherOf({
  recovery,
}: {
  readonly recovery?: RecoveryCipher | undefined;
}): RecoveryCipher {
  if (recovery === undefined) throw new HoldfastError("recovery_unavailable");
  return recovery;
}

const isRecovery = (record: KeyringRecord): record is RecoveryRecord => record.kind === "recovery";
const isEscrow = (record: KeyringRecord): record is EscrowRecord => record.kind === "escrow";
const isEpoch = (record: KeyringRecord): record is EpochRecord => record.kind === "epoch";

/** Over the records of one open keyring. */
export function createKeyringRecovery(ground: RotationGround): KeyringRecovery {
  const { records, random } = ground;
  const header = (): HeaderRecord => records.merged().header;
  const recoveries = (): readonly RecoveryRecord[] => {
    const byId = new Map(
      records
        .durable()
        .filter(isRecovery)
        .map((one) => [one.id, one]),
    );
    return [...byId.values()];
  };
  const escrows = (): readonly EscrowRecord[] => records.durable().filter(isEscrow);

  /** Incarnations whose signing keys are in escrow for it. */
  function keptFor({ id }: RecoveryRecord): ReadonlySet<string> {
    const kept = escrows().filter(({ recovery }) => recovery === id);
    return new Set(kept.map(({ incarnation }) => incarnation));
  }

  function view(recovery: RecoveryRecord): RecoveryKeyRecord {
    const { id, recipient } = recovery;
    return { id, recipient, signingKeys: keptFor(recovery).size };
  }

  /** The private key, from a provider that lets go of it. */
  async function releasedKey(held: readonly SigningRecord[]): Promise<Bytes | undefined> {
    for (const record of held) {
      const provider = ground.providers.get(record.provider);
      if (provider?.releaseSigningKey === undefined) continue;
      const ref = unwrapRecord(ground.epochs, record);
      const key = await provider.releaseSigningKey(ref, record.algorithm);
      if (key !== null) return key;
    }
    return undefined;
  }

  async function escrowsFor(recovery: RecoveryRecord): Promise<readonly EscrowRecord[]> {
    const kept = keptFor(recovery);
    const made: EscrowRecord[] = [];
    for (const [incarnation, held] of records.index().signing) {
      if (kept.has(incarnation)) continue;
      const key = await releasedKey(held);
      if (key === undefined) continue;
      try {
        const wrapped = await wrapSigningFor(
          cipherOf(ground),
          header(),
          incarnation,
          recovery,
          key,
        );
        const fields = { recovery: recovery.id, incarnation, wrapped: base64url(wrapped) };
        made.push({ kind: "escrow", file: header().file, ...fields });
      } finally {
        wipe(key);
      }
    }
    return made;
  }

  return {
    list: () => recoveries().map(view),
    async add(recipient) {
      const cipher = cipherOf(ground);
      records.refresh();
      const known = recoveries();
      if (known.some((one) => one.recipient === recipient)) {
        throw new HoldfastError("recovery_key_exists");
      }
      if (known.length >= limits.recoveryKeysMax) {
        throw new HoldfastError("recovery_key_exists", { limit: limits.recoveryKeysMax });
      }
      refuseWhileRotating(records.index());
      const newest = newestEpochOf(records.durable());
      const { file } = header();
      const id = base64url(random.bytes(8));
      const recovery: RecoveryRecord = { kind: "recovery", file, id, recipient };
      const epochKey = await epochKeyOf(ground, newest);
      const wraps = [...newest.wraps];
      try {
        const wrapped = await wrapEpochFor(cipher, header(), newest.id, recovery, epochKey);
        wraps.push({ provider: id, wrapped: base64url(wrapped) });
      } finally {
        wipe(epochKey);
      }
      const signing = await escrowsFor(recovery);
      const raised =
        header().format < keyringFormatOfRotation
          ? [{ ...header(), format: keyringFormatOfRotation }]
          : [];
      // The epoch record last: without it the recovery key opens nothing, and adding it is done again.
      records.append([...raised, recovery, ...signing, { ...newest, wraps }]);
      return view(recovery);
    },
    async drill(identity) {
      const cipher = cipherOf(ground);
      records.refresh();
      const found = await openWith(ground.crypto, cipher, identity, header(), records.durable());
      wipe(...found.epochs.map(({ key }) => key), ...found.signing.values());
      const isHeld = (one: SigningRecord): boolean => {
        const ref = unwrapRecord(ground.epochs, one);
        wipe(ref);
        return ref.length > 0;
      };
      const held = [...records.index().signing.values()].filter((each) => each.some(isHeld));
      return {
        id: found.recovery.id,
        epochs: found.epochs.length,
        signingKeys: found.signing.size,
        withoutEscrow: held.length - found.signing.size,
      };
    },
    async escrow() {
      const made: EscrowRecord[] = [];
      for (const recovery of recoveries()) made.push(...(await escrowsFor(recovery)));
      if (made.length > 0) records.append(made);
      return made.length;
    },
  };
}

interface Recovered {
  readonly recovery: RecoveryRecord;
  /** Every epoch that it opens, the newest last; the caller wipes the keys. */
  readonly epochs: readonly { readonly record: EpochRecord; readonly key: Bytes }[];
  readonly signing: ReadonlyMap<string, Bytes>;
}

/** What a recovery key opens in those records, each key tried. */
async function openWith(
  crypto: Crypto,
  cipher: RecoveryCipher,
  identity: string,
  header: HeaderRecord,
  records: readonly KeyringRecord[],
): Promise<Recovered> {
  const recipient = await cipher.recipientOf(identity);
  const recovery = records.filter(isRecovery).findLast((one) => one.recipient === recipient);
  const newest = indexOf(records).epoch;
  if (recovery === undefined || newest === undefined) {
    throw new HoldfastError("recovery_key_unknown");
  }
  const latest = new Map(records.filter(isEpoch).map((one) => [one.id, one]));
  const epochs: { readonly record: EpochRecord; readonly key: Bytes }[] = [];
  for (const record of latest.values()) {
    const wrap = record.wraps.find(({ provider }) => provider === recovery.id);
    if (wrap === undefined) continue;
    const wrapped = fromBase64url(wrap.wrapped) ?? new Uint8Array(0);
    const key = await unwrapEpochWith(cipher, header, record.id, recovery, identity, wrapped);
    if (key === null) continue;
    checkedEpoch(crypto, record, Uint8Array.from(key));
    epochs.push({ record, key });
  }
  if (epochs.at(-1)?.record.id !== newest.id) throw new HoldfastError("recovery_key_unknown");
  const signing = await openEscrows(crypto, cipher, identity, header, recovery, records);
  return { recovery, epochs, signing };
}

async function openEscrows(
  crypto: Crypto,
  cipher: RecoveryCipher,
  identity: string,
  header: HeaderRecord,
  recovery: RecoveryRecord,
  records: readonly KeyringRecord[],
): Promise<ReadonlyMap<string, Bytes>> {
  const signing = new Map<string, Bytes>();
  const index = indexOf(records);
  for (const escrow of records.filter(isEscrow)) {
    if (escrow.recovery !== recovery.id) continue;
    const of = index.signing.get(escrow.incarnation)?.at(-1);
    if (of === undefined) continue;
    const sealed = fromBase64url(escrow.wrapped) ?? new Uint8Array(0);
    const key = await unwrapSigningWith(
      cipher,
      header,
      escrow.incarnation,
      recovery,
      identity,
      sealed,
    );
    if (key === null || !signs(crypto, of, key)) {
      throw new HoldfastError("keyring_corrupt", { record: "escrow" });
    }
    signing.set(escrow.incarnation, key);
  }
  return signing;
}

function signs(crypto: Crypto, { algorithm, spki }: SigningRecord, key: Uint8Array): boolean {
  const publicKey = fromBase64url(spki) ?? new Uint8Array(0);
  return crypto.verify(algorithm, publicKey, trial, crypto.signer(algorithm, key)(trial));
}

/** What {@link recoverKeyring} takes. */
export interface RecoverKeyringOptions {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly files: KeyringFiles;
  readonly recovery: RecoveryCipher;
  /** The recovery key: 24 words or an age identity. */
  readonly identity: string;
  /** The new way in; software providers that were there before lose theirs. Closed by the caller. */
  readonly provider: KeyProvider;
}

/**
 * Opens a keyring with a recovery key and gives it another provider, in one replacement of both copies: before it
 * the old passphrase opens, after it the new one. Answers what was recovered. Throws as
 * {@link KeyringRecovery.drill}, and what reading the copies throws.
 */
export async function recoverKeyring(
  options: RecoverKeyringOptions,
): Promise<{ readonly recovery: string; readonly signingKeys: number }> {
  const { crypto, random, files, recovery: cipher, identity, provider } = options;
  const copies = openCopies(crypto, files);
  const { header, records, unknown, damaged } = copies.load();
  if (unknown > 0) throw new HoldfastError("keyring_newer", { lines: unknown });
  if (damaged) copies.write([]);
  const found = await openWith(crypto, cipher, identity, header, records);
  const { signing } = found;
  const id = base64url(random.bytes(8));
  const lost = new Set(
    records.flatMap((one) =>
      one.kind === "provider" && one.name === provider.name ? [one.id] : [],
    ),
  );
  const file = header.file + 1;
  const epochs: EpochRecord[] = [];
  let epoch: Epoch | undefined;
  for (const { record, key } of found.epochs) {
    const wrapped = await provider.wrap(key, epochContext(header, record.id, id));
    const own = { provider: id, wrapped: base64url(wrapped) };
    epochs.push({
      ...record,
      wraps: [own, ...record.wraps.filter((one) => !lost.has(one.provider))],
    });
    epoch = checkedEpoch(crypto, record, key);
  }
  invariant(epoch !== undefined, "a recovery key opens the newest epoch");
  const moved: KeyringRecord[] = [];
  for (const [incarnation, key] of signing) {
    const record = indexOf(records).signing.get(incarnation)?.at(-1);
    if (record !== undefined && provider.adoptSigningKey !== undefined) {
      const ref = await provider.adoptSigningKey(key, record.algorithm);
      const { wrapped: _, epoch: __, ...fields } = record;
      moved.push(wrapRecord(random, epoch, { ...fields, file, provider: id }, ref));
    }
    wipe(key);
  }
  const isLost = (one: KeyringRecord): boolean =>
    one.kind === "signing" && lost.has(one.provider) && signing.has(one.incarnation);
  const kept = [...latestOf(records).values()].filter((one) => !isLost(one));
  const others = records.filter(
    (one) => isRecovery(one) || isEscrow(one) || (one.kind === "provider" && !lost.has(one.id)),
  );
  // A rotation of the epoch key goes on; one of a provider key is over, because both are lost.
  const rotation = indexOf(records).rotation;
  const line = { id, name: provider.name, parameters: provider.parameters };
  const next: readonly KeyringRecord[] = [
    { ...header, format: Math.max(header.format, keyringFormatOfRotation) },
    { kind: "provider", file, ...line },
    ...others,
    ...epochs,
    ...kept,
    ...moved,
    ...(rotation?.key === "epoch" ? [rotation] : []),
  ];
  copies.replace(next.map((record) => encodeRecord(crypto, { ...record, file })));
  return { recovery: found.recovery.id, signingKeys: signing.size };
}
