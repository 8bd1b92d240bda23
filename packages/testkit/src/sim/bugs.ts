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
import type { Verdict } from "./run-seed.ts";
import {
  alteredHeader,
  breakerStuck,
  deliveredWhenLeased,
  everybodyReads,
  everyScopeServed,
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
  /** The oracle that it is meant for: exit code and text of the verdict. */
  readonly found: { readonly code: 1 | 2 | 3; readonly text: RegExp };
  /** What its scenario needs; the seed draws the rest. */
  readonly knobs?: Partial<Knobs>;
}

/** What an oracle says when what was answered is not there. */
const lost = { code: 2, text: /acknowledged .* is lost/ } as const;
const notDelivered = { code: 3, text: /after the last fault .* to push/ } as const;
const cannotOpen = { code: 3, text: /after the last fault .* cannot open/ } as const;
const halted = { code: 2, text: /halted without a cause: server_/ } as const;
/** Kills between one access to the disk and the next. */
const killed: Partial<Knobs> = { killEveryMs: 300, killAtAccess: true };
/** As often as can be, of a device that has nothing else to do. */
const alone: Partial<Knobs> = { ...killed, killEveryMs: 150, server: false, devices: 1 };

/** Bugs of sync need somebody to sync with. */
const synced: Partial<Knobs> = { server: true, devices: 2 };
/** And somebody who may not read everything. */
const divided: Partial<Knobs> = { server: true, devices: 3, subjects: 2, restricted: 1 };

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
    found: lost,
    plant: () => ({ driver: normalSynchronous }),
  },
  "ack-before-commit": {
    about: "append answers before COMMIT",
    found: lost,
    plant: () => ({ driver: lazyCommit }),
  },
  "mark-before-commit": {
    about: "the high-water mark leads the store",
    found: lost,
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
    found: { code: 2, text: /read model is not the fold|verify says/ },
    plant: () => ({ driver: splitBefore(/(INTO|UPDATE|FROM) "?model_/) }),
    knobs: alone,
  },
  "outbox-outside": {
    about: "outbox entries are written in a transaction after the events'",
    found: { code: 3, text: /after the last fault .* owes/ },
    plant: () => ({ driver: splitBefore(/INSERT INTO outbox/) }),
    knobs: killed,
  },
  "stream-heads-outside": {
    about: "heads of streams are written in a transaction after the events'",
    found: { code: 2, text: /store_rewritten without a fault|verify says/ },
    plant: () => ({ driver: splitBefore(/INSERT INTO streams|UPDATE streams/) }),
    knobs: killed,
  },
  "wal-not-synced": {
    about: "syncs of the write-ahead log do nothing",
    found: lost,
    plant: () => ({ disk: lyingDisk(/-wal$/) }),
  },
  "database-not-synced": {
    about: "syncs of the database file do nothing",
    found: { code: 3, text: /store_corrupt/ },
    plant: () => ({ disk: lyingDisk(/store\.db$/) }),
  },
  "keyring-not-synced": {
    about: "a commit is acknowledged whose key is not durable",
    found: { code: 1, text: /section_unopened/ },
    plant: () => ({ disk: lyingDisk(/keyring/) }),
    knobs: { ...killed, powerLoss: 1 },
  },
  "crossed-answers": {
    about: "calls that wait together get each other's answers",
    found: { code: 2, text: /acknowledged .* is altered/ },
    plant: () => ({ surface: crossedAnswers }),
  },
  "ids-not-heeded": {
    about: "a draft that is handed over again is recorded again",
    found: { code: 2, text: /was recorded twice|acknowledged twice/ },
    plant: () => ({ surface: withoutIds }),
    knobs: alone,
  },
  "read-model-not-updated": {
    about: "rows of read models are not written",
    found: { code: 2, text: /the read model is not the fold/ },
    plant: () => ({ driver: leaveOut(/INTO "?model_/) }),
  },
  "delivered-when-leased": {
    about: "entries leave the outbox before the server has them",
    found: notDelivered,
    plant: () => ({ driver: deliveredWhenLeased }),
    knobs: synced,
  },
  "pull-off-by-one": {
    about: "a pull begins one position too late",
    found: { code: 3, text: /after the last fault .* holds [0-9]+ events of [0-9]+/ },
    plant: () => ({ transport: offByOne }),
    knobs: synced,
  },
  "page-lacks-one": {
    about: "a page lacks its last event and claims to be whole",
    found: halted,
    plant: () => ({ server: pageLacksOne }),
    knobs: synced,
  },
  "header-altered": {
    about: "an event is altered between server and device",
    found: halted,
    plant: () => ({ server: alteredHeader }),
    knobs: synced,
  },
  "checkpoint-stale": {
    about: "a receipt comes with a checkpoint that does not hold it",
    found: halted,
    plant: () => ({ server: staleCheckpoint }),
    knobs: synced,
  },
  "token-for-ever": {
    about: "an expired token is not replaced",
    found: { code: 3, text: /after the last fault .* to push .*token_refused/ },
    plant: () => ({ transport: tokenForEver }),
    knobs: { ...synced, tokenMs: 2_000 },
  },
  "grants-not-sent": {
    about: "grants are said to be sent and are not",
    found: cannotOpen,
    plant: () => ({ transport: grantsNotSent }),
    knobs: synced,
  },
  "breaker-stuck": {
    about: "a breaker that has opened never lets a probe through",
    found: { code: 3, text: /after the last fault .* to push .*breaker_open/ },
    plant: () => ({ breaker: breakerStuck }),
    knobs: { ...synced, serverKillEveryMs: 500, serverRestartMs: 20_000 },
  },
  "server-synchronous-normal": {
    about: "the server's receipts are not synced before they are answered",
    found: {
      code: 2,
      text: /receipt [0-9]+ is not in the server log|halted without a cause: server_/,
    },
    plant: () => ({ serverDriver: normalSynchronous }),
    knobs: { ...synced, serverKillEveryMs: 300, powerLoss: 1 },
  },
  "server-ack-before-commit": {
    about: "the server answers before COMMIT",
    found: halted,
    plant: () => ({ serverDriver: lazyCommit }),
    knobs: { ...synced, serverKillEveryMs: 300 },
  },
  "grants-to-all": {
    about: "keys go to every device, whatever it may read",
    found: { code: 2, text: /holds the key .* that it was not granted/ },
    plant: () => ({ grants: everybodyReads }),
    knobs: divided,
  },
  "scopes-not-heeded": {
    about: "the server serves every scope to every device",
    found: { code: 3, text: /after the last fault .* holds [0-9]+ events of [0-9]+/ },
    plant: () => ({ serverStore: everyScopeServed }),
    knobs: divided,
  },
  "server-counters-outside": {
    about: "the counters of a shard move in a transaction after the events'",
    found: { code: 1, text: /InvariantError: proven leaves are in the tree/ },
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

/** Did the oracle that the bug is meant for find it? Any other end of the run says nothing of that oracle. */
export function isFoundBy(name: string, { code, text }: Pick<Verdict, "code" | "text">): boolean {
  const found = bugs[name]?.found;
  return found !== undefined && found.code === code && found.text.test(text);
}
