/**
 * What attacks share: a digest of everything that the server keeps, a second tenant, and logs whose signatures are
 * right while what they sign is not.
 */
import { createHash } from "node:crypto";
import {
  base64url,
  canonicalJson,
  type Bytes,
  createTreeBuilder,
  deviceLogOrigin,
  emptyRange,
  encodePush,
  formatCheckpoint,
  formatNote,
  fromBase64url,
  type Header,
  leafHash,
  mediaTypes,
  noteKeyId,
  type PushRequest,
  rootOf,
  type SealedEvent,
  utf8,
} from "@holdfast/core";
import {
  createInvitationCode,
  createPseudonym,
  createPushingDevice,
  type PushingDevice,
  type TestEngine,
  type TestServer,
} from "@holdfast/testkit";
import type { PostgresDriver } from "@holdfast/server";
import { tableNames } from "../postgres/cluster.ts";
import { bearer, crypto, type TestApi } from "../server/lab.ts";

/** Everything that the server keeps, row by row. */
export function digestOf({ driver }: Pick<TestServer, "driver">): string {
  const hash = createHash("sha256");
  const tables = driver
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'")
    .all<{ name: string }>();
  for (const { name } of tables) {
    hash.update(name);
    for (const row of driver.prepare(`SELECT * FROM ${name}`).all<Record<string, unknown>>()) {
      for (const value of Object.values(row)) {
        hash.update(value instanceof Uint8Array ? value : JSON.stringify(value));
        hash.update("\n");
      }
    }
  }
  return hash.digest("hex");
}

/** As {@link digestOf}, on PostgreSQL: every row of every table, whoever's it is. */
export async function digestOfDatabase(owner: PostgresDriver): Promise<string> {
  const hash = createHash("sha256");
  await owner.lend(async (connection) => {
    for (const name of await tableNames(connection)) {
      hash.update(name);
      const sql = `SELECT one::text AS text FROM holdfast.${name} AS one ORDER BY 1`;
      for (const { text } of await connection.rows<{ text: string }>(sql)) hash.update(text);
    }
  });
  return hash.digest("hex");
}

/** Another tenant of the same server, founded by its own code. */
export async function foundOther({ server, clock, chance }: TestEngine): Promise<PushingDevice> {
  const founder = createPushingDevice({ crypto, chance, tenant: createPseudonym(chance) });
  const code = createInvitationCode({ crypto, chance });
  await server.addFoundingCode(code.digest, clock.now() + 60_000);
  await server.enrol(founder.enrol(code));
  return founder;
}

/** A device that joins the tenant of that one. */
export async function joinOther(
  { server, clock, chance }: TestEngine,
  admin: PushingDevice,
): Promise<PushingDevice> {
  const { tenant, device, incarnation } = admin;
  const joining = createPushingDevice({ crypto, chance, tenant });
  const code = createInvitationCode({ crypto, chance });
  const expires = clock.now() + 60_000;
  const invitation = { digest: code.digest, role: "device", expires } as const;
  await server.addCode({ tenant, device, incarnation }, invitation);
  await server.enrol(joining.enrol(code));
  return joining;
}

/** A push over the socket. */
export function pushOver(
  lab: Pick<TestApi, "url">,
  request: PushRequest,
  token: string,
): Promise<Response> {
  return fetch(`${lab.url}/v1/push`, {
    method: "POST",
    headers: { ...bearer(token), "content-type": mediaTypes.push },
    body: Buffer.from(encodePush(request)),
  });
}

/** The note that a device would sign over those leaves. */
export function signedNote(
  device: PushingDevice,
  leaves: readonly string[],
  changes: { readonly size?: number; readonly root?: Bytes } = {},
): string {
  const builder = createTreeBuilder(crypto, emptyRange);
  for (const leaf of leaves) builder.append(fromBase64url(leaf) as Bytes);
  const range = builder.range();
  const name = deviceLogOrigin(device);
  const statement = formatCheckpoint({
    origin: name,
    size: changes.size ?? range.size,
    root: changes.root ?? rootOf(crypto, range),
  });
  const keyId = noteKeyId(crypto, { name, algorithm: "ed25519", spki: device.log.spki });
  return formatNote(statement, [{ name, keyId, signature: device.sign(utf8(statement)) }]);
}

/** The next event of a device with its header changed, under a signature that is right. */
export function forgedPush(
  device: PushingDevice,
  change: (header: Header) => object,
  frames: (event: SealedEvent) => SealedEvent["frames"] = (event) => event.frames,
): PushRequest {
  const from = device.events.length;
  const { events } = device.log.draftBatch([{}]);
  const event = events[0] as SealedEvent;
  const text = canonicalJson(change(event.header));
  const leaf = base64url(leafHash(crypto, utf8(text)));
  const leaves = [...device.events.map((each) => each.leaf), leaf];
  return {
    device: device.device,
    incarnation: device.incarnation,
    from,
    note: signedNote(device, leaves),
    entries: [{ kind: "full", body: { header: text, frames: frames(event) } }],
    fills: [],
    checkpoint: 0,
  };
}
