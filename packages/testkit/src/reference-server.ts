/**
 * A server for tests of the store side of sync: one tenant, in memory, as plain as its rules allow. It shares
 * no code with the real one, so that each can be wrong alone.
 */
import {
  base64,
  base64url,
  type Bytes,
  createNoteVerifier,
  type Crypto,
  deviceLogOrigin,
  type Disposition,
  type EnrolAnswer,
  type EnrolRequest,
  type EpochAnswer,
  type EpochRequest,
  type Fill,
  formatCheckpoint,
  formatEpoch,
  formatStatement,
  type HashOf,
  type Header,
  type Hello,
  type IndexRanges,
  leafHash,
  limits,
  nodeHash,
  noteDigest,
  owedOf,
  parseCheckpoint,
  parseNote,
  proveConsistency,
  proveInclusion,
  proveInclusions,
  type ProvenLeaf,
  type PulledLog,
  type PullPage,
  type PullRequest,
  type PushAnswer,
  type PushRequest,
  rootOverSpan,
  type EventBody,
  signNote,
  utf8,
} from "@holdfast/core";

interface ReferenceLog {
  readonly device: string;
  readonly incarnation: string;
  enrolment: number;
  readonly opening: string;
  leaves: Bytes[];
  bodies: Map<number, EventBody>;
  note: string;
  receipt: number;
}

interface PlacedBody {
  readonly log: ReferenceLog;
  readonly index: number;
  readonly body: EventBody;
  readonly header: Header;
}

/** What a test may tell the server to do. */
export interface ReferenceRules {
  /** Code with which a body is refused. */
  refuse?: (header: Header) => string | undefined;
  /** Events that it keeps back though they may be read. */
  withhold?: (header: Header) => boolean;
  /** Scopes that a device may read; default: all. */
  mayRead?: (device: string, scope: string) => boolean;
}

/** A server in memory; see the module header. */
export interface ReferenceServer {
  readonly rules: ReferenceRules;
  readonly fingerprint: string;
  hello(): Hello;
  enrol(request: Pick<EnrolRequest, "opening" | "note">): EnrolAnswer;
  push(request: PushRequest): PushAnswer;
  /** Asked by that device. */
  pull(device: string, request: PullRequest): PullPage;
  /** Every event with its body, in order of position. */
  readonly events: readonly PlacedBody[];
  /** How often a body was placed, by event id. */
  readonly placed: ReadonlyMap<string, number>;
  /** How a log goes on in another one; `undefined`: it does not. */
  epoch(request: EpochRequest): EpochAnswer | undefined;
  /**
   * A copy that goes on by itself, in that server log of that shard (default: the same); `size`: of every device log
   * only so much; `proven`: leaves of the log before that it knows of.
   */
  copy(cut?: {
    readonly log: number;
    readonly shard?: string;
    readonly size?: number;
    readonly proven?: number;
  }): ReferenceServer;
}

const host = "server.test";

/** A server log as it ended. */
interface EndedLog {
  readonly origin: string;
  readonly leaves: readonly string[];
  /** Its last checkpoint. */
  readonly last: string;
}

