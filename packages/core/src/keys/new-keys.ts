/** The new keys of a rotation: made with every way in, and found again before they count. */
import { base64url, type Bytes, fromUtf8, wipe } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { copyNames } from "./copies.ts";
import {
  type Epoch,
  epochContext,
  epochOver,
  markKeyOf,
  type WithoutWrapped,
  wrapRecord,
} from "./epoch.ts";
import type { RotationGround } from "./rotation-ground.ts";
import type { KeyProvider } from "./provider.ts";
import { wrapEpochFor } from "./recovery-wraps.ts";
import {
  encodeRecord,
  type EpochRecord,
  type KeyringRecord,
  type MarkRecord,
  type SigningRecord,
  type WrappedRecord,
} from "./record.ts";
import { newestEpochOf } from "./rotation-records.ts";
import type { RotationState } from "./rotation.ts";
import { moveSigningKey, signsWith } from "./signing-keys.ts";
import { checkedEpoch, openEpochKey } from "./unlock.ts";

const headerOf = ({ records }: RotationGround) => records.merged().header;

/** The raw epoch key, through the provider in use. The caller wipes it. */
export async function epochKeyOf(ground: RotationGround, record: EpochRecord): Promise<Bytes> {
  const { id, provider } = ground.providers.choose();
  const key = await openEpochKey(provider, headerOf(ground), id, record);
  if (key === null) throw new HoldfastError("key_provider_unavailable", { provider: id });
  return key;
}

/** The mark's key outlives the epoch key that it came from: every mark stays authentic. */
export async function keptMark(ground: RotationGround, current: EpochRecord): Promise<MarkRecord> {
  const { crypto, random, records } = ground;
  const epochKey = await epochKeyOf(ground, current);
  const markKey = markKeyOf(crypto, epochKey);
  wipe(epochKey);
  try {
    const fields = { kind: "mark", file: headerOf(ground).file } as const;
    return wrapRecord(random, records.epoch(), fields, markKey) as MarkRecord;
  } finally {
    wipe(markKey);
  }
}

/** A new epoch key and its record. Throws `rotation_provider_missing`. */
export async function createEpoch(
  ground: RotationGround,
  of: RotationState,
): Promise<{ readonly epoch: Epoch; readonly record: EpochRecord }> {
  const { crypto, random, records } = ground;
  const epochKey = random.bytes(32);
  try {
    const wraps: EpochRecord["wraps"][number][] = [];
    for (const { provider } of newestEpochOf(records.durable(), of.from).wraps) {
      const wrapped = base64url(await wrapFor(ground, provider, of.to, epochKey));
      wraps.push({ provider, wrapped });
    }
    const epoch = epochOver(crypto, of.to, epochKey);
    const { file } = headerOf(ground);
    const check = base64url(epoch.check);
    return { epoch, record: { kind: "epoch", file, id: of.to, wraps, check } };
  } finally {
    wipe(epochKey);
  }
}

/** Every way in leads into the new epoch, too: one that cannot be used now would be lost. */
async function wrapFor(
  ground: RotationGround,
  id: string,
  epoch: string,
  epochKey: Bytes,
): Promise<Bytes> {
  const header = headerOf(ground);
  const provider = ground.providers.get(id);
  if (provider !== undefined) return provider.wrap(epochKey, epochContext(header, epoch, id));
  const recovery = ground.records
    .durable()
    .findLast((record) => record.kind === "recovery" && record.id === id);
  if (recovery?.kind !== "recovery" || ground.recovery === undefined) {
    throw new HoldfastError("rotation_provider_missing", { provider: id });
  }
  return wrapEpochFor(ground.recovery, header, epoch, recovery, epochKey);
}

/** The records of a new provider key: the provider, signing keys that move, and last the epoch's new wraps. */
export async function createProviderKey(
  ground: RotationGround,
  of: RotationState,
  incoming: { readonly id: string; readonly provider: KeyProvider },
): Promise<readonly KeyringRecord[]> {
  const { id, provider } = incoming;
  const header = headerOf(ground);
  const newest = newestEpochOf(ground.records.durable());
  const epochKey = await epochKeyOf(ground, newest);
  const wraps = [...newest.wraps];
  try {
    const wrapped = await provider.wrap(epochKey, epochContext(header, newest.id, id));
    wraps.push({ provider: id, wrapped: base64url(wrapped) });
  } finally {
    wipe(epochKey);
  }
  const { file } = header;
  const line = { id, name: provider.name, parameters: provider.parameters };
  const signing = await movedSigningKeys(ground, of, id, provider);
  // The epoch record last: without it the new provider opens nothing.
  return [{ kind: "provider", file, ...line }, ...signing, { ...newest, file, wraps }];
}

/** Signing keys that the old provider lets go of, under the new one. Others stay where they are. */
async function movedSigningKeys(
  ground: RotationGround,
  of: RotationState,
  id: string,
  provider: KeyProvider,
): Promise<readonly WrappedRecord[]> {
  const { epochs, records, random } = ground;
  const moved: WrappedRecord[] = [];
  const former = ground.providers.get(of.from);
  if (former === undefined) {
    throw new HoldfastError("rotation_provider_missing", { provider: of.from });
  }
  for (const held of records.index().signing.values()) {
    const record = held.find((one) => one.provider === of.from);
    if (record === undefined) continue;
    const ref = await moveSigningKey(epochs, record, former, provider);
    if (ref === undefined) continue;
    const { wrapped: _, epoch: __, ...rest } = record;
    const { file } = headerOf(ground);
    const fields: WithoutWrapped<SigningRecord> = { ...rest, file, provider: id };
    moved.push(wrapRecord(random, records.epoch(), fields, ref));
  }
  return moved;
}

/**
 * The new key is in both copies, and everything under it opens and signs. Throws `keyring_corrupt`: then it never
 * becomes current.
 */
export async function findNewKey(
  ground: RotationGround,
  of: RotationState,
  { id, provider }: { readonly id: string; readonly provider: KeyProvider },
): Promise<void> {
  const { crypto, epochs, records, copies } = ground;
  const newest = newestEpochOf(records.durable(), of.key === "epoch" ? of.to : undefined);
  const line = fromUtf8(encodeRecord(crypto, newest));
  for (const name of copyNames) {
    if (fromUtf8(copies.text(name)).includes(line)) continue;
    throw new HoldfastError("keyring_corrupt", { record: "epoch", copy: name });
  }
  const opened = await openEpochKey(provider, headerOf(ground), id, newest);
  if (opened === null) throw new HoldfastError("keyring_corrupt", { record: "epoch" });
  checkedEpoch(crypto, newest, opened);
  if (of.key === "epoch") return;
  for (const held of records.index().signing.values()) {
    const record = held.find((one) => one.provider === of.to);
    if (record === undefined || (await signsWith(crypto, epochs, record, provider))) continue;
    throw new HoldfastError("keyring_corrupt", { record: "signing" });
  }
}
