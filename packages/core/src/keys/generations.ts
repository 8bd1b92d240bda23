/** Keys of a keyring that get successors: generations of data keys, signing keys, HPKE keys; and their ends. */
import { base64url, type Bytes, wipe } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { type Epoch, unwrapRecord, wrapRecord } from "./epoch.ts";
import type { KeyringRecords } from "./keyring-records.ts";
import { latestOf, ownKey, wrappedName } from "./record-index.ts";
import { type DataKeyRecord, encodeRecord, type KeyringRecord } from "./record.ts";
import { refuseWhileRotating } from "./rotation-records.ts";
import type { Crypto, Random } from "../std/ports.ts";

/** Key id → generation. */
export type Generations = Readonly<Record<string, number>>;

/** What a keyring does with keys and their successors. */
export interface KeyGenerations {
  /**
   * The generation that comes next for each own key of those scopes. All keys of one scope and section class come
   * to the same number, so that the one that seals goes on to seal.
   */
  nextGenerations(concerns: (scope: string) => boolean): Generations;
  /** Makes those that are not there; durable in both copies when it returns. */
  addGenerations(generations: Generations): void;
  /** Removes every generation below, by replacing both copies; durable when it returns. */
  destroyGenerations(generations: Generations): void;
  /** Destroys the private halves of all signing keys but that incarnation's; their public halves stay. */
  retireSigningKeys(except: string): void;
  /** A new HPKE key, durable; its public half, base64url. The former ones open until they are retired. */
  addHpkeKey(): string;
  /** Is there an HPKE key besides the present one? */
  readonly hasFormerHpkeKeys: boolean;
  /** The private half of that HPKE key, which the caller wipes. */
  hpkePrivateKey(publicKey: Uint8Array): Bytes | undefined;
  /** Destroys every HPKE key but the present one. */
  retireHpkeKeys(): void;
}

const keyBytes = 32;

/** Over the records of one open keyring. */
export function createGenerations(deps: {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly records: KeyringRecords;
  readonly epochs: ReadonlyMap<string, Epoch>;
}): KeyGenerations {
  const { crypto, random, records, epochs } = deps;
  const rewrite = (stays: (one: KeyringRecord) => boolean): void => {
    rewriteKeyring(deps, stays);
  };

  /** The newest record of each own key, those that seal last. */
  function ownKeys(): readonly DataKeyRecord[] {
    const { data, own } = records.index();
    const newest: DataKeyRecord[] = [];
    for (const generations of data.values()) {
      const record = generations.get(Math.max(...generations.keys()));
      if (record?.origin === "own") newest.push(record);
    }
    const seals = ({ id, scope, section }: DataKeyRecord): boolean =>
      own.get(ownKey(scope, section))?.id === id;
    return [...newest.filter((one) => !seals(one)), ...newest.filter(seals)];
  }

  return {
    nextGenerations(concerns) {
      const own = ownKeys().filter(({ scope }) => concerns(scope));
      const highest = new Map<string, number>();
      for (const { scope, section, generation } of own) {
        const pair = ownKey(scope, section);
        highest.set(pair, Math.max(generation, highest.get(pair) ?? 0));
      }
      return Object.fromEntries(
        own.map(({ id, scope, section }) => [id, (highest.get(ownKey(scope, section)) ?? 0) + 1]),
      );
    },
    addGenerations(generations) {
      records.refresh();
      const { file } = records.merged().header;
      for (const { id, scope, section } of ownKeys()) {
        const generation = generations[id];
        if (generation === undefined) continue;
        if (records.index().data.get(id)?.has(generation) === true) continue;
        const key = random.bytes(keyBytes);
        records.stage({ kind: "data", file, id, scope, section, generation, origin: "own" }, key);
        wipe(key);
      }
      records.flush();
    },
    destroyGenerations(generations) {
      rewrite((one) => one.kind !== "data" || one.generation >= (generations[one.id] ?? 0));
    },
    retireSigningKeys(except) {
      const retired = records.durable().flatMap((one) => {
        if (one.kind !== "signing" || one.incarnation === except) return [];
        const { wrapped: _, epoch: __, ...fields } = one;
        // An empty reference: no provider takes it for one of its own.
        return [wrapRecord(random, records.epoch(), fields, new Uint8Array(0))];
      });
      records.append(retired);
      rewrite((one) => one.kind !== "escrow" || one.incarnation === except);
    },
    addHpkeKey() {
      const key = random.bytes(keyBytes);
      const own = base64url(crypto.x25519PublicKey(key));
      records.add({ kind: "hpke", file: records.merged().header.file, public: own }, key);
      wipe(key);
      return own;
    },
    get hasFormerHpkeKeys() {
      const present = records.index().hpke?.public;
      return records.durable().some((one) => one.kind === "hpke" && one.public !== present);
    },
    hpkePrivateKey(publicKey) {
      const name = base64url(publicKey);
      const record = records
        .durable()
        .findLast((one) => one.kind === "hpke" && one.public === name);
      return record?.kind === "hpke" ? unwrapRecord(epochs, record, keyBytes) : undefined;
    },
    retireHpkeKeys() {
      const present = records.index().hpke?.public;
      rewrite((one) => one.kind !== "hpke" || one.public === present);
    },
  };
}

/**
 * Both copies anew, of the last wrap of each key, without those that go and with those that come. Throws
 * `keyring_newer`, `keyring_corrupt`, `rotation_under_way`.
 */
export function rewriteKeyring(
  { crypto, records }: { readonly crypto: Crypto; readonly records: KeyringRecords },
  stays: (one: KeyringRecord) => boolean,
  { more = [], format = 0 }: { more?: readonly KeyringRecord[]; format?: number } = {},
): void {
  records.flush();
  const { header, unknown, damaged } = records.merged();
  if (unknown > 0) throw new HoldfastError("keyring_newer", { lines: unknown });
  if (damaged) throw new HoldfastError("keyring_corrupt", { record: "line" });
  refuseWhileRotating(records.index());
  const file = header.file + 1;
  const last = new Set<KeyringRecord>(latestOf(records.durable()).values());
  const kept = records
    .durable()
    .filter((one) => (wrappedName(one) === undefined || last.has(one)) && stays(one));
  records.replace(
    [...kept, ...more].map((one) =>
      one.kind === "keyring"
        ? { ...one, file, format: Math.max(one.format, format) }
        : { ...one, file },
    ),
    (record) => encodeRecord(crypto, record),
  );
}
