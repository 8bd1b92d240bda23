/**
 * A store, put together: its life (`store-life.ts`), what reads it (`event-reader.ts`, `model-reader.ts`) and
 * what is appended to it. Made by `createStore` (a new one) and `openHoldfast`; platforms supply the ports.
 */
import { isBuildId } from "../event/header.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { PreparedDraft } from "../store/append.ts";
import type { ReadModelStatus } from "../projection/read-models.ts";
import type { AppendResult } from "../store/append.ts";
import { configure, preparePages } from "../store/pragmas.ts";
import { createSchema } from "../store/schema.ts";
import { presentScope } from "../store/shreds.ts";
import { readOwnLog, type SessionDeps } from "../store/session.ts";
import { inTransaction } from "../store/sqlite-event-log.ts";
import { amendment, resolution, retraction } from "./corrections.ts";
import { createDelivery } from "./delivery.ts";
import { createEventReader } from "./event-reader.ts";
import type { Finding, Holdfast, StoreStatus } from "./holdfast.ts";
import { createGrantStore, offerGrantStore } from "./grant-store.ts";
import { createOutboxDesk } from "./create-outbox-desk.ts";
import { createModelReader } from "./model-reader.ts";
import { listOf, prepareDraft, readExpectation } from "./prepare.ts";
import { recordable } from "./recordable.ts";
import { checkStore } from "./self-check.ts";
import { createSyncTables } from "../sync/sync-tables.ts";
import type { ClientSession, StoreDeps } from "./client-session.ts";
import { StoreLife } from "./store-life.ts";
import { createStoreSync } from "./sync.ts";

/** What {@link createStore} may be told. */
export interface CreateStoreOptions {
  /** Device that founded the tenant which the store joins; absent: this store's first device founds its own. */
  readonly founder?: string;
}

/** Makes the tables of a new store in an empty database. Its first event follows with the first writer. */
export function createStore(deps: SessionDeps, options: CreateStoreOptions = {}): void {
  const pageKey = deps.keyring.pageKey();
  const driver = deps.medium.openDriver(pageKey, { readOnly: false });
  pageKey.fill(0);
  try {
    preparePages(driver);
    configure(driver);
    inTransaction(driver, () => {
      createSchema(driver);
      const insert = driver.prepare("INSERT INTO store (name, value) VALUES (?, ?)");
      insert.run("store_id", deps.keyring.storeId);
      insert.run("tenant", deps.keyring.tenant);
      insert.run("created_at", String(deps.clock.now()));
      if (options.founder !== undefined) insert.run("founder", options.founder);
    });
  } finally {
    driver.close();
  }
}

/**
 * Opens a store that is there; for writing, its read models are brought up to date first. Throws
 * `draft_invalid` when `app` cannot stand in a header.
 */
export async function openHoldfast(parts: StoreDeps): Promise<Holdfast> {
  const deps = { ...parts, clock: recordable(parts.clock) };
  if (!isBuildId(deps.app)) {
    throw new HoldfastError("draft_invalid", { path: "/app", reason: "not a build id" });
  }
  const end = deps.observer.span("open");
  try {
    const life = new StoreLife(deps);
    await life.start();
    end("ok");
    return offerGrantStore(storeOver(life), life);
  } catch (error) {
    end("error");
    throw error;
  }
}

/** The store that an application sees, over its life. */
function storeOver(life: StoreLife): Holdfast {
  const { keyring } = life.deps;
  const { streamOf, corrected, ...events } = createEventReader(life);
  const { close: endLive, ...models } = createModelReader(life, streamOf);
  const { followed, receipt } = createDelivery(life);
  const sync = createStoreSync(life, createGrantStore(life));
  const append: Holdfast["append"] = async (...call) => followed(await appendTo(life, ...call));
  return {
    ...events,
    ...models,
    append,
    receipt,
    amend: async (idOrLeaf, correction) => append(amendment(corrected, idOrLeaf, correction)),
    retract: async (idOrLeaf, withdrawal) => append(retraction(corrected, idOrLeaf, withdrawal)),
    async resolve(stream, wanted) {
      const id = streamOf(stream);
      const expect = events.frontier(id);
      const draft = resolution(corrected, id, wanted);
      return append(draft, expect === undefined ? {} : { expect });
    },
    outbox: createOutboxDesk(life, events.get),
    audit: life.audit,
    rebuild: (model, onProgress) => life.build(model, true, onProgress),
    verify: (options) => checkStore(life.deps, life.current(), options ?? {}),
    status: () => ({ ...statusOf(life), engine: sync.current()?.state() }),
    sync: (transport, options) => sync.open(transport, options),
    deliver: (backend, ports) => sync.deliver(backend, ports),
    providers: {
      list: () => keyring.providers.standings(),
      signing: () => keyring.signingKeys(),
      reconfigure: (policy, openProvider) => keyring.providers.reconfigure(policy, openProvider),
    },
    server: () => life.sync.server(),
    streamId: (resourceKey) => keyring.streamOf(resourceKey),
    scopeId: (subjectKey, site = "") =>
      presentScope(keyring, life.current().log.shreds, subjectKey, site),
    actorId: (actorKey) => keyring.actorOf(actorKey),
    async close() {
      endLive();
      await sync.close();
      await life.close();
    },
  };
}

