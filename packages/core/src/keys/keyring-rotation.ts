/**
 * Rotation of the epoch key and of provider keys within one keyring: what the machine of `rotation.ts` asks for,
 * done to the records.
 *
 * `prepare` works in slices of about a millisecond and changes nothing durable; `commit` makes one step durable
 * and is called with the store's lease held, so that appends go on between two slices and between two chunks.
 * Old and new records stand in one file until the old key goes: the last line of a name counts, both keys are
 * open, and a crash leaves a file that opens. Destroying replaces both copies by a new generation of the file,
 * in which nothing is wrapped under the old key.
 *
 * A provider key is current from the phase `primary` on, which is written only after both copies were read back
 * and the new provider has opened the epoch key and signed with every signing key: from then on the old
 * passphrase opens nothing (`isRetired`). Before that the old one goes on, and what the new one had is removed.
 */
import { base64url, type Bytes, fromUtf8, wipe } from "../std/bytes.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Crypto, Random } from "../std/ports.ts";
import type { Copies } from "./copies.ts";
import { copyNames } from "./copies.ts";
import {
  type Epoch,
  epochContext,
  epochOver,
  markKeyOf,
  rewrapRecord,
  wrapRecord,
} from "./epoch.ts";
import type { KeyringRecords } from "./keyring-records.ts";
import type { KeyProvider } from "./provider.ts";
import { latestOf } from "./record-index.ts";
import type { RecoveryCipher } from "./recovery-cipher.ts";
import { wrapEpochFor } from "./recovery-wraps.ts";
import {
  encodeRecord,
  type EpochRecord,
  type HeaderRecord,
  keyringFormat,
  type KeyringRecord,
  type RotationRecord,
  type SigningRecord,
  type WrappedRecord,
} from "./record.ts";
import { createRotationCheck, type RotationCheck } from "./rotation-check.ts";
import {
  isOver,
  isSwitched,
  mayRollBack,
  type RotationInput,
  type RotationState,
  stepRotation,
  workOf,
} from "./rotation.ts";
import { moveSigningKey, signsWith } from "./signing-keys.ts";
import { checkedEpoch, openEpochKey } from "./unlock.ts";

/** Was that provider's key replaced? It opens nothing any more, though its records may still be there. */
export function isRetired(records: readonly KeyringRecord[], provider: string): boolean {
  const last = records.findLast((record) => record.kind === "rotation");
  return last?.key === "provider" && isSwitched(last.phase) && last.from === provider;
}

/** Rotation of the keys that wrap a keyring. */
export interface KeyringRotation {
  /** The rotation that was begun last. */
  state(): RotationState | undefined;
  /**
   * Writes down that a rotation begins; with the lease held. A provider is that of the new provider key, and is
   * owned by the keyring from here on. Throws `rotation_under_way`, `keyring_corrupt` while a copy is damaged,
   * `keyring_newer` where a line is of a kind that this release would lose, `rotation_provider_missing`.
   */
  begin(key: "epoch" | KeyProvider): Promise<RotationState>;
  /** One slice of what can be done without the lease; `true`: there is more before `commit`. */
  prepare(): boolean;
  /** One durable step, with the lease held. Gives up what the process that ended cannot be continued without. */
  commit(): Promise<RotationState>;
  /** Brings both copies to the newest generation: a crash may have left the old one in one of them. */
  settle(): void;
}

/** What rotation works on. */
export interface RotationGround {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly copies: Copies;
  readonly records: KeyringRecords;
  readonly epochs: Map<string, Epoch>;
  readonly recovery?: RecoveryCipher | undefined;
  /** The provider in use, and any other that is open. */
  current(): { readonly id: string; readonly provider: KeyProvider };
  providerOf(id: string): KeyProvider | undefined;
  /** Uses another provider from now on; the former one is closed. */
  adopt(id: string, provider: KeyProvider): void;
  /** A wrapped key has another text. */
  renamed(before: string, after: string): void;
}

interface Chunk {
  queue: readonly WrappedRecord[];
  next: number;
  readonly moved: { readonly from: WrappedRecord; readonly to: WrappedRecord }[];
}

const slice = 16;

