/**
 * Single-byte flips over every file of a store: each is found, or harmless.
 *
 * Two images of one store are hurt: closed (all in the database file) and killed (most in the write-ahead
 * log). Found: the store does not open, or a read is refused, with a code; or it opens, and verify says
 * what is wrong. Harmless: every answer is as recorded, and verify has nothing to say but about copies
 * that another copy makes up for.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Holdfast, isHoldfastError } from "@holdfast/core";
import type { Chance } from "../faults/random.ts";
import {
  type Answers,
  answersOf,
  draftOf,
  type Image,
  kindOf,
  makeStore,
  open,
  type Place,
  putImage,
  takeImage,
} from "./world.ts";

/** What became of one flip. */
export interface Outcome {
  readonly flip: string;
  readonly result: "refused" | "found" | "harmless" | "bad";
  /** Code of the refusal or of the first problem, or what is bad. */
  readonly code: string;
  /** The first bad object that verify names. */
  readonly object: string;
}

export interface Victim {
  readonly folder: string;
  readonly place: Place;
  readonly images: Readonly<Record<"closed" | "killed", Image>>;
  readonly answers: Answers;
}

/** A store of two incarnations; its files closed, and as a killed process leaves them. */
export async function makeVictim(folder: string, place: Place, events: number): Promise<Victim> {
  await makeStore(place);
  const first = await open(place);
  for (let n = 0; n < events / 2; n++) await first.append(draftOf(n));
  await first.close();
  for (const name of takeImage(folder).keys()) {
    // A lost mark makes the next writer open a new incarnation.
    if (kindOf(name) === "mark") writeFileSync(join(folder, name), Buffer.alloc(4096, 0x20));
  }
  const second = await open(place);
  for (let n = Math.ceil(events / 2); n < events; n++) await second.append(draftOf(n));
  const answers = answersOf(second);
  const killed = takeImage(folder);
  await second.close();
  return { folder, place, images: { closed: takeImage(folder), killed }, answers };
}

/** One flip: an image, a file in it, an offset, and the bits that change. */
export interface Flip {
  readonly image: "closed" | "killed";
  readonly files: readonly string[];
  readonly offset: number;
  readonly mask: number;
}

/** Flips spread over kinds of files, so that small files get their share. */
export function chooseFlip(victim: Victim, chance: Chance): Flip {
  const image = chance.pick(["closed", "killed"] as const);
  const names = [...victim.images[image].keys()];
  const kind = chance.pick(["database", "wal", "keyring", "keyring", "keyrings", "mark"] as const);
  const wanted = kind === "keyrings" ? "keyring" : kind;
  const ofKind = names.filter((name) => kindOf(name) === wanted);
  if (ofKind.length === 0) return chooseFlip(victim, chance);
  const files = kind === "keyrings" ? ofKind : [chance.pick(ofKind)];
  const length = victim.images[image].get(files[0] as string)?.length ?? 0;
  // Heads of files hold what decides how the rest is read.
  const reach = chance.below(10) === 0 ? Math.min(length, 128) : length;
  return { image, files, offset: chance.below(reach), mask: 1 + chance.below(255) };
}

function flipped(image: Image, { files, offset, mask }: Flip): Image {
  const hurt = new Map(image);
  for (const file of files) {
    const bytes = Buffer.from(image.get(file) as Buffer);
    if (offset < bytes.length) bytes[offset] = (bytes[offset] as number) ^ mask;
    hurt.set(file, bytes);
  }
  return hurt;
}

/** What verify may name: the first bad object is always one of these. */
const objects =
  /^(event \d+|frames of event \d+|page \d+|commit (\d+|after \d+) of .*|sequence \d+ of .*|mark|keyring (store|registered)|table \w+|stream .*)$/;
const copyFindings = /^(keyring_(copy|line|record)_\w+|mark_damaged|store_moved|mark_missing)$/;

/** Hurts the store, opens it, asks everything, and judges. */
export async function tryFlip(victim: Victim, flip: Flip, readOnly: boolean): Promise<Outcome> {
  const { image, files, offset, mask } = flip;
  const name = `${files.join("+")} of ${image} at ${offset} ^ ${mask}${readOnly ? " read-only" : ""}`;
  putImage(victim.folder, flipped(victim.images[image], flip));
  let store: Holdfast | undefined;
  const outcome = (result: Outcome["result"], code: string, object = ""): Outcome => ({
    flip: name,
    result,
    code,
    object,
  });
  try {
    store = await open(victim.place, { readOnly });
    return judge(store, victim.answers, outcome);
  } catch (error) {
    if (isHoldfastError(error)) return outcome("refused", error.code);
    return outcome("bad", `uncoded: ${String(error)}`);
  } finally {
    await store?.close().catch(ignoreCoded);
  }
}

/** Closing a damaged store may be refused as well, with a code. */
function ignoreCoded(error: unknown): void {
  if (!isHoldfastError(error)) throw error;
}

function judge(
  store: Holdfast,
  expected: Answers,
  outcome: (result: Outcome["result"], code: string, object?: string) => Outcome,
): Outcome {
  const report = store.verify();
  const [first] = report.problems;
  if (report.ok !== (first === undefined))
    return outcome("bad", "ok says something else than problems");
  if (first !== undefined && !objects.test(first.object)) {
    return outcome("bad", `verify names no object: ${first.code}`, first.object);
  }
  let answers: Answers;
  try {
    answers = answersOf(store);
  } catch (error) {
    if (!isHoldfastError(error)) return outcome("bad", `uncoded: ${String(error)}`);
    if (report.ok) return outcome("bad", `verify is content, and reading says ${error.code}`);
    return outcome("found", first?.code ?? error.code, first?.object);
  }
  const same = JSON.stringify(answers) === JSON.stringify(expected);
  if (same && report.problems.every(({ code }) => copyFindings.test(code))) {
    return outcome("harmless", first?.code ?? "", first?.object);
  }
  if (same) return outcome("found", first?.code ?? "", first?.object);
  const shorter = answers.events.every(
    (event, at) => JSON.stringify(event) === JSON.stringify(expected.events[at]),
  );
  const told = store.status().findings.map(({ code }) => code);
  if (shorter && !report.ok && told.includes("store_rolled_back")) {
    return outcome("found", "store_rolled_back", first?.object);
  }
  return outcome("bad", `a wrong answer; verify: ${first?.code ?? "ok"}`, told.join(" "));
}
