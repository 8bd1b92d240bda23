/** Reading events: by filter, by id, with proof, and as the history of a stream. */
import type { Conflict } from "../event/conflicts.ts";
import type { RecordedEvent } from "../event/event.ts";
import { createHashSource } from "../proof/tiles.ts";
import { proveInclusion } from "../proof/tree.ts";
import { readAll } from "../projection/fold.ts";
import { base64 } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { EventFilter, StoredEvent } from "../store/event-log.ts";
import { headerOf } from "../store/sqlite-event-log.ts";
import { conflictsOf, type Corrected, historyOf } from "./corrections.ts";
import type { EventProof, Holdfast, LogQuery } from "./holdfast.ts";
import { committedHeader, openEvent, type OpenEventDeps, recordedEvent } from "./open-event.ts";
import type { StoreLife } from "./store-life.ts";

type EventReader = Pick<
  Holdfast,
  "read" | "get" | "prove" | "frontier" | "history" | "conflicts"
> & {
  /** The id of a stream from its id or its words. */
  streamOf(text: string): string;
  readonly corrected: Corrected;
};

export function createEventReader(life: StoreLife): EventReader {
  const { deps } = life;
  const log = () => life.current().log;
  const awaited: OpenEventDeps["awaited"] = (...names) => life.current().closed.has(...names);
  const isShredded: OpenEventDeps["isShredded"] = (...names) =>
    life.current().log.shreds.isShredded(...names);
  const opening: OpenEventDeps = { ...deps, awaited, isShredded };

  function streamOf(text: string): string {
    return log().streams.get(text) === undefined ? deps.keyring.streamOf(text) : text;
  }

  function stored(idOrLeaf: string): StoredEvent | undefined {
    return idOrLeaf.length === 43 ? log().byLeaf(idOrLeaf) : log().byId(idOrLeaf);
  }

  function get(idOrLeaf: string): RecordedEvent | undefined {
    const event = stored(idOrLeaf);
    return event === undefined ? undefined : openEvent(opening, event);
  }

  function filterOf(query: LogQuery): EventFilter {
    const { stream, actor, ...same } = query;
    const limit = query.limit ?? limits.queryRowsDefault;
    for (const [field, value] of Object.entries({ limit, after: query.after ?? 0 })) {
      if (!Number.isSafeInteger(value) || value < 0) {
        throw new HoldfastError("query_invalid", { field });
      }
    }
    return {
      ...same,
      limit,
      ...(stream !== undefined && { stream: streamOf(stream) }),
      ...(actor !== undefined && { actor: deps.keyring.actorOf(actor) }),
    };
  }

  function read(query: LogQuery = {}): readonly RecordedEvent[] {
    const events = log().read(filterOf(query));
    if (query.headersOnly !== true) return events.map((event) => openEvent(opening, event));
    return events.map((event) =>
      recordedEvent(deps, event, committedHeader(deps.crypto, event), undefined, "none"),
    );
  }

  function prove(idOrLeaf: string): EventProof {
    const event = stored(idOrLeaf);
    if (event === undefined) throw new HoldfastError("event_not_found");
    const { dev, inc, seq } = headerOf(event);
    const note = log().noteCovering(dev, inc, seq);
    const key = deps.keyring.signingKeys().find(({ incarnation }) => incarnation === inc);
    if (note === undefined || key === undefined) throw new HoldfastError("event_not_found");
    const hashOf = createHashSource(deps.crypto, log().leafSource(dev, inc), note.size);
    const path = proveInclusion(deps.crypto, seq - 1, note.size, hashOf);
    return {
      leaf: event.leaf,
      header: event.headerText,
      note: note.text,
      index: seq - 1,
      size: note.size,
      path: path.map((hash) => base64(hash)),
      spki: base64(key.spki),
    };
  }

  function sharedStreams(): readonly string[] {
    const shared: string[] = [];
    for (;;) {
      const page = log().streams.shared(shared.at(-1) ?? "", limits.queryRowsDefault);
      shared.push(...page);
      if (page.length < limits.queryRowsDefault) return shared;
    }
  }

  function conflicts(...[query = {}]: Parameters<Holdfast["conflicts"]>): readonly Conflict[] {
    const { stream, all = false } = query;
    const streams = stream === undefined ? sharedStreams() : [streamOf(stream)];
    const found = streams.flatMap((one) => conflictsOf(corrected, one));
    return found.filter(({ status }) => all || status === "open");
  }

  const corrected: Corrected = {
    registry: deps.registry,
    get,
    eventsOf: (stream) => readAll(log(), stream, 0).map((event) => openEvent(opening, event)),
  };
  return {
    streamOf,
    corrected,
    read,
    get,
    prove,
    frontier: (stream) => log().streams.get(streamOf(stream))?.frontier,
    history: (stream) => historyOf(corrected, streamOf(stream)),
    conflicts,
  };
}
