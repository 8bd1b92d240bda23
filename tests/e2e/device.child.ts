/**
 * One device as a process: a store in a folder of its own, told what to do in lines of JSON. Everything it does
 * goes through `@holdfast/node`; what it is asked about its tables is read from the store's own answers.
 */
import {
  createRegistry,
  createShredDesk,
  grantStoreOf,
  lifeOf,
  type SyncEngine,
  type SyncReport,
  tenantScope,
  withdrawAccess,
} from "@holdfast/core";
import { createNodeHttp, openStore, syncDesk, syncStore } from "@holdfast/node";
import { textOfTables } from "@holdfast/testkit";
import { packEvents, packProjections } from "@holdfast/packs";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { listen } from "./processes.ts";

const [folder = "", optionsText = "{}"] = process.argv.slice(2);
const options = JSON.parse(optionsText) as {
  readonly leaseExpiryMs?: number;
  readonly breakerMs?: number;
};
const timersBefore = { count: 0 };
countWakeUps();

const store = await openStore({
  directory: join(folder, "store"),
  stateDirectory: join(folder, "state"),
  passphrase: "end to end",
  registry: createRegistry(packEvents),
  projections: packProjections,
  app: "holdfast-e2e",
  ...(options.leaseExpiryMs !== undefined && { outbox: { leaseExpiryMs: options.leaseExpiryMs } }),
});
const http = createNodeHttp();
const desk = syncDesk(store, http);
let running: SyncEngine | undefined;

function engine(): SyncEngine {
  running ??= syncStore(store, {
    breaker: {
      cooldownFirstMs: options.breakerMs ?? 30_000,
      cooldownMostMs: options.breakerMs ?? 300_000,
    },
  });
  return running;
}

/** Timers that fire: what keeps a processor from sleeping. */
function countWakeUps(): void {
  const plain = globalThis.setTimeout;
  globalThis.setTimeout = ((run: (...values: unknown[]) => void, ...rest: [number?]) =>
    plain(
      (...values: unknown[]) => {
        timersBefore.count++;
        run(...values);
      },
      ...rest,
    )) as typeof globalThis.setTimeout;
}

interface Note {
  readonly n: number;
  readonly stream?: string;
  readonly scope?: string;
  readonly notes?: string;
  readonly lane?: "urgent" | "normal";
}

function draftOf({ n, stream, scope = "Patient/ada", notes = "", lane }: Note) {
  return {
    type: "NosebleedRecorded",
    stream: stream ?? `diary/${n}`,
    scope,
    actor: "ada",
    data: { started_at: "2026-03-01T08:00:00.000Z", duration_minutes: n % 1_000, notes },
    ...(lane !== undefined && { lane }),
  };
}

async function append(notes: readonly Note[]): Promise<{ readonly ids: readonly string[] }> {
  const result = await store.append(notes.map(draftOf));
  if (result.status !== "appended") throw new Error(result.status);
  return { ids: result.events.map(({ id }) => id) };
}

function ownEvents() {
  const events = [];
  let after = 0;
  for (;;) {
    const page = store.read({ after, limit: 1_000, type: "NosebleedRecorded", headersOnly: true });
    if (page.length === 0) return events;
    events.push(...page);
    after = page.at(-1)?.position ?? after;
  }
}

function digestOf(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}

