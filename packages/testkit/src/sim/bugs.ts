/**
 * The test of the test: bugs that the simulator must find. Each is planted from outside, one at a time.
 */
import type { Holdfast } from "@holdfast/core";
import type { SimDisk } from "./disk.ts";
import {
  commitAfterMark,
  lazyCommit,
  leaveOut,
  markWritten,
  normalSynchronous,
  splitBefore,
} from "./driver-bugs.ts";
import type { Knobs } from "./knobs.ts";
import { type Plant, noPlant } from "./plant.ts";
import {
  alteredHeader,
  breakerStuck,
  deliveredWhenLeased,
  grantsNotSent,
  offByOne,
  pageLacksOne,
  staleCheckpoint,
  tokenForEver,
} from "./sync-bugs.ts";

/** One bug, and the knobs without which it has no chance to show. */
export interface Bug {
  readonly about: string;
  /** Made anew for each run. */
  readonly plant: () => Partial<Plant>;
  /** What its scenario needs; the seed draws the rest. */
  readonly knobs?: Partial<Knobs>;
}

/** Bugs of sync need somebody to sync with. */
const synced: Partial<Knobs> = { server: true, devices: 2 };

/** A disk that says that it synced files of that name. */
function lyingDisk(pattern: RegExp): (disk: SimDisk) => SimDisk {
  return (disk) => ({
    ...disk,
    get faults() {
      return disk.faults;
    },
    set faults(wanted) {
      disk.faults = wanted;
    },
    get accesses() {
      return disk.accesses;
    },
    sync(user, file) {
      if (!pattern.test(disk.nameOf(file))) disk.sync(user, file);
    },
  });
}

/** Answers of calls that wait at the same moment go to each other's callers. */
function crossedAnswers(store: Holdfast): Holdfast {
  let before: Promise<unknown> | undefined;
  return {
    ...store,
    append(...call) {
      const own = store.append(...call);
      const other = before as typeof own | undefined;
      before = own;
      const drafts = Array.isArray(call[0]) ? call[0].length : 1;
      if (other === undefined) return own;
      return own.then(async (result) => {
        const crossed = await other.catch(() => result);
        const fits = crossed.status === "appended" && crossed.events.length === drafts;
        return fits ? crossed : result;
      });
    },
  };
}

/** Ids that callers chose are not heeded. */
function withoutIds(store: Holdfast): Holdfast {
  return {
    ...store,
    append(drafts, options) {
      const list = (Array.isArray(drafts) ? drafts : [drafts]) as readonly {
        readonly id?: string;
      }[];
      const bare = list.map(({ id: _, ...draft }) => draft);
      return store.append(bare as never, options);
    },
  };
}

/** All bugs by name. */
export const bugs: Readonly<Record<string, Bug>> = {
  "synchronous-normal": {
    about: "acknowledged commits are not synced",
    plant: () => ({ driver: normalSynchronous }),
  },
  "ack-before-commit": {
    about: "append answers before COMMIT",
    plant: () => ({ driver: lazyCommit }),
  },
  "mark-before-commit": {
    about: "the high-water mark leads the store",
    plant: () => ({
      driver: commitAfterMark,
      medium: (medium, site) => ({
        ...medium,
        get place() {
          return medium.place;
        },
        markFile(incarnation) {
          const file = medium.markFile(incarnation);
          return {
            read: () => file.read(),
            write(slot, bytes) {
              file.write(slot, bytes);
              markWritten(site);
            },
          };
        },
      }),
    }),
  },
  "projection-outside": {
    about: "read models are written in a transaction after the events'",
    plant: () => ({ driver: splitBefore(/(INTO|UPDATE|FROM) "?model_/) }),
  },
  "outbox-outside": {
    about: "outbox entries are written in a transaction after the events'",
    plant: () => ({ driver: splitBefore(/INSERT INTO outbox/) }),
  },
  "stream-heads-outside": {
    about: "heads of streams are written in a transaction after the events'",
    plant: () => ({ driver: splitBefore(/INSERT INTO streams|UPDATE streams/) }),
  },
  "wal-not-synced": {
    about: "syncs of the write-ahead log do nothing",
    plant: () => ({ disk: lyingDisk(/-wal$/) }),
  },
  "database-not-synced": {
    about: "syncs of the database file do nothing",
    plant: () => ({ disk: lyingDisk(/store\.db$/) }),
  },
  "keyring-not-synced": {
    about: "a commit is acknowledged whose key is not durable",
    plant: () => ({ disk: lyingDisk(/keyring/) }),
  },
  "crossed-answers": {
    about: "calls that wait together get each other's answers",
    plant: () => ({ surface: crossedAnswers }),
  },
  "ids-not-heeded": {
    about: "a draft that is handed over again is recorded again",
    plant: () => ({ surface: withoutIds }),
    knobs: { killEveryMs: 300, killAtAccess: true },
  },
  "read-model-not-updated": {
    about: "rows of read models are not written",
    plant: () => ({ driver: leaveOut(/INTO "?model_/) }),
  },
  "delivered-when-leased": {
    about: "entries leave the outbox before the server has them",
    plant: () => ({ driver: deliveredWhenLeased }),
    knobs: synced,
  },
  "pull-off-by-one": {
    about: "a pull begins one position too late",
    plant: () => ({ transport: offByOne }),
    knobs: synced,
  },
  "page-lacks-one": {
    about: "a page lacks its last event and claims to be whole",
    plant: () => ({ server: pageLacksOne }),
    knobs: synced,
  },
  "header-altered": {
    about: "an event is altered between server and device",
    plant: () => ({ server: alteredHeader }),
    knobs: synced,
  },
  "checkpoint-stale": {
    about: "a receipt comes with a checkpoint that does not hold it",
    plant: () => ({ server: staleCheckpoint }),
    knobs: synced,
  },
  "token-for-ever": {
    about: "an expired token is not replaced",
    plant: () => ({ transport: tokenForEver }),
    knobs: { ...synced, tokenMs: 2_000 },
  },
  "grants-not-sent": {
    about: "grants are said to be sent and are not",
    plant: () => ({ transport: grantsNotSent }),
    knobs: synced,
  },
  "breaker-stuck": {
    about: "a breaker that has opened never lets a probe through",
    plant: () => ({ breaker: breakerStuck }),
    knobs: { ...synced, serverKillEveryMs: 500, serverRestartMs: 20_000 },
  },
  "server-synchronous-normal": {
    about: "the server's receipts are not synced before they are answered",
    plant: () => ({ serverDriver: normalSynchronous }),
    knobs: { ...synced, serverKillEveryMs: 300, powerLoss: 1 },
  },
  "server-ack-before-commit": {
    about: "the server answers before COMMIT",
    plant: () => ({ serverDriver: lazyCommit }),
    knobs: { ...synced, serverKillEveryMs: 300 },
  },
  "server-counters-outside": {
    about: "the counters of a shard move in a transaction after the events'",
    plant: () => ({ serverDriver: splitBefore(/^UPDATE shards/) }),
    knobs: { ...synced, serverKillEveryMs: 200, killAtAccess: true },
  },
};

/** The plant of a bug. */
export function plantOf(name: string): Plant {
  const bug = bugs[name];
  if (bug === undefined) throw new Error(`there is no bug "${name}"`);
  return { ...noPlant, ...bug.plant() };
}