async function appendTo(
  life: StoreLife,
  ...[drafts, options]: Parameters<Holdfast["append"]>
): Promise<AppendResult> {
  life.current();
  const { writer } = life;
  if (writer === undefined) throw new HoldfastError("store_read_only");
  const list: readonly unknown[] = Array.isArray(drafts) ? listOf(drafts) : [drafts];
  if (list.length > limits.batchEventsMax) {
    const { batchEventsMax: limit } = limits;
    throw new HoldfastError("batch_too_large", { events: list.length, limit });
  }
  const expect = readExpectation(options?.expect);
  const at = life.deps.clock.now();
  const deps = { registry: life.deps.registry, actorOf: life.deps.keyring.actorOf };
  const prepared = list.map((draft) => prepareDraft(deps, draft, at));
  const bytes = prepared.reduce((sum, draft) => sum + draft.bytes, 0);
  if (bytes > limits.commitBytesMax) {
    throw new HoldfastError("batch_too_large", { bytes, limit: limits.commitBytesMax });
  }
  if (prepared.length === 0) return { status: "appended", events: [] };
  refuseWhenFull(life, prepared);
  return writer.append({ drafts: prepared, expect });
}

/** Urgent events are never refused: a call that brings one is let through. */
function refuseWhenFull(life: StoreLife, prepared: readonly PreparedDraft[]): void {
  if (prepared.some(({ lane }) => lane === "urgent")) return;
  if (life.current().outbox.pressure.level() !== "full") return;
  life.deps.observer.count("outbox_refusals", 1);
  throw new HoldfastError("outbox_full", { events: prepared.length });
}

/** What was pulled and cannot be read, though its key is here. */
function pulledFindings({ driver }: ClientSession): readonly Finding[] {
  const tables = createSyncTables(driver);
  const [sections, newer] = [tables.unopened(), tables.newerCount()];
  const closed = `${sections} pulled sections do not open under the key that is held; verify names them`;
  const unread = `${newer} events of others have headers of a newer version; a newer release fetches them`;
  return [
    ...(sections === 0 ? [] : [{ code: "section_unopened", message: closed }]),
    ...(newer === 0 ? [] : [{ code: "header_newer", message: unread }]),
  ];
}

/** Read models, of which nobody knows whether an event that cannot be read concerns them. */
function modelsOf({ models, driver }: ClientSession): readonly ReadModelStatus[] {
  const isWhole = createSyncTables(driver).newerCount() === 0;
  return models
    .status()
    .map((model) =>
      isWhole || model.state !== "current" ? model : { ...model, state: "incomplete" },
    );
}

/** Where the store stands now. */
function statusOf(life: StoreLife): Omit<StoreStatus, "engine"> {
  const session = life.current();
  const own = readOwnLog(life.deps, session);
  const keyring = life.deps.keyring.findings.map(({ code, copy, line }): Finding => ({
    code,
    message: `keyring copy "${copy}", line ${line}`,
  }));
  const outbox = session.outbox.status();
  life.deps.observer.gauge("outbox_entries", outbox.waiting);
  return {
    storeId: life.deps.keyring.storeId,
    tenant: life.deps.keyring.tenant,
    device: own?.device ?? "",
    incarnation: own?.incarnation ?? "",
    events: session.log.head(),
    head: { sequence: own?.size ?? 0, root: own?.root ?? "" },
    outbox,
    sync: life.sync.watermarks(),
    projections: modelsOf(session),
    findings: [...keyring, ...life.findings, ...pulledFindings(session)],
  };
}
