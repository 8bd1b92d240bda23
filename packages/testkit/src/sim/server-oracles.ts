/** What must hold of the server at the end of a run. */
import { base64url, type Crypto, leafHash, type RecordedEvent, utf8 } from "@holdfast/core";
import { serverLogOrigin } from "@holdfast/server/engine";
import { committedReads } from "../committed-reads.ts";
import { type Ledger, LivenessError, SafetyError } from "./ledger.ts";
import { host, type SimServer } from "./sim-server.ts";
import { plaintextMark } from "./workload.ts";

/** A whole word of a device: what is sealed has any three bytes sooner or later. */
const readable = new RegExp(`${Buffer.from(plaintextMark).toString("latin1")}d[0-9]+-`);

/**
 * Receipts that devices have heard stand in their server logs; each event has one place; and nothing that was
 * recorded can be read on the server's disk.
 */
export async function checkServer(
  server: SimServer,
  ledger: Ledger,
  crypto: Crypto,
  held: readonly (readonly RecordedEvent[])[],
): Promise<void> {
  const store = server.open?.store;
  if (store === undefined) throw new LivenessError("the server is down without a fault");
  const [events = []] = held;
  const tenant = events[0]?.header.ten ?? "";
  const reads = committedReads(store, tenant);
  const row = await reads.tenant(tenant);
  if (row === undefined) throw new SafetyError("the server has lost the tenant");
  const stated = new Map<string, string>();
  for (const { shard, log, leaves } of await reads.shards()) {
    const texts = await reads.serverLeaves(shard, 0, leaves);
    for (const [at, text] of texts.entries()) {
      stated.set(`${serverLogOrigin(host, shard, log)} ${at}`, text);
    }
  }
  for (const [place, text] of ledger.receipts) {
    if (stated.get(place) !== text) {
      throw new SafetyError(`receipt ${place} is not in the server log: ${text}`);
    }
  }
  const placed = await reads.events(tenant, "*", 0, 1_000_000);
  const seen = new Set<string>();
  for (const { header, position } of placed) {
    const leaf = base64url(leafHash(crypto, utf8(header)));
    if (seen.has(leaf)) throw new SafetyError(`${leaf} was placed twice, at ${position} again`);
    seen.add(leaf);
  }
  for (const { leaf, type } of events) {
    if (!seen.has(leaf)) throw new SafetyError(`the server does not have ${type} ${leaf}`);
  }
  for (const [name, bytes] of server.disk.image().files) {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
    if (readable.test(text)) {
      throw new SafetyError(`the server's ${name} holds plaintext`);
    }
  }
}
