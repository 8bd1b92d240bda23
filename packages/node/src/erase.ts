/**
 * Erasing the store of a device: its keys first, then its files, verified afterwards, with a certificate.
 *
 * It needs a {@link Release} as every destructive act does. Reason and actor are recorded in the store before anything
 * is touched, and the audit trail, redacted, is written outside it. From then on a plan in the state folder
 * (`erase-plan-file.ts`) says how far the erase got: one that was interrupted keeps the store from opening and goes on
 * with {@link resumeErase}, whatever is left of the folder.
 */
import { createHash } from "node:crypto";
import { existsSync, rmSync } from "node:fs";
import { dirname, isAbsolute, join, relative, sep } from "node:path";
import {
  assertOnlyTrailSince,
  assertRelease,
  certificateOf,
  createUuidV7,
  type ErasedContent,
  type ErasePhase,
  type ErasePlan,
  type EraseScan,
  exportedLine,
  exportHead,
  type Holdfast,
  HoldfastError,
  isClean,
  isDestroying,
  isHoldfastError,
  keysHeldAlone,
  lifeOf,
  logsOf,
  type Observer,
  type Release,
  scanDetails,
  silentObserver,
} from "@holdfast/core";
import { aloneWith } from "./alone.ts";
import { publish } from "./backup-file.ts";
import { systemClock } from "./clock.ts";
import { createNodeCrypto } from "./crypto.ts";
import {
  copiesNotReached,
  destroyKeys,
  type EraseGround,
  filesToErase,
  hasCurrentCopy,
  leftOf,
  removeFiles,
} from "./erase-files.ts";
import { findErasePlan, placeOf, removeErasePlan, writeErasePlan } from "./erase-plan-file.ts";
import { fromSystem } from "./files.ts";
import { registeredCopies } from "./keyring-copies.ts";
import { openHandles } from "./open-handles.ts";
import { systemRandom } from "./random.ts";
import { openToErase, type StoreAccess } from "./store.ts";
import { checkFolder, stateOf, storeIdIn, type StoreLocation } from "./store-place.ts";

const crypto = createNodeCrypto();

/** What {@link eraseStore} takes. */
export interface EraseOptions extends StoreLocation, StoreAccess {
  /** On whose authority, in words or as an id: in the audit event and in the certificate. */
  readonly actor: string;
  /** Reason code. */
  readonly why: string;
  /** Reason in words. */
  readonly reason?: string;
  /** The new file of the last audit export, outside the store's folder and the state folder. */
  readonly exportFile: string;
  /** The new file of the certificate, likewise. */
  readonly certificateFile: string;
  /** Actors in the export; default `masked`. */
  readonly actors?: "masked" | "shown";
  /** Registered copies of the keyring elsewhere; default `destroy`. Those that are kept open backups of the store. */
  readonly keyringCopies?: "destroy" | "keep";
  /**
   * Data keys of delivered events that no other installation was granted: what a server has under them opens nowhere
   * afterwards. Default `refuse`, unless a copy of the keyring as it is now is kept.
   */
  readonly lastKeys?: "refuse" | "destroy";
  readonly observer?: Observer;
}

/** What an erase that came to its end answers. */
export interface ErasedStore {
  readonly storeId: string;
  readonly certificateFile: string;
  readonly exportFile: string;
  /** Files that were removed. */
  readonly files: number;
  /** Registered copies of the keyring that still exist, or whose medium was not here. */
  readonly copiesLeft: readonly string[];
  /** Kinds of key providers whose own keys stay with them. */
  readonly providersLeft: readonly string[];
  /** Data keys that this device alone held: what a server has under them opens by a kept copy of the keyring alone. */
  readonly lastKeys: number;
  readonly scan: EraseScan;
  /** What this process knows of the store is void: it has to be started anew. */
  readonly restart: true;
}

type Place = StoreLocation & StoreAccess & { readonly observer?: Observer };

/**
 * Erases a store. Throws `interlock_unproven`, `interlock_stale`, `store_busy` while another process has it open,
 * `erase_last_keys`, `erase_place_refused`, `output_exists`, `draft_invalid` and what `openStore` throws: the store is then as it was,
 * perhaps with an audit event more. Throws `erase_incomplete` when something of it is left, and is then to be resumed.
 * Where an erase of this store is unfinished, goes on with that one.
 */
export function eraseStore(options: EraseOptions, release: Release): Promise<ErasedStore> {
  return observed(options, async () => {
    const state = stateOf(options);
    const begun = findErasePlan(state, options.directory);
    if (begun !== undefined) return goOn(options, begun);
    const plan = await planErase(options, release);
    try {
      return await goOn(options, plan);
    } catch (error) {
      giveUp(state, plan);
      throw error;
    }
  });
}

/**
 * Goes on with an erase that was interrupted, or was incomplete. `undefined`: there is none. Before keys are destroyed
 * it needs what opens the store, afterwards only the place. Throws as {@link eraseStore}.
 */
