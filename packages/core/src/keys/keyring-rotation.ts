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
import { base64url, type Bytes } from "../std/bytes.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { createEpoch, createProviderKey, findNewKey, keptMark } from "./new-keys.ts";
import type { KeyProvider } from "./provider.ts";
import { latestOf } from "./record-index.ts";
import {
  encodeRecord,
  type HeaderRecord,
  keyringFormatOfRotation,
  type KeyringRecord,
  type RotationRecord,
} from "./record.ts";
import { createRotationCheck, type RotationCheck } from "./rotation-check.ts";
import { arriving, type OpenOne, putInPlace, replacedBy } from "./replacement.ts";
import type { RotationGround } from "./rotation-ground.ts";
import { createRotationSlices } from "./rotation-slices.ts";
import { newestEpochOf, refuseWhileRotating, remainingRecords } from "./rotation-records.ts";
import {
  isOver,
  isSwitched,
  mayRollBack,
  type RotationInput,
  type RotationState,
  stepRotation,
  workOf,
} from "./rotation.ts";

/** Was that provider's key replaced? It opens nothing any more, though its records may still be there. */
export function isRetired(records: readonly KeyringRecord[], provider: string): boolean {
  const last = records.findLast((record) => record.kind === "rotation");
  return last?.key === "provider" && isSwitched(last.phase) && last.from === provider;
}

/** The providers between which a key is being replaced, while the former one still counts. */
export function replacingOf(
  rotation: RotationState | undefined,
): { readonly from: string; readonly to: string } | undefined {
  return rotation?.key === "provider" && mayRollBack(rotation.phase) ? rotation : undefined;
}

/** Rotation of the keys that wrap a keyring. */
export interface KeyringRotation {
  /** The rotation that was begun last. */
  state(): RotationState | undefined;
  /**
   * Writes down that a rotation begins; with the lease held. A provider is that of the new provider key, and is
   * owned by the keyring from here on. Throws `rotation_under_way`, `keyring_corrupt` while a copy is damaged,
   * `keyring_newer` where a line is of a kind that this release would lose, `rotation_provider_missing`,
   * `key_assurance_low` for a provider that the policy does not let be used.
   */
  begin(key: "epoch" | KeyProvider): Promise<RotationState>;
  /** One slice of what can be done without the lease; `true`: there is more before `commit`. */
  prepare(): boolean;
  /** One durable step, with the lease held. Gives up what the process that ended cannot be continued without. */
  commit(): Promise<RotationState>;
  /** Brings both copies to the newest generation: a crash may have left the old one in one of them. */
  settle(): void;
}

/** In the format that has the kinds of rotation, or a later one. */
function raised(header: HeaderRecord): HeaderRecord {
  return { ...header, format: Math.max(header.format, keyringFormatOfRotation) };
}

/** Over the records of one open keyring. */
export function createKeyringRotation(ground: RotationGround): KeyringRotation {
  const { crypto, random, records, epochs } = ground;
  let incoming: OpenOne | undefined;
  const slices = createRotationSlices(ground);
  let check: RotationCheck | undefined;
  let failures = 0;

  const state = (): RotationRecord | undefined => records.index().rotation;
  const header = (): HeaderRecord => records.merged().header;

  function under(): RotationState {
    const found = state();
    invariant(found !== undefined && !isOver(found.phase), "a rotation is under way");
    return found;
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
    refuseWhileRotating(records.index());
    settle();
    const { damaged, unknown } = records.merged();
    if (damaged) throw new HoldfastError("keyring_corrupt", { record: "line" });
    if (unknown > 0) throw new HoldfastError("keyring_newer", { lines: unknown });
    // A provider that may not be used would leave the keyring with none once the old one is gone.
    if (key !== "epoch") ground.providers.assertAllowed(key);
    const current = newestEpochOf(records.durable());
    const from = key === "epoch" ? current.id : replacedBy(ground.providers, key);
    const to = base64url(random.bytes(key === "epoch" ? 16 : 8));
    if (key !== "epoch") incoming = { id: to, provider: key };
    const more: KeyringRecord[] = [];
    if (raised(header()).format > header().format) more.push(raised(header()));
    if (records.index().mark === undefined) more.push(await keptMark(ground, current));
    const id = base64url(random.bytes(8));
    const planned = { id, key: key === "epoch" ? key : "provider", phase: "planned" } as const;
    const record = recordOf({ ...planned, from, to, done: 0, total: 0 });
    records.append([...more, record]);
    failures = 0;
    return record;
  }

  async function create(of: RotationState): Promise<RotationState> {
    // A crash between the record and its phase: the key is there already.
    if (of.key === "epoch" && epochs.has(of.to)) return advance({ happened: "created" });
    if (of.key === "epoch") {
      const { epoch, record } = await createEpoch(ground, of);
      epochs.set(of.to, epoch);
      return advance({ happened: "created" }, [record]);
    }
    if (incoming === undefined) return giveUp(of);
    return advance({ happened: "created" }, await createProviderKey(ground, of, incoming));
  }

  async function find(of: RotationState): Promise<RotationState> {
    const here =
      of.key === "epoch" ? ground.providers.choose() : arriving(ground.providers, of, incoming);
    if (here === undefined) return giveUp(of);
    settle();
    await findNewKey(ground, of, here);
    return advance({ happened: "found" });
  }

  function switchOver(of: RotationState): RotationState {
    if (of.key === "provider" && arriving(ground.providers, of, incoming) === undefined)
      return giveUp(of);
    const after = advance({ happened: "switched" });
    if (of.key === "epoch") return after;
    putInPlace(ground.providers, of, incoming);
    incoming = undefined;
    return after;
  }

  function count(of: RotationState): RotationState {
    return advance({ happened: "counted", total: slices.count(of) });
  }

  function move(of: RotationState): RotationState {
    const taken = slices.take();
    // After a crash, what is left is counted anew: what was moved has its line.
    if (taken === undefined) return count(of);
    const { moved, left } = taken;
    const input = { happened: "moved", records: moved.length, left } as const;
    const after = advance(
      input,
      moved.map(({ to }) => to),
    );
    for (const { from, to } of moved) ground.renamed(from.wrapped, to.wrapped);
    return after;
  }

  function checked(of: RotationState): RotationState {
    const holds = check?.holds() ?? false;
    check = undefined;
    const left = slices.count(of);
    slices.forget();
    if (holds && left === 0) return advance({ happened: "checked", holds: true });
    failures += 1;
    if (failures > limits.rotationChecksMax) {
      throw new HoldfastError("keyring_corrupt", { record: "rotation" });
    }
    records.write();
    return advance({ happened: "checked", holds: false });
  }

  /** Replaces both copies by the next generation. */
  function replace(of: RotationState): void {
    records.flush();
    const file = header().file + 1;
    const kept = remainingRecords(records.durable(), of);
    const text = new Map<KeyringRecord, Bytes>();
    const next = [raised(header()), ...kept, recordOf(of)].map((record) => {
      const renewed = { ...record, file };
      text.set(renewed, slices.lineOf(record, file));
      return renewed;
    });
    records.replace(next, (record) => text.get(record) ?? encodeRecord(crypto, record));
    slices.forget();
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
        return slices.move(of);
      case "check": {
        const to = of.key === "epoch" ? of.to : records.epoch().id;
        if (check === undefined) {
          const latest = latestOf(records.durable());
          check = createRotationCheck({ ...ground, to, latest, whole: failures > 0 });
        }
        return check.step();
      }
      case "destroy":
        return slices.lines(of);
      default:
        return false;
    }
  }

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
