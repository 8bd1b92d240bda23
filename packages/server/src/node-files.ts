/**
 * The server's own device in each tenant: signing key, HPKE key and the opening of its log, one file a tenant. The
 * file is durable before the tenant is founded, so that founding that failed goes on with the same node.
 */
import { join } from "node:path";
import {
  base64,
  base64url,
  type Bytes,
  type Clock,
  createUuidV7,
  type Crypto,
  deviceId,
  deviceLogOrigin,
  emptyRange,
  formatNote,
  hex,
  HoldfastError,
  incarnationOpenedType,
  type IncarnationPub,
  noPrevious,
  noteKeyId,
  type Random,
  type SealableDraft,
  sealGroup,
  utf8,
} from "@holdfast/core";
import type { ServerNode } from "./engine/engine-deps.ts";
import { keyText, makePrivateFolder, readKeyFile, writeKeyFile } from "./key-files.ts";

/** Ports of a node. */
export interface NodeDeps {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  /** Folder of the files. */
  readonly folder: string;
}

/** The node of a tenant, made at the first call. Throws `server_keys_invalid`, `server_keys_unsafe`. */
export function nodeFor(deps: NodeDeps, tenant: string): ServerNode {
  // Tenants are ids; what is none must not become a path.
  if (!/^[A-Za-z0-9_-]{22,32}$/.test(tenant)) throw new HoldfastError("request_malformed");
  makePrivateFolder(deps.folder);
  const path = join(deps.folder, `${tenant}.keys`);
  const found = readKeyFile(path);
  const members = found ?? makeNode(deps, path, tenant);
  return {
    device: keyText(members, "device"),
    opening: keyText(members, "opening"),
    note: keyText(members, "note"),
    // The first leaf of a log of one has nothing beside it.
    path: [],
  };
}

function makeNode(deps: NodeDeps, path: string, tenant: string): Readonly<Record<string, string>> {
  const { crypto, random } = deps;
  const { privateKey, spki } = crypto.generateSigningKey("ed25519");
  const hpke = random.bytes(32);
  const device = deviceId(crypto, spki);
  const incarnation = hex(random.bytes(8));
  const pub: IncarnationPub = {
    alg: "ed25519",
    spki: base64(spki),
    hpke: base64(crypto.x25519PublicKey(hpke)),
    reason: "first",
  };
  const origin = { tenant, device, incarnation, tier: "software", app: "holdfast-server" } as const;
  const sealed = sealGroup(
    { crypto, random, keyFor: () => neverSealed() },
    origin,
    { leaf: noPrevious, range: emptyRange },
    [openingDraft(deps, pub)],
  );
  const name = deviceLogOrigin(origin);
  const keyId = noteKeyId(crypto, { name, algorithm: "ed25519", spki });
  const signature: Bytes = crypto.signer("ed25519", privateKey)(utf8(sealed.statement));
  const members = {
    device,
    incarnation,
    opening: sealed.events[0]?.headerText ?? "",
    note: formatNote(sealed.statement, [{ name, keyId, signature }]),
    signing_key: base64(privateKey),
    hpke_key: base64(hpke),
  };
  writeKeyFile(path, members);
  return members;
}

function neverSealed(): never {
  throw new HoldfastError("draft_invalid", { path: "/sections", reason: "openings have none" });
}

/** Names are random: a server has no pseudonym key. */
function openingDraft({ random, clock }: NodeDeps, pub: IncarnationPub): SealableDraft {
  const name = (): string => base64url(random.bytes(16));
  return {
    id: createUuidV7(clock, random)(),
    type: incarnationOpenedType,
    typeVersion: 1,
    scope: name(),
    stream: name(),
    streamSequence: 1,
    vector: {},
    op: "create",
    ref: undefined,
    at: clock.now(),
    actor: name(),
    role: undefined,
    session: undefined,
    why: undefined,
    sections: [],
    pub,
  };
}
