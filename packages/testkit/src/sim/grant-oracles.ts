/**
 * Nothing that a device was not granted opens on it: no event of another scope, no key that would open one, and
 * no word of one on its disk. That what it was granted does open is among what devices come together for.
 */
import type { Header, RecordedEvent } from "@holdfast/core";
import { committedReads } from "../committed-reads.ts";
import type { OpenDevice, SimDevice } from "./device.ts";
import type { Context, Inhabitant } from "./inhabitants.ts";
import { type Ledger, SafetyError } from "./ledger.ts";
import { grantedScopes, openingType, seenOf, visibleTo } from "./visibility.ts";
import { plaintextMark } from "./workload.ts";

const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");

/** Words of notes and of weights, as they stand in files. */
const words = new RegExp(
  `${latin1(Buffer.from(plaintextMark))}(d[0-9]+-[0-9]+)("?)|g([0-9]{7,})`,
  "g",
);

/** Where a word stands in the open. */
interface Found {
  readonly file: string;
  /** Somewhere it ends with a quotation mark, or with what no word goes on with. */
  readonly ended: boolean;
}

/** Words that stand on a disk in the open, as the ledger has them. */
function wordsOn({ site }: SimDevice): ReadonlyMap<string, Found> {
  const found = new Map<string, Found>();
  for (const [name, bytes] of site.disk.image().files) {
    for (const [, note, mark, grams] of latin1(bytes).matchAll(words)) {
      const word = note === undefined ? `g${grams ?? ""}` : plaintextMark + note;
      const ended = note === undefined || mark === '"' || found.get(word)?.ended === true;
      found.set(word, { file: name, ended });
    }
  }
  return found;
}

/**
 * An index holds a word with no end mark before what follows it: `…-1` before a stream `7…` reads as `…-17`. One that
 * leaked stands in JSON, too, where a quotation mark follows.
 */
function isWordAndMore(word: string, mayStand: ReadonlySet<string>): boolean {
  for (let end = word.length - 1; /[0-9]/.test(word[end] ?? ""); end--) {
    if (mayStand.has(word.slice(0, end))) return true;
  }
  return false;
}

function checkDisk(device: SimDevice, granted: ReadonlySet<string>, ledger: Ledger): void {
  const found = wordsOn(device);
  const mayStand = new Set<string>();
  for (const { word, scope, device: by } of ledger.offered.values()) {
    if (scope === undefined || granted.has(scope) || by === device.name) mayStand.add(word);
  }
  for (const { word, scope, device: by } of ledger.offered.values()) {
    if (scope === undefined || granted.has(scope) || by === device.name) continue;
    const at = found.get(word);
    if (at === undefined || (!at.ended && isWordAndMore(word, mayStand))) continue;
    throw new SafetyError(
      `${device.name}: ${word}, which it was not granted, stands in ${at.file}`,
    );
  }
}

/** Keys that the headers of others' events name, in scopes that the device may not read. */
async function foreignKeys(context: Context, reader: Inhabitant): Promise<ReadonlySet<string>> {
  const store = context.backend?.server.open?.store;
  const tenant = reader.device.open?.store.status().tenant ?? "";
  const placed =
    store === undefined
      ? []
      : await committedReads(store, tenant).events(tenant, "*", 0, 1_000_000);
  const sees = visibleTo(reader);
  const headers = placed.map(({ header }) => JSON.parse(header) as Header);
  return new Set(
    headers
      .filter(({ scope, type, dev }) => !sees({ scope, type, author: dev }))
      .flatMap(({ sec }) => Object.values(sec).map(({ k }) => k)),
  );
}

async function checkKeys(context: Context, reader: Inhabitant, open: OpenDevice): Promise<void> {
  const foreign = await foreignKeys(context, reader);
  const held = open.keyring.dataKeys().find(({ id }) => foreign.has(id));
  if (held === undefined) return;
  throw new SafetyError(
    `${reader.device.name} holds the key ${held.id} of a scope that it was not granted`,
  );
}

/** All of it, of every device that was not granted everything. */
export async function checkGrants(
  context: Context,
  held: readonly (readonly RecordedEvent[])[],
): Promise<void> {
  for (const [at, inhabitant] of context.inhabitants.entries()) {
    const { device } = inhabitant;
    const { open } = device;
    const granted = open === undefined ? undefined : grantedScopes(inhabitant, open);
    if (open === undefined || granted === undefined) continue;
    const sees = visibleTo(inhabitant);
    for (const event of held[at] ?? []) {
      const { type, leaf, content } = event;
      if (type === openingType || sees(seenOf(event))) continue;
      throw new SafetyError(`${device.name} has ${type} ${leaf} (${content}) without a grant`);
    }
    await checkKeys(context, inhabitant, open);
    checkDisk(device, granted, context.ledger);
  }
}
