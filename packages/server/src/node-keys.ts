/**
 * The server's own devices. A node has in each tenant a device whose log it writes: its signing key is derived from
 * the secret of the server, the node's name and the tenant, so a node keeps no state of its own and is the same
 * device wherever it is started. The X25519 key that grants are wrapped to is derived without the node's name: all
 * nodes of a server are one installation, and what is granted to one of them opens on each
 * (docs/decisions/0016-several-nodes.md).
 */
import { createPrivateKey, createPublicKey } from "node:crypto";
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
  formatCheckpoint,
  formatNote,
  hex,
  HoldfastError,
  incarnationOpenedType,
  type IncarnationPub,
  leafHash,
  noPrevious,
  noteKeyId,
  type Random,
  type SealableDraft,
  sealGroup,
  utf8,
} from "@holdfast/core";
import type { ServerNode } from "./engine/engine-deps.ts";

/** Ports of {@link createNodeKeys}. */
export interface NodeKeysDeps {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  /** The server's secret for its nodes, the same on each of them. */
  readonly secret: Uint8Array;
  /** Name of this node. */
  readonly name: string;
}

/** The devices of one node. */
export interface NodeKeys {
  /** This node in a tenant, with that opening of its log, or a new one. Throws `request_malformed`. */
  nodeFor(tenant: string, opening?: string): ServerNode;
}

/** PKCS#8 of an Ed25519 key without its 32 bytes (RFC 8410 §7). */
const pkcs8Prefix = Buffer.from("302e020100300506032b657004220420", "hex");

/** The node of that name. */
export function createNodeKeys(deps: NodeKeysDeps): NodeKeys {
  const { crypto } = deps;
  const mac = crypto.hmac(deps.secret);
  const derived = (use: string, ...names: readonly string[]): Bytes =>
    mac.mac(utf8(JSON.stringify(["holdfast/node/v1", use, ...names])));
  return {
    nodeFor(tenant, found) {
      if (!/^[A-Za-z0-9_-]{22,32}$/.test(tenant)) throw new HoldfastError("request_malformed");
      const privateKey = Buffer.concat([pkcs8Prefix, derived("signing", tenant, deps.name)]);
      const spki = spkiOf(privateKey);
      const hpke = crypto.x25519PublicKey(derived("hpke", tenant));
      const incarnation = hex(derived("incarnation", tenant, deps.name).subarray(0, 8));
      const device = deviceId(crypto, spki);
      const log = { tenant, device, incarnation };
      const pub: IncarnationPub = {
        alg: "ed25519",
        spki: base64(spki),
        hpke: base64(hpke),
        reason: "first",
      };
      const opening = found ?? openingOf(deps, log, pub);
      const name = deviceLogOrigin(log);
      const root = leafHash(crypto, utf8(opening));
      const statement = formatCheckpoint({ origin: name, size: 1, root });
      const keyId = noteKeyId(crypto, { name, algorithm: "ed25519", spki });
      const signature = crypto.signer("ed25519", privateKey)(utf8(statement));
      const note = formatNote(statement, [{ name, keyId, signature }]);
      // The first leaf of a log of one has nothing beside it.
      return { device, opening, note, path: [] };
    },
  };
}

function spkiOf(pkcs8: Buffer): Bytes {
  const privateKey = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  return Uint8Array.from(createPublicKey(privateKey).export({ format: "der", type: "spki" }));
}

/** Header text of a new opening. */
function openingOf(
  { crypto, random, clock }: NodeKeysDeps,
  log: { readonly tenant: string; readonly device: string; readonly incarnation: string },
  pub: IncarnationPub,
): string {
  const origin = { ...log, tier: "software", app: "holdfast-server" } as const;
  const sealed = sealGroup(
    { crypto, random, keyFor: () => neverSealed() },
    origin,
    { leaf: noPrevious, range: emptyRange },
    [openingDraft({ random, clock }, pub)],
  );
  return sealed.events[0]?.headerText ?? "";
}

function neverSealed(): never {
  throw new HoldfastError("draft_invalid", { path: "/sections", reason: "openings have none" });
}

/** Names are random: a server has no pseudonym key. */
function openingDraft(
  { random, clock }: Pick<NodeKeysDeps, "random" | "clock">,
  pub: IncarnationPub,
): SealableDraft {
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
