/**
 * Devices for tests of the client: whole stores on files of their own, under clocks by hand, which a test opens
 * again, copies without anybody noticing, and puts back to an older copy; and what they exchange with a reference
 * server, call by call.
 */
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Crypto,
  grantStoreOf,
  type Holdfast,
  limits,
  type PlannedPush,
  type PullRequest,
  type PushBounds,
  type PushOutcome,
  type Random,
  type SqliteDriver,
  type StoreMedium,
  type SyncStore,
  syncStoreOf,
} from "@holdfast/core";
import { createManualClock, type ManualClock } from "./manual-clock.ts";
import {
  createMemoryMark,
  createTestStore,
  type TestOpenOptions,
  type TestStore,
} from "./memory-store.ts";
import { createNoteRegistry } from "./note-events.ts";
import type { ReferenceServer } from "./reference-server.ts";

/** Tenant of a test device, unless another is named. All have one pseudonym key: words are the same everywhere. */
export const testTenant = "abcdefghijklmnopqrstuA";

const founded = { tenant: testTenant, founder: "f".repeat(22) };

/** What a test brings. */
export interface TestDevicePorts<Life> {
  readonly crypto: Crypto;
  readonly random: Random;
  /** Opens a database without encryption. */
  openFile(options: { readonly path: string; readonly readOnly: boolean }): SqliteDriver;
  /** What the test wants to see behind an open store. */
  lifeOf(store: Holdfast): Life;
}

/** A device: an open store and what stands behind it. Opened again or copied, it is another value. */
export interface TestDevice<Life> {
  readonly test: TestStore;
  readonly clock: ManualClock;
  /** File of its database. */
  readonly path: string;
  readonly store: Holdfast;
  readonly sync: SyncStore;
  readonly life: Life;
}

/** Devices of one test file. */
export interface TestDevices<Life> {
  /** A new one; a clock by hand of its own unless one is given. `joins`: of which tenant, founded by whom. */
  make(
    options?: TestOpenOptions & {
      readonly clock?: ManualClock;
      readonly joins?: { readonly tenant: string; readonly founder: string };
    },
  ): Promise<TestDevice<Life>>;
  /** The same store, opened once more. */
  reopen(device: TestDevice<Life>, options?: TestOpenOptions): Promise<TestDevice<Life>>;
  /** The same file under the same keyring and marks: a copy that nobody noticed. */
  clone(device: TestDevice<Life>): Promise<TestDevice<Life>>;
  /** Keeps the file as it is now; what it answers puts it back, with the marks or without them. */
  keep(device: TestDevice<Life>): (what: { readonly marks: boolean }) => void;
  /** Takes the files of all of them away. */
  remove(): void;
}

/** Makes devices in a scratch folder of their own. */
export function createTestDevices<Life>(ports: TestDevicePorts<Life>): TestDevices<Life> {
  const { crypto, random } = ports;
  const folder = mkdtempSync(join(tmpdir(), "holdfast-devices-"));
  let files = 0;

  function nextPath(): string {
    files += 1;
    return join(folder, `${files}.db`);
  }

  function openerOf(path: string): StoreMedium["openDriver"] {
    return (_, { readOnly }) => ports.openFile({ path, readOnly });
  }

  async function opened(test: TestStore, options: TestOpenOptions) {
    const store = await test.open({ registry: createNoteRegistry(), ...options });
    return { store, sync: syncStoreOf(store), life: ports.lifeOf(store) };
  }

  /** Everything in one file. An idle writer has given its lease back. */
  function settleFile({ clock, path }: TestDevice<Life>): void {
    clock.advance(2 * limits.leaseIdleMs);
    const driver = ports.openFile({ path, readOnly: false });
    driver.prepare("PRAGMA wal_checkpoint(TRUNCATE)").all();
    driver.close();
  }

  return {
    async make({ clock = createManualClock(), joins = founded, ...options } = {}) {
      const path = nextPath();
      const test = await createTestStore(
        { crypto, random, clock, timers: clock, openDriver: openerOf(path) },
        joins,
      );
      const keyring = await test.openKeyring();
      keyring.addPseudonymKey(new Uint8Array(32).fill(7));
      keyring[Symbol.dispose]();
      return { test, clock, path, ...(await opened(test, options)) };
    },
    reopen: async (device, options = {}) => ({
      ...device,
      ...(await opened(device.test, options)),
    }),
    async clone(device) {
      const path = nextPath();
      settleFile(device);
      copyFileSync(device.path, path);
      const marks = new Map(
        [...device.test.marks].map(([name, mark]) => {
          return [name, { ...mark, slots: copyOf(mark.slots) }] as const;
        }),
      );
      const medium: StoreMedium = {
        openDriver: openerOf(path),
        place: device.test.place,
        markFile(incarnation) {
          const mark = marks.get(incarnation) ?? createMemoryMark();
          marks.set(incarnation, mark);
          return mark;
        },
      };
      const test: TestStore = {
        ...device.test,
        marks,
        medium,
        open: (options = {}) => device.test.open({ ...options, medium: () => medium }),
      };
      return { ...device, test, path, ...(await opened(test, {})) };
    },
    keep(device) {
      const { path, test } = device;
      settleFile(device);
      copyFileSync(path, `${path}.kept`);
      const kept = [...test.marks.values()].map((mark) => [mark, copyOf(mark.slots)] as const);
      return ({ marks }) => {
        for (const end of ["-wal", "-shm"]) rmSync(`${path}${end}`, { force: true });
        copyFileSync(`${path}.kept`, path);
        if (marks) for (const [mark, slots] of kept) mark.slots = slots;
      };
    },
    remove() {
      rmSync(folder, { recursive: true });
    },
  };
}

