/**
 * Shredding in the keyring: every data key of a scope and section class goes, in all generations, own and granted, by
 * a rewrite of both copies to a higher generation; a record of what was shredded stays. From then on no such key is
 * made or taken in, and a backup from before is put back without what it opened.
 */
import { HoldfastError } from "../std/errors.ts";
import { unwrapRecord, wrapRecord } from "./epoch.ts";
import type { RotationGround } from "./rotation-ground.ts";
import { shredIn } from "./record-index.ts";
import { rewriteKeyring } from "./generations.ts";
import {
  keyringFormat,
  type DataKeyRecord,
  type KeyringRecord,
  type ShredRecord,
} from "./record.ts";

/** What is to be shredded, and was. */
export interface ShreddedKeys {
  readonly scope: string;
  /** Section class; absent: all. */
  readonly section?: string;
  readonly shred: string;
  /** Leaf of the event that put it in force. */
  readonly leaf: string;
}

/** A shred as the keyring remembers it. */
export interface KeyringShred extends ShreddedKeys {
  /** Is the epoch closed that its keys were under? */
  readonly isEpochClosed: boolean;
  /** Public half (base64url) of the HPKE key that its keys may have been granted to; absent: none was, or it is gone. */
  readonly hpke?: string;
}

/** Shredding in one keyring. */
export interface KeyringShreds {
  /** What was shredded. Throws `keyring_corrupt` where a record was not written by a holder of the epoch key. */
  list(): readonly KeyringShred[];
  /** Throws as {@link KeyringShreds.list}. */
  isShredded(scope: string, section: string): boolean;
  /** Throws `scope_shredded` where keys of that scope and section class are destroyed for good. */
  refuse(scope: string, section: string): void;
  /**
   * Destroys the keys, in both copies; durable when it returns. `isComing`: keys of it may be on their way to this
   * installation. Done before: nothing. Throws `keyring_newer`, `keyring_corrupt`, `rotation_under_way`.
   */
  destroy(shreds: readonly ShreddedKeys[], isComing: (shred: ShreddedKeys) => boolean): void;
}

/** Over the records of one open keyring; `gone` hears of wrapped keys that are no more. */
export function createKeyringShreds(
  ground: Pick<RotationGround, "crypto" | "random" | "records" | "epochs">,
  gone: (wrapped: string) => void,
): KeyringShreds {
  const { random, records, epochs } = ground;
  // By what is wrapped: a record that is read again was opened before.
  const opened = new Set<string>();
  /** Throws `keyring_corrupt` for what no holder of the epoch key has written. */
  const genuine = (one: ShredRecord): ShredRecord => {
    const name = JSON.stringify(one);
    if (opened.has(name)) return one;
    unwrapRecord(epochs, one, 0);
    opened.add(name);
    return one;
  };
  const held = (): readonly ShredRecord[] => [...records.index().shreds.values()].map(genuine);
  const hpkeKeys = (): ReadonlySet<string> =>
    new Set(records.durable().flatMap((one) => (one.kind === "hpke" ? [one.public] : [])));

  const isShredded = (scope: string, section: string): boolean => {
    const found = shredIn(records.index(), scope, section);
    if (found === undefined) return false;
    genuine(found);
    return true;
  };

  return {
    list() {
      const present = hpkeKeys();
      const epochs = new Set(
        records.durable().flatMap((one) => (one.kind === "epoch" ? [one.id] : [])),
      );
      return held().map(({ scope, section, shred, leaf, closes, hpke }) => ({
        scope,
        ...(section !== undefined && { section }),
        shred,
        leaf,
        isEpochClosed: !epochs.has(closes),
        ...(hpke !== undefined && present.has(hpke) && { hpke }),
      }));
    },
    isShredded,
    refuse(scope, section) {
      if (isShredded(scope, section)) throw new HoldfastError("scope_shredded", { scope, section });
    },
    destroy(shreds, isComing) {
      records.refresh();
      const meant = (one: DataKeyRecord, by: ShreddedKeys): boolean =>
        one.scope === by.scope && (by.section === undefined || one.section === by.section);
      const byScope = Map.groupBy(shreds, ({ scope }) => scope);
      const data = records.durable().filter((one) => one.kind === "data");
      const left = data.filter((one) => byScope.get(one.scope)?.some((by) => meant(one, by)));
      const granted = left.filter(({ origin }) => origin === "grant");
      const known = new Set(held().map(({ scope, section = "" }) => `${scope}/${section}`));
      const fresh = shreds.filter(({ scope, section = "" }) => !known.has(`${scope}/${section}`));
      if (left.length === 0 && fresh.length === 0) return;
      const { file } = records.merged().header;
      const made = fresh.map((by): KeyringRecord => {
        const wasGranted = isComing(by) || granted.some((one) => meant(one, by));
        const hpke = wasGranted ? records.index().hpke?.public : undefined;
        const { scope, section, shred, leaf } = by;
        return wrapRecord(
          random,
          records.epoch(),
          {
            kind: "shred",
            file,
            scope,
            ...(section !== undefined && { section }),
            shred,
            leaf,
            closes: records.epoch().id,
            ...(hpke !== undefined && { hpke }),
          },
          new Uint8Array(0),
        );
      });
      const isLeft = new Set<KeyringRecord>(left);
      rewriteKeyring(ground, (one) => !isLeft.has(one), { more: made, format: keyringFormat });
      for (const { wrapped } of left) gone(wrapped);
    },
  };
}
