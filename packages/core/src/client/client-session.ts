/** What an open store is made from, and one open connection with everything that hangs on it. */
import type { Registry } from "../event/registry.ts";
import type { TakenOver } from "../outbox/leases.ts";
import { createOutbox, type Outbox } from "../outbox/outbox.ts";
import type { OutboxOptions } from "../outbox/policy.ts";
import type { Projection } from "../projection/projection.ts";
import { createReadModels, type ReadModels } from "../projection/read-models.ts";
import type { Random, Timers } from "../std/ports.ts";
import type { Session, SessionDeps } from "../store/session.ts";
import type { AppendParticipant } from "../store/sqlite-event-log.ts";
import { type AccessTable, createAccessTable } from "../sync/access-table.ts";
import { type ClosedSections, createClosedSections } from "../sync/closed-sections.ts";
import type { Observer } from "../telemetry/observer.ts";
import { openAppended, openEvent, recordedEvent } from "./open-event.ts";

/** What a platform and an application supply to open a store. */
export interface StoreDeps extends SessionDeps {
  readonly random: Random;
  readonly timers: Timers;
  readonly observer: Observer;
  readonly registry: Registry;
  readonly projections: readonly Projection[];
  /** Build id of the application: part of every header. */
  readonly app: string;
  readonly readOnly: boolean;
  /** Go on from an older copy of the store, on a new incarnation. */
  readonly acceptRollback: boolean;
  /** Bounds of the outbox; default: `outboxPolicyDefault`. */
  readonly outbox?: OutboxOptions;
}

/** One open connection with everything that hangs on it. */
export interface ClientSession extends Session {
  readonly outbox: Outbox;
  readonly models: ReadModels;
  readonly access: AccessTable;
  readonly closed: ClosedSections;
  readonly participants: readonly AppendParticipant[];
}

/** Hangs on a connection what takes part in its appends; `tookOver` hears of leases of outbox entries. */
export function dressSession(
  deps: StoreDeps,
  session: Session,
  tookOver: (taken: TakenOver) => void,
): ClientSession {
  const { driver, log } = session;
  const { clock, observer, outbox: options = {} } = deps;
  const outbox = createOutbox({ driver, clock, observer, options, tookOver });
  const closed = createClosedSections({ driver, keyring: deps.keyring });
  const opening = { ...deps, awaited: closed.has, isShredded: log.shreds.isShredded };
  const models = createReadModels({
    driver,
    log,
    crypto: deps.crypto,
    observer: deps.observer,
    registry: deps.registry,
    projections: deps.projections,
    open: (stored) => openEvent(opening, stored),
    openAppended: ({ position, sealed, content }) =>
      content === undefined
        ? openAppended(opening, { position, sealed })
        : recordedEvent(deps, { position, leaf: sealed.leaf }, sealed.header, content, "opened"),
  });
  const access = createAccessTable({ driver, keyring: deps.keyring });
  const participants = [outbox, access, closed, models];
  return { ...session, outbox, models, access, closed, participants };
}