/** Over the records of one open keyring. */
export function createKeyringRotation(ground: RotationGround): KeyringRotation {
  const { crypto, random, records, epochs } = ground;
  let incoming: { readonly id: string; readonly provider: KeyProvider } | undefined;
  let chunk: Chunk | undefined;
  let check: RotationCheck | undefined;
  let failures = 0;
  const lines = new Map<KeyringRecord, Bytes>();

  const state = (): RotationRecord | undefined => records.index().rotation;
  const header = (): HeaderRecord => records.merged().header;

  function under(): RotationState {
    const found = state();
    invariant(found !== undefined && !isOver(found.phase), "a rotation is under way");
    return found;
  }

  function epochOf(id: string): Epoch {
    const epoch = epochs.get(id);
    if (epoch === undefined) throw new HoldfastError("keyring_record_missing", { record: "epoch" });
    return epoch;
  }

  function newestEpoch(id?: string): EpochRecord {
    const found = records
      .durable()
      .findLast((one) => one.kind === "epoch" && (id === undefined || one.id === id));
    if (found === undefined) throw new HoldfastError("keyring_record_missing", { record: "epoch" });
    return found as EpochRecord;
  }

  /** The raw epoch key, through the provider in use. The caller wipes it. */
  async function epochKeyOf(record: EpochRecord): Promise<Bytes> {
    const { id, provider } = ground.current();
    const key = await openEpochKey(provider, header(), id, record);
    if (key === null) throw new HoldfastError("key_provider_unavailable", { provider: id });
    return key;
  }

  function recordOf(of: RotationState): RotationRecord {
    const { id, key, phase, from, to, done, total } = of;
    return { kind: "rotation", file: header().file, id, key, phase, from, to, done, total };
  }

  /** The step, written down with what belongs to it. */
  function advance(input: RotationInput, more: readonly KeyringRecord[] = []): RotationState {
    const before = under();
    const after = stepRotation(before, input);
    records.append([...more, recordOf(after)]);
    return after;
  }

  async function begin(key: "epoch" | KeyProvider): Promise<RotationState> {
    records.refresh();
    const last = state();
    if (last !== undefined && !isOver(last.phase)) throw new HoldfastError("rotation_under_way");
    settle();
    const { damaged, unknown } = records.merged();
    if (damaged) throw new HoldfastError("keyring_corrupt", { record: "line" });
    if (unknown > 0) throw new HoldfastError("keyring_newer", { lines: unknown });
    const current = newestEpoch();
    const from = key === "epoch" ? current.id : ground.current().id;
    const to = base64url(random.bytes(key === "epoch" ? 16 : 8));
    if (key !== "epoch") incoming = { id: to, provider: key };
    const more: KeyringRecord[] = [];
    if (header().format < keyringFormat) more.push({ ...header(), format: keyringFormat });
    if (records.index().mark === undefined) more.push(await keptMark(current));
    const id = base64url(random.bytes(8));
    const planned = { id, key: key === "epoch" ? key : "provider", phase: "planned" } as const;
    const record = recordOf({ ...planned, from, to, done: 0, total: 0 });
    records.append([...more, record]);
    failures = 0;
    return record;
  }

  /** The mark's key outlives the epoch key that it came from: every mark stays authentic. */
  async function keptMark(current: EpochRecord): Promise<WrappedRecord> {
    const epochKey = await epochKeyOf(current);
    const markKey = markKeyOf(crypto, epochKey);
    wipe(epochKey);
    try {
      const fields = { kind: "mark", file: header().file } as const;
      return wrapRecord(random, epochOf(current.id), fields, markKey);
    } finally {
      wipe(markKey);
    }
  }

  async function create(of: RotationState): Promise<RotationState> {
    if (of.key === "epoch") return createEpoch(of);
    if (incoming === undefined) return giveUp(of);
    const { id, provider } = incoming;
    const newest = newestEpoch();
    const epochKey = await epochKeyOf(newest);
    const context = epochContext(header(), newest.id, id);
    const wrapped = await provider.wrap(epochKey, context);
    wipe(epochKey);
    const { file } = header();
    const line = { id, name: provider.name, parameters: provider.parameters };
    const wraps = [...newest.wraps, { provider: id, wrapped: base64url(wrapped) }];
    const signing = await movedSigningKeys(of, id, provider);
    // The epoch record last: without it the new provider opens nothing.
    return advance({ happened: "created" }, [
      { kind: "provider", file, ...line },
      ...signing,
      { ...newest, file, wraps },
    ]);
  }

  /** Signing keys that the old provider lets go of, under the new one. Others stay where they are. */
  async function movedSigningKeys(
    of: RotationState,
    id: string,
    provider: KeyProvider,
  ): Promise<readonly SigningRecord[]> {
    const moved: SigningRecord[] = [];
    for (const held of records.index().signing.values()) {
      const record = held.find((one) => one.provider === of.from);
      if (record === undefined) continue;
      const ref = await moveSigningKey(epochs, record, ground.current().provider, provider);
      if (ref === undefined) continue;
      const { wrapped: _, epoch: __, ...fields } = record;
      const { file } = header();
      moved.push(
        wrapRecord(
          random,
          records.epoch(),
          { ...fields, file, provider: id },
          ref,
        ) as SigningRecord,
      );
    }
    return moved;
  }

  async function createEpoch(of: RotationState): Promise<RotationState> {
    // A crash between the record and its phase: the key is there already.
    if (epochs.has(of.to)) return advance({ happened: "created" });
    const epochKey = random.bytes(32);
    const wraps: EpochRecord["wraps"][number][] = [];
    for (const { provider } of newestEpoch(of.from).wraps) {
      wraps.push({ provider, wrapped: base64url(await wrapFor(provider, of.to, epochKey)) });
    }
    const epoch = epochOver(crypto, of.to, epochKey);
    epochs.set(of.to, epoch);
    const { file } = header();
    const check = base64url(epoch.check);
    return advance({ happened: "created" }, [{ kind: "epoch", file, id: of.to, wraps, check }]);
  }

  /** Every way in leads into the new epoch, too: one that cannot be used now would be lost. */
  async function wrapFor(id: string, epoch: string, epochKey: Bytes): Promise<Bytes> {
    const provider = ground.providerOf(id);
    if (provider !== undefined) return provider.wrap(epochKey, epochContext(header(), epoch, id));
    const recovery = records
      .durable()
      .findLast((record) => record.kind === "recovery" && record.id === id);
    if (recovery?.kind !== "recovery" || ground.recovery === undefined) {
      throw new HoldfastError("rotation_provider_missing", { provider: id });
    }
    return wrapEpochFor(ground.recovery, header(), epoch, recovery, epochKey);
  }

  /** The new key is in both copies, and its wraps open. */
  async function find(of: RotationState): Promise<RotationState> {
    const [id, provider] =
      of.key === "epoch"
        ? [ground.current().id, ground.current().provider]
        : [of.to, incoming?.provider ?? ground.providerOf(of.to)];
    if (provider === undefined) return giveUp(of);
    const newest = newestEpoch(of.key === "epoch" ? of.to : undefined);
    settle();
    const line = fromUtf8(encodeRecord(crypto, newest));
    for (const name of copyNames) {
      if (fromUtf8(ground.copies.text(name)).includes(line)) continue;
      throw new HoldfastError("keyring_corrupt", { record: "epoch", copy: name });
    }
    const opened = await openEpochKey(provider, header(), id, newest);
    if (opened === null) throw new HoldfastError("keyring_corrupt", { record: "epoch" });
    checkedEpoch(crypto, newest, opened);
    if (of.key === "provider") await checkSigningKeys(of, provider);
    return advance({ happened: "found" });
  }

  async function checkSigningKeys(of: RotationState, provider: KeyProvider): Promise<void> {
    for (const held of records.index().signing.values()) {
      const record = held.find((one) => one.provider === of.to);
      if (record === undefined || (await signsWith(crypto, epochs, record, provider))) continue;
      throw new HoldfastError("keyring_corrupt", { record: "signing" });
    }
  }

  function switchOver(of: RotationState): RotationState {
    const isHere = of.key === "epoch" || incoming !== undefined || ground.current().id === of.to;
    if (!isHere) return giveUp(of);
    const after = advance({ happened: "switched" });
    if (of.key === "provider" && incoming !== undefined)
      ground.adopt(incoming.id, incoming.provider);
    incoming = undefined;
    return after;
  }

  function queueOf(of: RotationState): Chunk {
    const to = of.key === "epoch" ? of.to : records.epoch().id;
    const queue = [...latestOf(records.durable()).values()].filter(({ epoch }) => epoch !== to);
    return { queue, next: 0, moved: [] };
  }

  function count(of: RotationState): RotationState {
    chunk = queueOf(of);
    return advance({ happened: "counted", total: chunk.queue.length });
  }

  function move(of: RotationState): RotationState {
    // After a crash, what is left is counted anew: what was moved has its line.
    if (chunk === undefined) return count(of);
    const { queue, next, moved } = chunk;
    const left = queue.length - next;
    const after = advance(
      { happened: "moved", records: moved.length, left },
      moved.map(({ to }) => to),
    );
    for (const { from, to } of moved) ground.renamed(from.wrapped, to.wrapped);
    moved.length = 0;
    return after;
  }

  function checked(of: RotationState): RotationState {
    const holds = check?.holds() ?? false;
    check = undefined;
    chunk = undefined;
    const left = queueOf(of).queue.length;
    if (holds && left === 0) return advance({ happened: "checked", holds: true });
    failures += 1;
    if (failures > limits.rotationChecksMax) {
      throw new HoldfastError("keyring_corrupt", { record: "rotation" });
    }
    records.write();
    return advance({ happened: "checked", holds: false });
  }

  /** Everything of the new generation, under the new key alone. */
  function remaining(of: RotationState): readonly KeyringRecord[] {
    const gone = of.phase === "rolled-back" ? of.to : of.from;
    const stays = of.phase === "rolled-back" ? of.from : of.to;
    const wrapped = [...latestOf(records.durable()).values()];
    const moved = new Set(
      wrapped.flatMap((one) =>
        one.kind === "signing" && one.provider === stays ? [one.incarnation] : [],
      ),
    );
    const isGone = (one: WrappedRecord): boolean =>
      of.key === "provider" &&
      one.kind === "signing" &&
      one.provider === gone &&
      moved.has(one.incarnation);
    const newest = newestEpoch(of.key === "epoch" ? of.to : undefined);
    const wraps = newest.wraps.filter(({ provider }) => of.key === "epoch" || provider !== gone);
    const others = records.durable().filter((one) => {
      if (one.kind === "provider") return of.key === "epoch" || one.id !== gone;
      return one.kind === "recovery" || one.kind === "escrow";
    });
    return [...others, { ...newest, wraps }, ...wrapped.filter((one) => !isGone(one))];
  }

  function lineOf(record: KeyringRecord, file: number): Bytes {
    const made = lines.get(record) ?? encodeRecord(crypto, { ...record, file });
    return made;
  }

  /** Replaces both copies by the next generation. */
  function replace(of: RotationState): void {
    records.flush();
    const file = header().file + 1;
    const kept = remaining(of);
    if (of.key === "epoch") {
      const strays = kept.filter((one) => "epoch" in one && one.epoch !== of.to);
      invariant(strays.length === 0, "nothing is under the old key when it is destroyed");
    }
    const text = new Map<KeyringRecord, Bytes>();
    const next = [{ ...header(), format: keyringFormat }, ...kept, recordOf(of)].map((record) => {
      const renewed = { ...record, file };
      text.set(renewed, lineOf(record, file));
      return renewed;
    });
    records.replace(next, (record) => text.get(record) ?? encodeRecord(crypto, record));
    lines.clear();
  }

  function destroy(of: RotationState): RotationState {
    const after = stepRotation(of, { happened: "destroyed" });
    replace(after);
    if (of.key === "epoch") {
      for (const id of epochs.keys()) if (id !== of.to) epochs.delete(id);
    }
    return after;
  }

  function giveUp(of: RotationState): RotationState {
    invariant(mayRollBack(of.phase), "a key that is current is not given up");
    const after = stepRotation(of, { happened: "given-up" });
    replace(after);
    incoming = undefined;
    return after;
  }

  function settle(): void {
    if (records.merged().findings.length > 0) records.write();
  }

  function prepare(): boolean {
    const of = state();
    if (of === undefined || isOver(of.phase)) return false;
    switch (workOf(of)) {
      case "move":
        return prepareMove(of);
      case "check": {
        const to = of.key === "epoch" ? of.to : records.epoch().id;
        check ??= createRotationCheck({ ...ground, to, latest: latestOf(records.durable()) });
        return check.step();
      }
      case "destroy":
        return prepareLines(of);
      default:
        return false;
    }
  }

  function prepareMove(of: RotationState): boolean {
    if (chunk === undefined) return false;
    const to = epochOf(of.to);
    const { queue, moved } = chunk;
    for (let made = 0; made < slice && chunk.next < queue.length; made++) {
      const from = queue[chunk.next++] as WrappedRecord;
      const record = { ...from, file: header().file };
      moved.push({ from, to: rewrapRecord(random, epochs, to, record) });
    }
    return chunk.next < queue.length && moved.length < limits.rotationChunkRecords;
  }

  /** Lines of the next generation, ahead of the moment when everybody waits for them. */
  function prepareLines(of: RotationState): boolean {
    const file = header().file + 1;
    if (lines.size === 0) pendingLines = remaining(of);
    let made = 0;
    for (; lines.size < pendingLines.length && made < slice * 2; made++) {
      const record = pendingLines[lines.size] as KeyringRecord;
      lines.set(record, encodeRecord(crypto, { ...record, file }));
    }
    return lines.size < pendingLines.length;
  }
  let pendingLines: readonly KeyringRecord[] = [];

  async function commit(): Promise<RotationState> {
    records.refresh();
    const of = under();
    switch (workOf(of)) {
      case "create":
        return create(of);
      case "find":
        return find(of);
      case "switch":
        return switchOver(of);
      case "count":
        return count(of);
      case "move":
        return move(of);
      case "check":
        return checked(of);
      case "destroy":
        return destroy(of);
      case "nothing":
        return of;
      default:
        return of;
    }
  }

  return { state, begin, prepare, commit, settle };
}
