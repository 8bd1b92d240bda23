/** What the erase suites share: a store to be erased, with what releases it, and the question what is left of it. */
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import {
  base64url,
  type Bytes,
  checkInclusion,
  createNoteVerifier,
  type EventProof,
  fromBase64,
  type Header,
  leafHash,
  openNote,
  parseCheckpoint,
  utf8,
  verifySignature,
} from "@holdfast/core";
import {
  createNodeCrypto,
  type EraseOptions,
  eraseStore,
  releaseOf,
  rescue,
  unfinishedErase,
} from "@holdfast/node";
import { type AgeKeys, ageKeys, filledStore } from "../backup/lab.ts";
import { open, passphrase, placeIn } from "../store/lab.ts";

const crypto = createNodeCrypto();

const actor = "dr. canary-actor";
export const reasonWords = "patient canary-reason asked for it";

/** A store in a scratch folder with undelivered events and a rescue bundle of them. */
export interface EraseGround {
  readonly folder: string;
  readonly keys: AgeKeys;
  readonly promises: readonly string[];
  readonly storeId: string;
  readonly options: EraseOptions;
  readonly bundle: { readonly file: string; readonly by: { readonly identities: string[] } };
  release(): ReturnType<typeof releaseOf>;
  erase(): ReturnType<typeof eraseStore>;
}

export function optionsIn(folder: string): EraseOptions {
  return {
    ...placeIn(folder),
    passphrase,
    actor,
    why: "device-returned",
    reason: reasonWords,
    exportFile: join(folder, "audit.ndjson"),
    certificateFile: join(folder, "certificate.json"),
  };
}

export async function groundIn(folder: string, events: number): Promise<EraseGround> {
  const keys = await ageKeys();
  const promises = await filledStore(folder, events);
  const store = await open(folder, "store", true);
  const { storeId } = store.status();
  await store.close();
  const options = optionsIn(folder);
  const bundle = { file: join(folder, "rescue.age"), by: { identities: [keys.identity] } };
  await rescue({ ...options, out: bundle.file, to: { recipients: [keys.recipient] } });
  const release = () => releaseOf({ ...options, bundle });
  return {
    folder,
    keys,
    promises,
    storeId,
    options,
    bundle,
    release,
    erase: async () => eraseStore(options, await release()),
  };
}

/** The bundle of what the store holds now. */
export async function bundleAnew({ options, bundle, keys }: EraseGround): Promise<void> {
  rmSync(bundle.file, { force: true });
  await rescue({ ...options, out: bundle.file, to: { recipients: [keys.recipient] } });
}

/** Every file below a folder. */
export function filesBelow(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
    .toSorted();
}

/** Files below a folder in which one of the texts stands, as `FILE: TEXT`. */
export function found(folder: string, texts: readonly (string | Uint8Array)[]): readonly string[] {
  return filesBelow(folder).flatMap((path) => {
    const content = readFileSync(path);
    return texts
      .filter((text) => content.includes(typeof text === "string" ? text : Buffer.from(text)))
      .map((text) => `${path}: ${typeof text === "string" ? text : "bytes"}`);
  });
}

/** What is there besides what an erase leaves on purpose. */
function remains({ folder, options, bundle }: EraseGround): readonly string[] {
  const meant = new Set([options.exportFile, options.certificateFile, bundle.file]);
  return filesBelow(folder).filter((path) => !meant.has(path));
}

/** What is wrong after an erase that came to its end. */
export function eraseProblems(ground: EraseGround): readonly string[] {
  const { folder, options } = ground;
  const problems = remains(ground).map((path) => `left ${path}`);
  if (existsSync(options.directory)) problems.push("the store's folder is there");
  if (existsSync(join(folder, "state", ground.storeId))) problems.push("its entry is there");
  if (unfinishedErase(options) !== undefined) problems.push("a plan is there");
  if (readdirSync(folder).some((name) => /\.(restoring|partial|tmp)$/.test(name))) {
    problems.push("a temporary is there");
  }
  return [...problems, ...certificateProblems(ground)];
}

interface Certificate {
  readonly store: string;
  readonly actor: string;
  readonly why: string;
  readonly release: string;
  readonly events: number;
  readonly event: EventProof;
  readonly audit_export: { readonly sha256: string };
  readonly logs: readonly { readonly incarnation: string; readonly size: number }[];
  readonly removed: readonly { readonly name: string; readonly bytes: number }[];
  readonly keyring_copies: readonly { readonly path: string; readonly destroyed: boolean }[];
  readonly scan: { readonly clean: boolean };
}

export function certificateOf({ options }: EraseGround): Certificate {
  return JSON.parse(readFileSync(options.certificateFile, "utf8")) as Certificate;
}

function certificateProblems(ground: EraseGround): readonly string[] {
  const { storeId, options } = ground;
  const { store, event, audit_export, scan, ...rest } = certificateOf(ground);
  const problems: string[] = [];
  if (store !== storeId || rest.actor !== actor || rest.release !== "rescued" || !scan.clean) {
    problems.push("the certificate is of something else");
  }
  const exported = readFileSync(options.exportFile);
  if (base64url(crypto.sha256(exported)) !== audit_export.sha256) {
    problems.push("the export is another");
  }
  if (!exported.toString("utf8").includes('"kind":"StoreEraseBegun"')) {
    problems.push("the export lacks the erase");
  }
  if (!isProven(event)) problems.push("the event is not proven");
  return problems;
}

/** Does the event of the certificate stand by itself: leaf, path, note, signature? */
function isProven({ header, leaf, index, size, path, note, spki }: EventProof): boolean {
  const { ten, dev, inc, type } = JSON.parse(header) as Header;
  const hash = leafHash(crypto, utf8(header));
  if (base64url(hash) !== leaf || type !== "StoreEraseBegun") return false;
  const key = { name: `${ten}/d/${dev}/${inc}`, algorithm: "ed25519" as const };
  const verifier = createNoteVerifier(crypto, { ...key, spki: fromBase64(spki) as Bytes });
  const opened = openNote(note, [verifier], (...signed) => verifySignature(crypto, ...signed));
  if (opened.status !== "verified") return false;
  const checkpoint = parseCheckpoint(opened.text);
  const proof = path.map((one) => fromBase64(one) as Bytes);
  return (
    checkpoint.size === size &&
    checkInclusion(crypto, { leaf: hash, index, size, path: proof, root: checkpoint.root })
  );
}
