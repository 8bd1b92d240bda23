/** Folds appended events into builds, and streams anew. */
import type { RecordedEvent } from "../event/event.ts";
import { invariant } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { AppendedRow } from "../store/sqlite-event-log.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { comesLast, eventsOf } from "../store/stream-heads.ts";
import { type Build, type Model, saveBuild } from "./builds.ts";
import {
  foldEvents,
  type FoldOutcome,
  type FoldPoint,
  foldStart,
  inCanonicalOrder,
  readAll,
  type StreamReader,
} from "./fold.ts";

export interface Folding {
  /** Applies appended events to a build; the streams whose rows may have changed. */
  apply(model: Model, build: Build, appended: readonly AppendedRow[]): readonly string[];
  /** Folds a stream from the last snapshot within its first `unchanged` events. */
  refold(model: Model, build: Build, stream: string, unchanged: number): void;
}

export interface FoldingDeps extends StreamReader {
  readonly driver: SqliteDriver;
  readonly observer: Observer;
  /** The event that the running append stores, without opening it again. */
  readonly openAppended: (row: AppendedRow) => RecordedEvent;
}

export function createFolding(deps: FoldingDeps): Folding {
  function stop(model: Model, build: Build, position: number): void {
    deps.observer.count("projection_stopped", 1);
    deps.observer.log("error", "projection_stopped", { projection: model.projection.name });
    if (build.state !== "building") build.state = "stopped";
    build.stoppedAt = position;
    saveBuild(deps.driver, build);
  }

  /** Stores where a fold ended; what it met on the way decides about the whole build. */
  function settle(
    model: Model,
    build: Build,
    stream: string,
    scope: string,
    outcome: FoldOutcome,
  ): void {
    const { point, refusedAt, incomplete } = outcome;
    if (refusedAt !== undefined) stop(model, build, refusedAt);
    if (incomplete && !build.incomplete) {
      build.incomplete = true;
      saveBuild(deps.driver, build);
    }
    if (!build.table.put(stream, scope, point.state)) stop(model, build, point.position);
  }

  function refold(model: Model, build: Build, stream: string, unchanged: number): void {
    if (build.stoppedAt !== undefined) return;
    build.snapshots.cutAfter(stream, unchanged);
    const from = build.snapshots.before(stream, { folded: unchanged });
    const stored = readAll(deps.log, stream, from.position);
    const concerns = stored.some(({ headerText }) => mentions(model, headerText));
    if (!concerns && from.folded === 0) return;
    const positions = stored.map(({ position }) => position);
    const events = inCanonicalOrder(stored).map((event) => deps.open(event));
    const outcome = foldEvents(model.projection, from, events, (point) => {
      // A snapshot stands for all events up to its position: others are not kept.
      if (point.folded % limits.snapshotEvery !== 0) return;
      if (positions[point.folded - from.folded - 1] !== point.position) return;
      build.snapshots.put(stream, point);
    });
    settle(model, build, stream, deps.log.streams.get(stream)?.scope ?? "", outcome);
  }

  /** How many events of a stream are the first ones in canonical order with and without those that arrived. */
  function unchangedBefore(stream: string, arrived: ReadonlySet<number>): number {
    const stored = readAll(deps.log, stream, 0);
    const after = inCanonicalOrder(stored);
    // A cause that arrives behind its effects may move them, and so what stood before it as well.
    const before = inCanonicalOrder(stored.filter(({ position }) => !arrived.has(position)));
    const moved = after.findIndex(({ position }, at) => before[at]?.position !== position);
    return moved === -1 ? after.length : moved;
  }

  function foldOn(
    model: Model,
    build: Build,
    stream: string,
    rows: readonly AppendedRow[],
  ): boolean {
    const [first] = rows;
    const last = rows.at(-1);
    invariant(first !== undefined && last !== undefined, "a stream that is applied has rows");
    const folded = eventsOf(first.before);
    const every = limits.snapshotEvery;
    const crossing = Math.floor(folded / every) < Math.floor((folded + rows.length) / every);
    const ofTypes = rows.some((row) => model.types.has(row.sealed.header.type));
    if (!ofTypes && !crossing) return false;
    const from: FoldPoint = {
      ...foldStart,
      state: build.table.get(stream)?.state,
      folded,
      recorded: first.before?.recorded ?? 0,
    };
    const events = rows.map((row) => deps.openAppended(row));
    const outcome = foldEvents(model.projection, from, events, (point) => {
      if (point.folded % every === 0) build.snapshots.put(stream, point);
    });
    if (ofTypes) settle(model, build, stream, last.after.scope, outcome);
    return ofTypes;
  }

  function applyStream(
    model: Model,
    build: Build,
    stream: string,
    rows: readonly AppendedRow[],
  ): boolean {
    if (build.stoppedAt !== undefined) return false;
    const inOrder = rows.every(
      ({ position, sealed, before, after }) =>
        comesLast(sealed.header, before?.frontier ?? {}) && after.reorderedAt !== position,
    );
    if (inOrder) return foldOn(model, build, stream, rows);
    const arrived = new Set(rows.map(({ position }) => position));
    refold(model, build, stream, unchangedBefore(stream, arrived));
    return true;
  }

  return {
    refold,
    apply(model, build, appended) {
      const byStream = new Map<string, AppendedRow[]>();
      for (const row of appended) {
        const { stream } = row.sealed.header;
        // A stream that a build has not reached is folded when it is reached.
        if (build.state === "building" && stream > build.cursor) continue;
        const rows = byStream.get(stream);
        if (rows === undefined) byStream.set(stream, [row]);
        else rows.push(row);
      }
      const changed: string[] = [];
      for (const [stream, rows] of byStream) {
        if (applyStream(model, build, stream, rows)) changed.push(stream);
      }
      return changed;
    },
  };
}

/** A quick look, without parsing, whether a header may be of the projection's types. */
function mentions(model: Model, headerText: string): boolean {
  for (const type of model.types) if (headerText.includes(`"type":"${type}"`)) return true;
  return false;
}