await listen(
  {
    append: ({ notes }: { readonly notes: readonly Note[] }) => append(notes),
    /** Appends one after another and says each id once it is durable. */
    async burst({ from, count }: { readonly from: number; readonly count: number }) {
      for (let n = from; n < from + count; n++) {
        const { ids } = await append([{ n }]);
        process.stdout.write(`${JSON.stringify({ acknowledged: ids[0] })}\n`);
      }
      return count;
    },
    async amend({ stream, minutes }: { readonly stream: string; readonly minutes: number }) {
      const [last] = store.history(stream).slice(-1);
      if (last === undefined) throw new Error("no such stream");
      const data = { ...(last.event.data as object), duration_minutes: minutes };
      const result = await store.amend(last.event.id, { actor: "ada", why: "corrected", data });
      return result.status;
    },
    enrol: ({ code }: { readonly code: string }) => desk.enrol(code),
    invite: (terms: { readonly role: "device" | "admin"; readonly scopes: readonly string[] }) =>
      desk.invite({
        lifeMs: 3_600_000,
        role: terms.role,
        scopes: terms.scopes.map((words) => (words === "*" ? words : store.scopeId(words))),
      }),
    scope: ({ words }: { readonly words: string }) => store.scopeId(words),
    /** Leaves the server's node one scope of all. */
    async limitNode({ scope }: { readonly scope: string }) {
      const grants = grantStoreOf(store);
      const node = store.server()?.node ?? "";
      const access = grants.access().devices.get(node);
      if (access === undefined) return false;
      await withdrawAccess(grants, node, "limited");
      const scopes = [tenantScope(grants), store.scopeId(scope)];
      const pub = { device: node, hpke: access.hpke, role: "reader" as const, scopes };
      await grants.append([{ type: "AccessGranted", pub }]);
      return true;
    },
    sync: (): Promise<SyncReport> => engine().syncNow(),
    start: () => {
      engine().start();
    },
    cancel: () => engine().cancel(),
    state: () => engine().state(),
    outbox: () => store.status().outbox,
    breakers: () => desk.breakers(),
    receipts: ({ ids }: { readonly ids: readonly string[] }) => ids.map((id) => store.receipt(id)),
    ids: () => ownEvents().map(({ id }) => id),
    leaves: () =>
      ownEvents()
        .map(({ leaf }) => leaf)
        .toSorted(),
    contents: () => {
      const counts: Record<string, number> = {};
      for (const { content } of store.read({ type: "NosebleedRecorded", limit: 10_000 })) {
        counts[content] = (counts[content] ?? 0) + 1;
      }
      return counts;
    },
    rows: () => {
      const rows = store
        .query("diary", { limit: 10_000 })
        .toSorted((a, b) => (a.stream < b.stream ? -1 : 1));
      return { count: rows.length, digest: digestOf(rows) };
    },
    conflicts: () => store.conflicts(),
    async resolve({ stream, side }: { readonly stream: string; readonly side?: string }) {
      const answer = await store.resolve(stream, {
        actor: "ada",
        why: "settled",
        ...(side !== undefined && { side }),
      });
      return answer.status;
    },
    /** Asks for a shred of a scope, and has two actors approve it. */
    async shred({ scope }: { readonly scope: string }) {
      const shreds = createShredDesk(store);
      const scopes = shreds.scopesOf(scope);
      const by = (actor: string) => ({ actor, why: "erasure-asked" });
      const shred = await shreds.request({ ...by("officer"), scopes });
      await shreds.approve(shred, by("officer"));
      await shreds.approve(shred, by("director"));
      return shred;
    },
    shreds: () => createShredDesk(store).list(),
    /** Which of the words stand in a table, in an event that opens, or in a full-text answer. */
    legible({ words }: { readonly words: readonly string[] }) {
      const tables = textOfTables(lifeOf(store).current().driver);
      const opened = JSON.stringify(store.read({ limit: 10_000 }));
      return words.filter((word) => tables.includes(word) || opened.includes(word));
    },
    /** Scopes of the data keys that the keyring holds. */
    keys: () => lifeOf(store).deps.keyring.dataKeys(),
    verify: () => {
      const { ok, events, problems } = store.verify();
      return { ok, events, problems };
    },
    status: () => store.status(),
    standing: () => desk.standing(),
    used: () => {
      const { user, system } = process.cpuUsage();
      return { cpuMs: (user + system) / 1_000, wakeUps: timersBefore.count };
    },
  },
  { device: store.status().device, tenant: store.status().tenant },
);
await store.close();