export function resumeErase(options: Place): Promise<ErasedStore | undefined> {
  return observed(options, async () => {
    const state = stateOf(options);
    const plan = findErasePlan(state, options.directory);
    if (plan === undefined) return undefined;
    try {
      return await goOn(options, plan);
    } catch (error) {
      // Something was recorded in between: the store is wanted, or needs another release.
      if (isHoldfastError(error, "interlock_stale")) giveUp(state, plan);
      throw error;
    }
  });
}

/** How far the unfinished erase of that place got, and whether the way back is closed. `undefined`: there is none. */
export function unfinishedErase(
  location: StoreLocation,
): { readonly phase: ErasePhase; readonly destroying: boolean } | undefined {
  const plan = findErasePlan(stateOf(location), location.directory);
  return plan && { phase: plan.phase, destroying: isDestroying(plan.phase) };
}

async function observed<T>({ observer = silentObserver }: Place, act: () => Promise<T>) {
  const end = observer.span("erase", {});
  try {
    const done = await act();
    observer.count("erases", 1, { result: "ok" });
    end("ok");
    return done;
  } catch (error) {
    const told = fromSystem(error);
    observer.count("erases", 1, { result: isHoldfastError(told) ? told.code : "bug" });
    end("error");
    throw told;
  }
}

/** Nothing was destroyed: the store opens again. What went on to destroy stays planned. */
function giveUp(state: string, plan: ErasePlan): void {
  const now = findErasePlan(state, plan.directory);
  if (now === undefined || isDestroying(now.phase)) return;
  removeErasePlan(state, plan.store);
  if (now.phase === "exported") rmSync(plan.exportFile, { force: true });
}

/** The release is compared under the lease while nobody else has the store open; then the plan keeps others out. */
async function planErase(options: EraseOptions, release: Release): Promise<ErasePlan> {
  const directory = placeOf(options.directory);
  const state = stateOf(options);
  if (!existsSync(directory)) throw new HoldfastError("store_missing");
  checkFolder(directory);
  const store = storeIdIn(directory, state);
  const exportFile = placeOf(options.exportFile);
  const certificateFile = placeOf(options.certificateFile);
  checkOutputs([exportFile, certificateFile], [directory, dirname(placeOf(join(state, store)))]);
  const copies = registeredCopies(state, store);
  return aloneWith({ ...options, directory }, store, {
    check({ driver, keyring }) {
      assertRelease({ crypto, driver, keyring }, release);
      const keys = keysHeldAlone(driver);
      const isKept = options.keyringCopies === "keep" && hasCurrentCopy(directory, copies);
      if (keys > 0 && !isKept && options.lastKeys !== "destroy") {
        throw new HoldfastError("erase_last_keys", { keys });
      }
    },
    act: () =>
      advance(
        options,
        {
          phase: "planned",
          store,
          directory,
          plannedAt: systemClock.now(),
          actor: options.actor,
          why: options.why,
          reason: options.reason,
          release: release.kind,
          released: release.logs,
          eventId: createUuidV7(systemClock, systemRandom)(),
          exportFile,
          certificateFile,
          actors: options.actors ?? "masked",
          copies,
          keepCopies: options.keyringCopies === "keep",
          content: undefined,
          files: [],
        },
        {},
      ),
    after: "give back",
  });
}

function checkOutputs(outputs: readonly string[], doomed: readonly string[]): void {
  const isInside = (path: string): boolean =>
    doomed.some((folder) => {
      const way = relative(folder, path);
      return !(way === ".." || way.startsWith(`..${sep}`) || isAbsolute(way));
    });
  if (outputs.some(isInside) || new Set(outputs).size < outputs.length) {
    throw new HoldfastError("erase_place_refused");
  }
  if (outputs.some((path) => existsSync(path))) throw new HoldfastError("output_exists");
}

/** Writes the plan with what is new in it. */
function advance(options: Place, plan: ErasePlan, news: Partial<ErasePlan>): ErasePlan {
  const next = { ...plan, ...news };
  writeErasePlan(stateOf(options), next);
  options.observer?.log("info", "erase_advanced", { phase: next.phase });
  return next;
}

/** From wherever it stands to the end. */
async function goOn(options: Place, begun: ErasePlan): Promise<ErasedStore> {
  let plan = begun;
  if (plan.phase === "planned" || plan.phase === "audited")
    plan = await tellAndExport(options, plan);
  if (plan.phase === "exported") plan = await closeTheWayBack(options, plan);
  return destroy(options, plan, isDestroying(begun.phase));
}

/** Reason and actor in the store, then the trail outside it. */
async function tellAndExport(options: Place, begun: ErasePlan): Promise<ErasePlan> {
  let plan = begun;
  const store = await openToErase(options, plan.store);
  try {
    if (plan.phase === "planned") {
      await record(store, plan);
      plan = advance(options, plan, { phase: "audited" });
    }
    const exported = await exportTrail(store, plan);
    const content = contentOf(store, plan, exported);
    return advance(options, plan, { phase: "exported", content });
  } finally {
    await store.close();
  }
}