type Slots = ReturnType<typeof createMemoryMark>["slots"];

function copyOf(slots: Slots): Slots {
  return slots && ([...slots] satisfies Slots);
}

/** What exchanges need of a device. */
export type SyncingDevice = Pick<TestDevice<unknown>, "store" | "sync">;

/** As much as usual in one exchange. */
const pushBounds: PushBounds = { bodies: 64, bytes: limits.pushBytesMax, leaves: 131_072 };
const pullBounds = { events: 1_000, bytes: limits.pullBytesMax };

/** Makes the device known to the server, and the server to it. */
export async function enrolAt(server: ReferenceServer, { sync }: SyncingDevice): Promise<void> {
  const answer = server.enrol(sync.enrolment());
  await sync.enrolled("https://server.test", server.hello(), answer, server.fingerprint);
}

/** The next push. Throws when nothing is due. */
export async function duePush({ sync }: SyncingDevice): Promise<PlannedPush> {
  const plan = await sync.planPush(pushBounds);
  if (plan === undefined) throw new Error("nothing to push");
  return plan;
}

/** The next pull. Throws before the device knows a server. */
export function duePull({ sync }: SyncingDevice): PullRequest {
  const request = sync.planPull(pullBounds);
  if (request === undefined) throw new Error("nothing to pull");
  return request;
}

/** Pushes until nothing is due, and follows the server log where it goes on; what each exchange came to. */
export async function pushAll(
  device: SyncingDevice,
  server: ReferenceServer,
  bounds: Partial<PushBounds> = {},
): Promise<readonly PushOutcome[]> {
  const { sync } = device;
  const outcomes: PushOutcome[] = [];
  for (let times = 0; times < 100; times++) {
    const plan = await sync.planPush({ ...pushBounds, ...bounds });
    if (plan === undefined) return outcomes;
    const outcome = await sync.takePush(plan, server.push(plan.request));
    if (outcome.status === "moved") await follow(device, server);
    else outcomes.push(outcome);
  }
  throw new Error("pushing does not end");
}

/** Follows the server log one step on. */
async function follow({ sync }: SyncingDevice, server: ReferenceServer): Promise<void> {
  const request = sync.planEpoch();
  const answer = request && server.epoch(request);
  if (request === undefined || answer === undefined) throw new Error("nothing goes on");
  const outcome = await sync.takeEpoch(request, answer);
  if (outcome.status !== "followed" || outcome.tailLost) throw new Error(outcome.status);
}

/** Pulls until there is no more; how many events came. */
export async function pullAll(
  { sync, store }: SyncingDevice,
  server: ReferenceServer,
  bounds: Partial<typeof pullBounds> = {},
): Promise<number> {
  let events = 0;
  for (let times = 0; times < 200; times++) {
    const request = sync.planPull({ ...pullBounds, ...bounds });
    if (request === undefined) return events;
    const outcome = await sync.takePull(request, server.pull(store.status().device, request));
    if (outcome.status !== "stored") throw new Error(outcome.status);
    events += outcome.events;
    if (!outcome.more) return events;
  }
  throw new Error("pulling does not end");
}

/** Gives one device every data key of the events that another one has: what grants will bring. */
export function giveKeys(from: SyncingDevice, to: SyncingDevice): void {
  const [source, target] = [grantStoreOf(from.store).keyring, grantStoreOf(to.store).keyring];
  for (const { header } of from.store.read()) {
    for (const { k } of Object.values(header.sec)) {
      const material = source.dataKeyMaterial(k, 1);
      if (material !== undefined) target.addDataKey(material);
    }
  }
}
