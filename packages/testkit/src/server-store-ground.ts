/** What every test of the suite of server stores begins with: a tenant with one device log, still empty. */
import { base64url, type Crypto, emptyRange, type MaybePromise, noPrevious } from "@holdfast/core";
import type {
  DeviceLogRow,
  EventToPlace,
  ServerStore,
  ServerWrites,
} from "@holdfast/server/engine";
import type { Chance } from "./chance.ts";
import { type CommittedReads, committedReads } from "./committed-reads.ts";
import type { SuiteRunner } from "./key-provider.suite.ts";
import { createPseudonym } from "./sealed-batches.ts";

/** A store under test, with what tests of it draw from. */
export interface Here<Made> {
  readonly made: Made;
  readonly store: ServerStore;
  readonly chance: Chance;
  readonly crypto: Crypto;
  readonly check: SuiteRunner["check"];
}

export interface Names {
  readonly tenant: string;
  readonly shard: string;
  readonly device: string;
  readonly incarnation: string;
}

/** A tenant with what is committed of it, and its writes. */
export interface Founded extends Names {
  readonly reads: CommittedReads;
  write<T>(work: (tx: ServerWrites) => MaybePromise<T>): Promise<T>;
}

/** The row of a device log that was just opened. */
export function emptyLog({ device, incarnation }: Omit<Names, "shard" | "tenant">): DeviceLogRow {
  return {
    device,
    incarnation,
    algorithm: "ed25519",
    spki: new Uint8Array(44),
    hpke: "",
    opening: "{}",
    size: 0,
    head: noPrevious,
    range: emptyRange,
    note: undefined,
    receipt: undefined,
    receivedAt: 1,
    enrolment: 0,
    revocation: undefined,
    owed: [],
    cutoff: undefined,
  };
}

/** Founds a tenant with one device and its log. */
export async function addTenant({
  store,
  chance,
}: Pick<Here<unknown>, "store" | "chance">): Promise<Founded> {
  const [tenant, shard, device] = [1, 2, 3].map(() => createPseudonym(chance)) as [
    string,
    string,
    string,
  ];
  const names = { tenant, shard, device, incarnation: "0123456789abcdef" };
  await store.write(tenant, async (tx) => {
    await tx.addTenant({ tenant, shard, founder: device, node: device });
    await tx.addDevice(tenant, {
      device,
      role: "admin",
      status: "active",
      enrolledAt: 5,
      code: undefined,
      binding: undefined,
    });
    await tx.addDeviceLog(tenant, emptyLog(names));
  });
  return {
    ...names,
    reads: committedReads(store, tenant),
    write: (work) => store.write(tenant, work),
  };
}

/** Events of that device log, from that index on, each in a scope and a stream of its own. */
export function eventsFor(
  here: Pick<Here<unknown>, "chance">,
  names: Pick<Names, "device" | "incarnation">,
  count: number,
  from = 0,
): readonly EventToPlace[] {
  const { device, incarnation } = names;
  return Array.from({ length: count }, (_, at) => {
    const leaf = base64url(here.chance.bytes(32));
    const id = `id-${createPseudonym(here.chance)}`;
    const [scope, stream] = [createPseudonym(here.chance), createPseudonym(here.chance)];
    const index = from + at;
    const header = JSON.stringify({ id, n: index, scope, stream });
    const frames = here.chance.bytes(20);
    return {
      device,
      incarnation,
      index,
      leaf,
      id,
      scope,
      stream,
      type: "NoteTaken",
      header,
      frames,
    };
  });
}

/** One empty store, opened for one test. */
export interface ServerStoreUnderTest {
  readonly store: ServerStore;
  /** The same store from its medium, as a new process sees it. `undefined`: it has no medium. */
  readonly reopen: (() => MaybePromise<ServerStore>) | undefined;
  /** Tries to change or delete rows that must stay; throws `store_constraint`. `undefined`: cannot be tried. */
  readonly tamper:
    | ((table: string, act: "update" | "delete", tenant: string) => MaybePromise<void>)
    | undefined;
  close(): MaybePromise<void>;
}

/** A test of the suite, by its name. */
export type SuiteTest = (
  name: string,
  body: (here: Here<ServerStoreUnderTest>) => Promise<void>,
) => void;

export async function failureOf(run: () => unknown): Promise<unknown> {
  try {
    await run();
    return undefined;
  } catch (error) {
    return error;
  }
}

export function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
