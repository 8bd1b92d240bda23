/** What a restored server lost, by the receipts that devices presented, and what of it has come back since. */
import { fromUtf8, type IndexRanges } from "@holdfast/core";
import type { EngineDeps } from "../engine-deps.ts";
import type { ServerReads } from "../server-store.ts";
import { type KeptEvidence, lostReceiptCode } from "./kept-evidence.ts";

/** One device log of which the server had receipted more than it was restored with. */
export interface LostLog {
  readonly tenant: string;
  readonly device: string;
  readonly incarnation: string;
  /** Leaves that the greatest presented receipt states. */
  readonly receipted: number;
  /** Leaves that were here when the first of its receipts was presented. */
  readonly restored: number;
  /** Of those beyond, leaves that are here again. */
  readonly back: number;
  /** Of those beyond, leaves that are not here: only their devices have them. */
  readonly missing: number;
  /** Of those that are back, events whose content the device still owes. */
  readonly owed: number;
}

/** For the operator: every tenant's lost logs. */
export async function listLost({ store }: Pick<EngineDeps, "store">): Promise<readonly LostLog[]> {
  const shards = await store.read(undefined, (reads) => reads.shards());
  const lost: LostLog[] = [];
  for (const { tenant, sealed } of shards) {
    if (!sealed) lost.push(...(await store.read(tenant, (reads) => lostOf(reads, tenant))));
  }
  return lost;
}

async function lostOf(reads: ServerReads, tenant: string): Promise<readonly LostLog[]> {
  const rows = await reads.quarantineOf(tenant, lostReceiptCode);
  const logs = Map.groupBy(rows, ({ device, incarnation }) => `${device}/${incarnation}`);
  const lost: LostLog[] = [];
  for (const of of logs.values()) {
    const [first] = of;
    if (first === undefined) continue;
    const { device, incarnation } = first;
    const receipted = of.reduce((most, { from }) => Math.max(most, from), 0);
    const restored = of.reduce((least, { bytes }) => {
      const { held } = JSON.parse(fromUtf8(bytes)) as KeptEvidence;
      return Math.min(least, held);
    }, receipted);
    const row = await reads.deviceLog(tenant, device, incarnation);
    const here = Math.min(receipted, row?.size ?? 0);
    lost.push({
      tenant,
      device,
      incarnation,
      receipted,
      restored,
      back: Math.max(0, here - restored),
      missing: receipted - here,
      owed: within(row?.owed ?? [], restored, here),
    });
  }
  return lost;
}

/** How many indices of those ranges lie in [from, to). */
function within(ranges: IndexRanges, from: number, to: number): number {
  return ranges.reduce(
    (sum, [start, end]) => sum + Math.max(0, Math.min(end, to) - Math.max(start, from)),
    0,
  );
}
