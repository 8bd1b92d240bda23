/**
 * What a server can read: nothing on `reads: none`, granted scopes on `granted`; and what a device can. The
 * attacker has the server's whole data folder and its database, decrypted with the key that lies there, or every row
 * of the PostgreSQL, and every key in any of the files, tried on every grant and on every frame.
 */
import { createHmac } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type DataKey,
  frameGeneration,
  fromBase64,
  fromBase64url,
  type Header,
  leafHash,
  openFrame,
  utf8,
} from "@holdfast/core";
import { type GrantedKey, unwrapGrant } from "@holdfast/core/grant";
import { createNodeCrypto } from "@holdfast/node";
import { expect, test } from "vitest";
import { backends, keyOf, type ServerProcess } from "./servers.ts";
import { converge, inWorld } from "./world.ts";

const crypto = createNodeCrypto();
const planted = "Drachenblutstropfen";
const budget = { timeout: 300_000 };

interface FoundFrame {
  readonly section: string;
  readonly key: string;
  readonly bytes: Uint8Array;
}

/** Frames as the server keeps them: their number, then section, key id, state, bytes, each with its length. */
function framesIn(blob: Uint8Array): readonly FoundFrame[] {
  const view = Buffer.from(blob);
  let at = 1;
  const text = (): string => {
    const length = view.readUInt8(at);
    at += 1 + length;
    return view.toString("utf8", at - length, at);
  };
  return Array.from({ length: view.readUInt8(0) }, () => {
    const [section, key] = [text(), text()];
    const length = view.readUInt32BE(at + 1);
    at += 5 + length;
    return { section, key, bytes: Uint8Array.from(view.subarray(at - length, at)) };
  });
}

/** Every text of every file that decodes to 32 bytes, or ends in them (PKCS #8). */
async function keysIn(folder: string): Promise<readonly Uint8Array<ArrayBuffer>[]> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = names.filter((entry) => entry.isFile() && entry.name.endsWith(".keys"));
  const texts = await Promise.all(
    files.map(({ parentPath, name }) => readFile(join(parentPath, name), "utf8")),
  );
  return texts.flatMap((text) =>
    [...text.matchAll(/"([A-Za-z0-9+/]{43,}=*)"/g)].flatMap(([, value]) => {
      const bytes = fromBase64(value ?? "");
      return bytes === undefined ? [] : [bytes.slice(-32)];
    }),
  );
}

/** A key as a server that was granted it would use it (spec/event.md). */
function dataKey(key: Uint8Array, id: string, generation: number): DataKey {
  return {
    id,
    scope: "",
    section: "",
    generation,
    frameKey: (section, leaf) =>
      Uint8Array.from(
        createHmac("sha256", key)
          .update("holdfast/aead/v1|")
          .update(section)
          .update(leaf)
          .update(Uint8Array.of(1))
          .digest(),
      ),
  };
}

function installationKey(secret: Uint8Array, tenant: string): Uint8Array<ArrayBuffer> {
  const words = JSON.stringify(["holdfast/node/v1", "hpke", tenant]);
  return Uint8Array.from(createHmac("sha256", secret).update(words).digest());
}

interface Loot {
  readonly keys: number;
  readonly grants: number;
  readonly frames: number;
  /** Frames that opened, by scope. */
  readonly opened: Readonly<Record<string, number>>;
  /** Does the planted word stand anywhere, in a file or in a decrypted row? */
  readonly words: boolean;
}