/** Makes a server; `state` continues another one. */
export function createReferenceServer(
  deps: { readonly crypto: Crypto; readonly tenant: string; readonly now: () => number },
  state: {
    readonly key?: ReturnType<Crypto["generateSigningKey"]>;
    readonly shard?: string;
    readonly log?: number;
    readonly leaves?: readonly string[];
    readonly ended?: readonly EndedLog[];
    readonly logs?: readonly ReferenceLog[];
    readonly events?: readonly PlacedBody[];
    readonly founder?: string;
  } = {},
): ReferenceServer {
  const { crypto, tenant } = deps;
  const key = state.key ?? crypto.generateSigningKey("ed25519");
  const shard = state.shard ?? "s1";
  const origin = `${host}/holdfast/${shard}/${state.log ?? 1}`;
  const ended = state.ended ?? [];
  const sign = crypto.signer("ed25519", Uint8Array.from(key.privateKey));
  const verifier = createNoteVerifier(crypto, {
    name: origin,
    algorithm: "ed25519",
    spki: key.spki,
  });
  const serverLeaves: string[] = [...(state.leaves ?? [])];
  const logs: ReferenceLog[] = [...(state.logs ?? [])];
  const events: PlacedBody[] = [...(state.events ?? [])];
  const placed = new Map<string, number>();
  const node = "n".repeat(22);
  let founder = state.founder;

  const { hashes, rootOfLeaves, continuation } = plainTrees(crypto);
  const hashed = (texts: readonly string[]): readonly Bytes[] =>
    texts.map((text) => leafHash(crypto, utf8(text)));
  const treeLeaves = (): readonly Bytes[] => hashed(serverLeaves);

  function checkpoint(leaves = treeLeaves()): string {
    const text = formatCheckpoint({ origin, size: leaves.length, root: rootOfLeaves(leaves) });
    return signNote(text, [{ ...verifier, sign }]);
  }

  function prove(index: number): ProvenLeaf {
    const leaves = treeLeaves();
    const path = proveInclusion(crypto, index, leaves.length, hashes(leaves));
    return { text: serverLeaves[index] as string, index, path };
  }

  function stateLeaf(
    log: Pick<ReferenceLog, "device" | "incarnation">,
    kind: "receipt" | "enrol",
    stated: {
      readonly leaves: readonly Bytes[];
      readonly note: string;
      readonly owed: IndexRanges;
    },
  ): number {
    serverLeaves.push(
      formatStatement({
        v: 1,
        kind,
        origin: deviceLogOrigin({ tenant, ...log }),
        size: stated.leaves.length,
        root: base64(rootOfLeaves(stated.leaves)),
        note: noteDigest(crypto, stated.note),
        owed: owedOf(crypto, stated.owed),
        received: deps.now(),
        node,
      }),
    );
    return serverLeaves.length - 1;
  }

  function begin(opening: string, note: string): ReferenceLog {
    const { dev: device, inc: incarnation } = JSON.parse(opening) as Header;
    const leaves = [leafHash(crypto, utf8(opening))];
    const enrolment = stateLeaf({ device, incarnation }, "enrol", { leaves, note, owed: [] });
    const log: ReferenceLog = {
      device,
      incarnation,
      enrolment,
      opening,
      leaves: [],
      bodies: new Map(),
      note: "",
      receipt: -1,
    };
    logs.push(log);
    return log;
  }

  const find = (device: string, incarnation: string): ReferenceLog | undefined =>
    logs.find((log) => log.device === device && log.incarnation === incarnation);
  function push(request: PushRequest): PushAnswer {
    const { device, incarnation, from } = request;
    const first = request.entries[0];
    const known = find(device, incarnation);
    if (from > (known?.leaves.length ?? 0)) {
      return { status: "behind", size: known?.leaves.length ?? 0 };
    }
    const offered = request.entries.map((entry) =>
      entry.kind === "leaf"
        ? Uint8Array.from(entry.leaf)
        : leafHash(crypto, utf8(entry.body.header)),
    );
    const log = known ?? begin(first?.kind === "full" ? first.body.header : "{}", request.note);
    for (const [at, leaf] of offered.entries()) {
      const held = log.leaves[from + at];
      if (held !== undefined && base64(held) !== base64(leaf)) {
        const size = log.leaves.length;
        return { status: "fork", index: from + at, held: log.note, size };
      }
    }
    const noted = parseCheckpoint(parseNote(request.note).text);
    const grown = [...log.leaves.slice(0, from), ...offered];
    if (grown.length > log.leaves.length) {
      if (noted.size !== grown.length || base64(noted.root) !== base64(rootOfLeaves(grown))) {
        throw new Error("the note signs another tree");
      }
      log.leaves = grown;
      log.note = request.note;
    }
    const bodies = bodiesOf(request);
    const dispositions = bodies.flatMap(({ index, body }): readonly Disposition[] => {
      if (log.bodies.has(index)) return [{ index, disposition: "duplicate" }];
      const header = JSON.parse(body.header) as Header;
      if (base64(leafHash(crypto, utf8(body.header))) !== base64(log.leaves[index] as Bytes)) {
        throw new Error("a body is not of its leaf");
      }
      const code = result.rules.refuse?.(header);
      if (code !== undefined) return [{ index, disposition: "rejected", code }];
      log.bodies.set(index, body);
      events.push({ log, index, body, header });
      placed.set(header.id, (placed.get(header.id) ?? 0) + 1);
      return [];
    });
    const changed = bodies.length > dispositions.length || offered.length > 0;
    const owed = owedRanges(log);
    if (changed || log.receipt < 0) {
      log.receipt = stateLeaf(log, "receipt", { leaves: log.leaves, note: log.note, owed });
    }
    return {
      status: "receipted",
      size: log.leaves.length,
      owed,
      receipt: prove(log.receipt),
      checkpoint: checkpoint(),
      consistency: continuation(request.checkpoint, treeLeaves()),
      dispositions,
    };
  }

  const result: ReferenceServer = {
    rules: {},
    fingerprint: base64url(crypto.sha256(key.spki)),
    events,
    placed,
    hello: () => helloOf(base64(key.spki), deps.now()),
    enrol({ opening, note }) {
      const { dev: device, inc } = JSON.parse(opening) as Header;
      founder ??= device;
      const log = find(device, inc) ?? begin(opening, note);
      const proven = { enrolment: prove(log.enrolment), checkpoint: checkpoint() };
      return { tenant, device, role: "admin", founder, ...proven, node };
    },
    push,
    epoch: (request) =>
      epochOf(crypto, [...ended, { origin, leaves: serverLeaves, last: checkpoint() }], request),
    pull(device, request) {
      const { rules } = result;
      const parts = { crypto, events, rules, prove, checkpoint, treeLeaves };
      return pageOf(parts, device, request);
    },
    copy(cut) {
      const kept = logs.map((log) => cutTo(log, cut?.size));
      const known = serverLeaves.slice(0, cut?.proven);
      const isNext = cut !== undefined && (cut.log !== (state.log ?? 1) || cut.shard !== undefined);
      const last = isNext ? checkpoint(hashed(known)) : "";
      const placedHere = events.flatMap((event) => {
        const at = kept.findIndex((log) => log.incarnation === event.log.incarnation);
        const log = kept[at];
        return log?.bodies.has(event.index) === true ? [{ ...event, log }] : [];
      });
      const through = { events: placedHere.length, received: deps.now() };
      const stated = { last, logs: kept, serverLeaves, node, ...through };
      return createReferenceServer(deps, {
        key: { privateKey: Uint8Array.from(key.privateKey), spki: key.spki },
        shard: cut?.shard ?? shard,
        log: cut?.log ?? state.log ?? 1,
        leaves: isNext ? begunAnew(crypto, stated) : serverLeaves,
        ended: isNext ? [...ended, { origin, leaves: known, last }] : ended,
        logs: kept,
        events: placedHere,
        ...(founder !== undefined && { founder }),
      });
    },
  };
  return result;
}