async function record(store: Holdfast, plan: ErasePlan): Promise<void> {
  const { eventId, actor, why, reason, release } = plan;
  if (store.get(eventId) !== undefined) return;
  const facts = { release, events: store.status().events };
  await store.audit.record({
    kind: "StoreEraseBegun",
    id: eventId,
    facts,
    actor,
    why,
    ...(reason !== undefined && { reason }),
  });
}

async function exportTrail(store: Holdfast, plan: ErasePlan): Promise<ErasedContent["exported"]> {
  const { tenant, device } = store.status();
  const hash = createHash("sha256");
  let bytes = 0;
  await publish(
    plan.exportFile,
    async (file) => {
      const write = async (value: unknown): Promise<void> => {
        const line = `${JSON.stringify(value)}\n`;
        hash.update(line);
        bytes += Buffer.byteLength(line);
        await file.appendFile(line);
      };
      await write(exportHead(plan, { tenant, device }));
      const trail = store.audit.read({ limit: Number.MAX_SAFE_INTEGER });
      for (const event of trail) await write(exportedLine(event, plan.actors));
    },
    true,
  );
  return { bytes, sha256: hash.digest("base64url") };
}

function contentOf(
  store: Holdfast,
  plan: ErasePlan,
  exported: ErasedContent["exported"],
): ErasedContent {
  const { tenant, device, events } = store.status();
  const providers = store.providers.list().map(({ name, assurance }) => ({ name, assurance }));
  const event = { ...store.prove(plan.eventId) };
  const lastKeys = keysHeldAlone(lifeOf(store).current().driver);
  return { tenant, device, events, logs: [], event, exported, providers, lastKeys };
}

/** The last look under the lease: what came since the release is the store's own trail, which was exported. */
function closeTheWayBack(options: Place, plan: ErasePlan): Promise<ErasePlan> {
  return aloneWith({ ...options, directory: plan.directory }, plan.store, {
    check({ driver }) {
      assertOnlyTrailSince(driver, plan.released);
    },
    act({ driver }) {
      const ground = { plan, state: stateOf(options) };
      const files = filesToErase(ground, plan.keepCopies ? [] : plan.copies);
      const logs = logsOf(driver).filter(({ own }) => own);
      const content = plan.content && { ...plan.content, logs };
      return advance(options, plan, { phase: "destroying", files, content });
    },
    after: "stay out",
  });
}

/** Keys, files, scan, certificate. All of it may be done again, so that nothing has to be known of how far it got. */
async function destroy(options: Place, begun: ErasePlan, isResumed: boolean): Promise<ErasedStore> {
  const state = stateOf(options);
  let plan = begun;
  const ground: EraseGround = { plan, state, denied: new Map() };
  const away =
    begun.phase === "destroying" ? new Set(copiesNotReached(ground, isResumed)) : new Set<string>();
  destroyKeys(ground);
  const areKeysGone = ground.denied.size === 0;
  if (areKeysGone) {
    // What was not seen is not said to be destroyed.
    const seen = plan.files.filter(({ place, name }) => place !== "copy" || !away.has(name));
    plan = advance(options, plan, { phase: "keys-destroyed", files: seen });
  }
  removeFiles(ground);
  if (areKeysGone && ground.denied.size === 0) {
    plan = advance(options, plan, { phase: "files-removed" });
  }
  const scan = scanFor({ ...ground, plan });
  if (!isClean(scan)) throw new HoldfastError("erase_incomplete", scanDetails(scan));
  plan = advance(options, plan, { phase: "scanned" });
  const { certificateFile, exportFile, files, copies } = plan;
  await publish(
    certificateFile,
    (file) => file.writeFile(`${JSON.stringify(certificateOf(plan, scan), undefined, 2)}\n`),
    true,
  );
  removeErasePlan(state, plan.store);
  const providers = plan.content?.providers ?? [];
  return {
    storeId: plan.store,
    certificateFile,
    exportFile,
    files: files.length,
    copiesLeft: copies.filter((path) => scan.unreached.includes(path)),
    lastKeys: plan.content?.lastKeys ?? 0,
    providersLeft: providers.map(({ name }) => name).filter((name) => name !== "software"),
    scan,
    restart: true,
  };
}

function scanFor(ground: EraseGround): EraseScan {
  const { plan, state } = ground;
  const folders = [
    ["store", plan.directory],
    ["state", placeOf(join(state, plan.store))],
  ] as const;
  const within = (folder: string, path: string): boolean => path.startsWith(`${folder}/`);
  const look = openHandles((path) => folders.some(([, folder]) => within(folder, path)));
  const handles = look.handles.flatMap(({ pid, path }) =>
    folders
      .filter(([, folder]) => within(folder, path))
      .map(([place, folder]) => {
        return { pid, own: pid === process.pid, place, name: relative(folder, path) };
      }),
  );
  const reached = new Set(
    plan.files.filter(({ place }) => place === "copy").map(({ name }) => name),
  );
  return {
    at: systemClock.now(),
    left: leftOf(ground),
    handles,
    hidden: look.hidden,
    unreached: plan.copies.filter((path) => !reached.has(path)),
  };
}