async function plunder({ folder, nodes, rows }: ServerProcess): Promise<Loot> {
  const candidates = [...(await keysIn(folder))];
  const { grants, events, texts } = await rows();
  // The key that grants to the server are wrapped to is derived, for each tenant (docs/decisions/0016).
  const secret = await keyOf(nodes[0]?.folder ?? folder, "node_key");
  candidates.push(...grants.map(({ tenant }) => installationKey(secret, tenant)));
  const granted = await unwrapAll(grants, candidates);
  const opened: Record<string, number> = {};
  let frames = 0;
  let words = (await standsInFiles(folder)) || texts.some(holdsPlanted);
  for (const { header, frames: bytes } of events) {
    const { scope, sec } = JSON.parse(header) as Header;
    const leaf = leafHash(crypto, utf8(header));
    words ||= header.includes(planted) || Buffer.from(bytes).includes(planted);
    for (const frame of framesIn(bytes)) {
      frames++;
      const commitment = fromBase64url(sec[frame.section]?.c ?? "");
      const generation = frameGeneration(frame.bytes);
      if (commitment === undefined || generation === undefined) continue;
      const keys = [
        ...candidates.map((key) => dataKey(key, frame.key, generation)),
        ...granted
          .filter(({ id }) => id === frame.key)
          .map(({ key, id }) => dataKey(key, id, generation)),
      ];
      const text = keys
        .map((key) => openFrame(crypto, key, frame.section, leaf, frame.bytes, commitment))
        .find((found) => found !== undefined);
      if (text !== undefined) opened[scope] = (opened[scope] ?? 0) + 1;
    }
  }
  return { keys: candidates.length, grants: grants.length, frames, opened, words };
}

/** As text, or in bytes that are shown in hexadecimal. */
function holdsPlanted(text: string): boolean {
  return text.includes(planted) || text.includes(Buffer.from(planted).toString("hex"));
}

async function standsInFiles(folder: string): Promise<boolean> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const entry of names.filter((each) => each.isFile())) {
    if ((await readFile(join(entry.parentPath, entry.name))).includes(planted)) return true;
  }
  return false;
}

async function unwrapAll(
  grants: readonly { readonly text: string; readonly tenant: string }[],
  candidates: readonly Uint8Array<ArrayBuffer>[],
): Promise<readonly Extract<GrantedKey, { kind: "data" }>[]> {
  const found: Extract<GrantedKey, { kind: "data" }>[] = [];
  for (const { text, tenant } of grants) {
    for (const privateKey of candidates) {
      const publicKey = crypto.x25519PublicKey(privateKey);
      const key = await unwrapGrant(utf8(text), tenant, { publicKey, privateKey }).catch(
        () => undefined,
      );
      if (key?.kind === "data") found.push(key);
    }
  }
  return found;
}

const notes = (scope: string, from: number) =>
  [0, 1, 2].map((at) => ({ n: from + at, scope, notes: `${planted} ${scope}` }));

test.each(backends)(
  "on reads: none no payload byte opens with anything that the server has ($name)",
  budget,
  async ({ backend }) => {
    await inWorld({ backend, reads: "none" }, async ({ founder, join: joinTenant, server }) => {
      const other = await joinTenant("other");
      await founder.ask("append", { notes: notes("Patient/ada", 1) });
      await converge([founder, other, founder]);
      expect(await other.ask("contents")).toEqual({ opened: 3 });
      const loot = await plunder(server);
      expect(loot.keys).toBeGreaterThan(4);
      // The other device's grants lie there, and do not open.
      expect(loot.grants).toBeGreaterThan(0);
      expect(loot.frames).toBeGreaterThanOrEqual(3);
      expect(loot).toMatchObject({ opened: {}, words: false });
    });
  },
);

test.each(backends)(
  "on reads: granted only what was granted opens ($name)",
  budget,
  async ({ backend }) => {
    await inWorld({ backend, reads: "granted" }, async ({ founder, join: joinTenant, server }) => {
      await founder.drain();
      const [ada, bob] = ["Patient/ada", "Patient/bob"];
      expect(await founder.ask("limitNode", { scope: ada })).toBe(true);
      await founder.ask("append", { notes: [...notes(ada, 1), ...notes(bob, 10)] });
      await founder.drain();
      await founder.drain();
      const loot = await plunder(server);
      const scope = await founder.ask<string>("scope", { words: ada });
      expect(loot.frames).toBeGreaterThanOrEqual(6);
      expect(loot.opened).toEqual({ [scope]: 3 });
      // The database is encrypted and the words are in frames: without keys they stand nowhere.
      expect(loot.words).toBe(false);
      const narrow = await joinTenant("narrow", { scopes: [bob] });
      await converge([founder, narrow, founder, narrow]);
      expect(await narrow.ask("contents")).toEqual({ opened: 3 });
      expect(await narrow.ask("verify")).toMatchObject({ ok: true, problems: [] });
    });
  },
);