function bodiesOf({ from, entries, fills }: PushRequest): readonly Fill[] {
  const full = entries.flatMap((entry, at) =>
    entry.kind === "full" ? [{ index: from + at, body: entry.body }] : [],
  );
  return [...full, ...fills];
}

/** A device log with only so many leaves. */
function cutTo(log: ReferenceLog, size: number | undefined): ReferenceLog {
  const bodies = [...log.bodies].filter(([index]) => index < (size ?? Infinity));
  return { ...log, leaves: log.leaves.slice(0, size), bodies: new Map(bodies) };
}

/** Leaves of the log that goes on for another: the epoch, and every device log again, which then names them. */
function begunAnew(
  crypto: Crypto,
  stated: {
    readonly last: string;
    readonly logs: readonly ReferenceLog[];
    readonly serverLeaves: readonly string[];
    readonly events: number;
    readonly node: string;
    readonly received: number;
  },
): string[] {
  const { last, logs, events, serverLeaves, node, received } = stated;
  const { origin, size, root: bytes } = parseCheckpoint(parseNote(last).text);
  const named = { origin, size, root: base64(bytes), note: noteDigest(crypto, last) };
  const texts = [formatEpoch({ v: 1, kind: "epoch", ...named, events, received, node })];
  for (const log of logs) {
    texts.push(serverLeaves[log.enrolment] as string);
    log.enrolment = texts.length - 1;
    if (log.receipt < 0) continue;
    texts.push(serverLeaves[log.receipt] as string);
    log.receipt = texts.length - 1;
  }
  return texts;
}

/** How one of these logs goes on in the one behind it. */
function epochOf(
  crypto: Crypto,
  logs: readonly EndedLog[],
  { log, size }: EpochRequest,
): EpochAnswer | undefined {
  const at = logs.findIndex(({ origin }) => origin === log);
  const [before, after] = [logs[at], logs[at + 1]];
  if (before === undefined || after === undefined) return undefined;
  const { hashes, continuation } = plainTrees(crypto);
  const hashed = (texts: readonly string[]): readonly Bytes[] =>
    texts.map((text) => leafHash(crypto, utf8(text)));
  const leaves = hashed(after.leaves);
  const path = proveInclusion(crypto, 0, leaves.length, hashes(leaves));
  return {
    epoch: { text: after.leaves[0] as string, index: 0, path },
    checkpoint: after.last,
    last: before.last,
    consistency: size === before.leaves.length ? [] : continuation(size, hashed(before.leaves)),
  };
}

