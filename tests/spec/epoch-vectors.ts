/** Steps from one server log to the next, valid and invalid: the epoch statement with all that joins the two. */
import {
  base64,
  type Bytes,
  canonicalJson,
  createHashSource,
  createNoteVerifier,
  createTreeBuilder,
  type EpochStatement,
  formatCheckpoint,
  leafHash,
  noteDigest,
  proveConsistency,
  proveInclusion,
  signNote,
  utf8,
} from "@holdfast/core";
import { crypto, pseudonym, signingKey } from "./ports.ts";

export interface EpochVector {
  readonly name: string;
  /** `joined`, `epoch_wrong` (the statement does not join the logs) or `forked` (it ends another tree). */
  readonly expect: string;
  /** What a device holds of the log before: size and root, base64. */
  readonly held: { readonly size: number; readonly root: string };
  readonly epoch: {
    readonly text: string;
    readonly index: number;
    readonly path: readonly string[];
  };
  readonly checkpoint: string;
  readonly last: string;
  readonly consistency: readonly string[];
}

const key = signingKey("epochs");
export const serverKey = base64(key.spki);

const leavesOf = (texts: readonly string[]): readonly Bytes[] =>
  texts.map((text) => leafHash(crypto, utf8(text)));

function treeOf(texts: readonly string[]) {
  const leaves = leavesOf(texts);
  const builder = createTreeBuilder(crypto);
  for (const leaf of leaves) builder.append(leaf);
  const source = {
    leaves: (from: number, to: number) => leaves.slice(from, to),
    tileRoots: () => [],
  };
  return { root: builder.root(), hashOf: createHashSource(crypto, source, texts.length) };
}

function checkpointOf(origin: string, texts: readonly string[], signer = key): string {
  const text = formatCheckpoint({ origin, size: texts.length, root: treeOf(texts).root });
  const { algorithm, spki, sign } = signer;
  return signNote(text, [
    { ...createNoteVerifier(crypto, { name: origin, algorithm, spki }), sign },
  ]);
}

const host = "server.example";
const before = `${host}/holdfast/${pseudonym("shard 1")}/1`;
const after = `${host}/holdfast/${pseudonym("shard 2")}/1`;
const old = Array.from({ length: 7 }, (_, at) => canonicalJson({ leaf: at }));
const heldSize = 3;

interface Wishes {
  readonly from?: string;
  readonly to?: string;
  readonly last?: string;
  readonly signer?: typeof key;
  /** Members of the statement that say something else. */
  readonly says?: Partial<Record<keyof EpochStatement | "owed", unknown>>;
  readonly text?: (text: string) => string;
  readonly index?: number;
  readonly held?: readonly string[];
  readonly change?: Partial<EpochVector>;
}

function vector(name: string, expect: string, wishes: Wishes = {}): EpochVector {
  const { from = before, to = after, index = 0 } = wishes;
  const last = wishes.last ?? checkpointOf(from, old, wishes.signer);
  const statement = {
    v: 1,
    kind: "epoch",
    origin: from,
    size: old.length,
    root: base64(treeOf(old).root),
    note: noteDigest(crypto, last),
    events: 5,
    received: 1_772_352_000_000,
    node: pseudonym("node"),
    ...wishes.says,
  };
  const text = (wishes.text ?? String)(canonicalJson(statement));
  const rest = [canonicalJson({ leaf: "a" }), canonicalJson({ leaf: "b" })];
  const texts = index === 0 ? [text, ...rest] : [...rest, text];
  const heldTexts = wishes.held ?? old.slice(0, heldSize);
  const path = proveInclusion(crypto, texts.indexOf(text), texts.length, treeOf(texts).hashOf);
  const consistency = proveConsistency(crypto, heldSize, old.length, treeOf(old).hashOf);
  return {
    name,
    expect,
    held: { size: heldTexts.length, root: base64(treeOf(heldTexts).root) },
    epoch: { text, index: texts.indexOf(text), path: path.map((hash) => base64(hash)) },
    checkpoint: checkpointOf(to, texts, wishes.signer),
    last,
    consistency: consistency.map((hash) => base64(hash)),
    ...wishes.change,
  };
}

export function epochVectors(): readonly EpochVector[] {
  const wrong = "epoch_wrong";
  const others = ["x", "y", "z", "u", "v", "w", "t"];
  const says = (name: string, members: Wishes["says"]): EpochVector =>
    vector(name, wrong, members === undefined ? {} : { says: members });
  return [
    vector("another shard", "joined"),
    vector("the next log of the same shard", "joined", { to: before.replace(/1$/, "2") }),
    vector("a later log of the same shard", "joined", { to: before.replace(/1$/, "7") }),
    vector("the last checkpoint is the held one", "joined", {
      held: old,
      change: { consistency: [] },
    }),
    vector("an earlier log of the same shard", wrong, {
      from: before.replace(/1$/, "2"),
      to: before,
    }),
    vector("the same log", wrong, { to: before }),
    vector("a log of another host", wrong, { to: after.replace(host, "other.example") }),
    vector("an origin of no server log", wrong, { to: `${host}/other/log` }),
    vector("a second leaf", wrong, { index: 2 }),
    says("another origin", { origin: after }),
    says("another size", { size: 6 }),
    says("size 0", { size: 0 }),
    says("another root", { root: base64(new Uint8Array(32)) }),
    says("a root of 31 bytes", { root: base64(new Uint8Array(31)) }),
    says("another note", { note: noteDigest(crypto, "another") }),
    says("another kind", { kind: "key" }),
    says("another version", { v: 2 }),
    says("a member too many", { owed: [] }),
    says("a position that is none", { events: -1 }),
    says("a time that is none", { received: -1 }),
    says("a node that is none", { node: "a b" }),
    vector("a space in the text", wrong, { text: (text) => `${text} ` }),
    vector("a path of another tree", wrong, { change: { epoch: forgedPath() } }),
    vector("a last checkpoint under another key", wrong, {
      last: checkpointOf(before, old, signingKey("strangers")),
    }),
    vector("both under another key", wrong, { signer: signingKey("strangers") }),
    vector("another last checkpoint of the same log", wrong, {
      change: { last: checkpointOf(before, others) },
    }),
    vector("a held tree that was rewritten", "forked", { held: others.slice(0, heldSize) }),
    vector("no consistency proof", "forked", { change: { consistency: [] } }),
    vector("a proof where none is due", "forked", { held: old }),
  ];
}

function forgedPath(): EpochVector["epoch"] {
  const { epoch } = vector("", "joined");
  return { ...epoch, path: epoch.path.toReversed() };
}