function pageOf(
  parts: {
    readonly crypto: Crypto;
    readonly events: readonly PlacedBody[];
    readonly rules: ReferenceRules;
    prove(index: number): ProvenLeaf;
    checkpoint(): string;
    treeLeaves(): readonly Bytes[];
  },
  device: string,
  request: PullRequest,
): PullPage {
  const { crypto, events, rules, prove, checkpoint, treeLeaves } = parts;
  const { hashes, continuation } = plainTrees(crypto);
  const mayRead = rules.mayRead ?? (() => true);
  const wanted = events
    .map((event, at) => ({ event, position: at + 1 }))
    .filter(
      ({ event, position }) =>
        position > request.after &&
        (request.own === true || event.log.device !== device) &&
        (request.scopes === "*" || request.scopes.includes(event.header.scope)) &&
        mayRead(device, event.header.scope) &&
        rules.withhold?.(event.header) !== true,
    );
  const page = wanted.slice(0, request.events);
  const isLast = page.length === wanted.length;
  const next = isLast ? events.length : (page.at(-1)?.position ?? request.after);
  const named = [...new Set(page.map(({ event }) => event.log))];
  return {
    next: Math.max(next, request.after),
    head: events.length,
    checkpoint: checkpoint(),
    consistency: continuation(request.checkpoint, treeLeaves()),
    logs: named.map((log): PulledLog => {
      const mine = page.filter(({ event }) => event.log === log).map(({ event }) => event.index);
      const indices = [...new Set([0, ...mine])].toSorted((a, b) => a - b);
      const held = request.held[`${log.device}/${log.incarnation}`] ?? 0;
      return {
        device: log.device,
        incarnation: log.incarnation,
        note: log.note,
        receipt: prove(log.receipt),
        enrolment: prove(log.enrolment),
        opening: log.opening,
        hashes: proveInclusions(crypto, indices, log.leaves.length, hashes(log.leaves)),
        consistency: continuation(held, log.leaves),
      };
    }),
    events: page.map(({ event, position }) => ({
      log: named.indexOf(event.log),
      index: event.index,
      position,
      body: event.body,
    })),
  };
}

/** Trees over all their leaves, as RFC 6962 has them. */
function plainTrees(crypto: Crypto) {
  const hashes = (leaves: readonly Bytes[]): HashOf => {
    const known = new Map<string, Bytes>();
    const hashOf: HashOf = (level, index) => {
      if (level === 0) return leaves[index] as Bytes;
      const name = `${level}/${index}`;
      const cached = known.get(name);
      if (cached !== undefined) return cached;
      const made = nodeHash(crypto, hashOf(level - 1, 2 * index), hashOf(level - 1, 2 * index + 1));
      known.set(name, made);
      return made;
    };
    return hashOf;
  };
  return {
    hashes,
    rootOfLeaves: (leaves: readonly Bytes[]): Bytes =>
      rootOverSpan(crypto, 0, leaves.length, hashes(leaves)),
    continuation(from: number, leaves: readonly Bytes[]): readonly Bytes[] {
      if (from === 0 || from > leaves.length) return [];
      return proveConsistency(crypto, from, leaves.length, hashes(leaves));
    },
  };
}

function owedRanges(log: ReferenceLog): IndexRanges {
  const ranges: [number, number][] = [];
  for (let index = 0; index < log.leaves.length; index++) {
    if (log.bodies.has(index)) continue;
    const last = ranges.at(-1);
    if (last?.[1] === index) last[1] = index + 1;
    else ranges.push([index, index + 1]);
  }
  return ranges;
}

function helloOf(key: string, time: number): Hello {
  return {
    protocol: { oldest: 1, newest: 1 },
    schema: "",
    key,
    host,
    reads: "granted",
    encodings: [],
    limits: {
      pushBytes: limits.pushBytesMax,
      pushBodies: limits.pushBodiesMax,
      pushLeaves: limits.pushLeavesMax,
      pullEvents: limits.pullEventsMax,
      pullBytes: limits.pullBytesMax,
      eventBytes: limits.eventBytesMax,
    },
    time,
  };
}
