/** Builds device logs with the code that stores use for sealing, as the rows that the verifier reads. */
import {
  base64,
  base64url,
  type CompactRange,
  type DataKey,
  derFromP1363,
  type DeviceHead,
  deviceLogOrigin,
  emptyRange,
  type EventRow,
  formatNote,
  type FrameRow,
  type Header,
  type IncarnationPub,
  type LogSource,
  type LogVerdict,
  noPrevious,
  noteKeyId,
  type NoteRow,
  type OpeningReason,
  preAuthenticationEncoding,
  rootOf,
  type SealableDraft,
  type SealedEvent,
  sealGroup,
  type StreamRow,
  successionPayloadType,
  successionStatement,
  utf8,
  verifyLog,
} from "@holdfast/core";
import {
  crypto,
  dataKeyOf,
  hpkePublic,
  incarnationId,
  type OpenDataKey,
  pseudonym,
  seededRandom,
  signingKey,
  type SigningKey,
} from "./ports.ts";

export const tenant = base64url(crypto.sha256(utf8("tenant")).slice(0, 16));
export const app = "example/1.0.0";
const startedAt = Date.UTC(2026, 2, 1, 8);

/** Rows of a log, as they may stand in a store. */
export interface LogRows {
  events: EventRow[];
  frames: (FrameRow & { readonly position: number })[];
  notes: (NoteRow & { readonly device: string; readonly incarnation: string })[];
  streams: StreamRow[];
}

/** One open device log. */
export interface DeviceLog {
  readonly key: SigningKey;
  readonly device: string;
  readonly incarnation: string;
  head: DeviceHead;
}

export interface DraftWords {
  readonly stream: string;
  readonly scope: string;
  readonly sections: readonly (readonly [name: string, text: string])[];
  readonly independent?: boolean;
}

function originOf(log: Pick<DeviceLog, "device" | "incarnation">) {
  return {
    tenant,
    device: log.device,
    incarnation: log.incarnation,
    tier: "software",
    app,
  } as const;
}

/** Writes logs of one store; everything follows from the seed. */
export function createLogWriter(seed: string) {
  const random = seededRandom(`writer/${seed}`);
  const rows: LogRows = { events: [], frames: [], notes: [], streams: [] };
  const keys = new Map<string, OpenDataKey>();
  const spkis = new Map<string, Uint8Array>();
  const counters = new Map<string, number>();
  const frontiers = new Map<string, Readonly<Record<string, number>>>();
  const frontiersAfter = new Map<string, Readonly<Record<string, number>>>();
  let made = 0;

  function keyFor(scope: string, section: string): DataKey {
    const key = dataKeyOf(scope, section);
    keys.set(key.id, key);
    return key;
  }

  function nextId(): string {
    made += 1;
    const time = (startedAt + made).toString(16).padStart(12, "0");
    const tail = made.toString(16).padStart(12, "0");
    return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-${tail}`;
  }

  function place(log: DeviceLog, words: string, independent: boolean) {
    const stream = pseudonym(`stream/${words}`);
    const own = `${log.device}/${log.incarnation}`;
    const streamSequence = (counters.get(`${stream} ${own}`) ?? 0) + 1;
    counters.set(`${stream} ${own}`, streamSequence);
    const vector = independent ? undefined : (frontiers.get(stream) ?? {});
    const after = { ...(independent ? frontiers.get(stream) : {}), [own]: streamSequence };
    frontiers.set(stream, after);
    frontiersAfter.set(`${stream} ${own} ${streamSequence}`, after);
    return { stream, streamSequence, vector };
  }

  function draftOf(log: DeviceLog, words: DraftWords): SealableDraft {
    return {
      ...place(log, words.stream, words.independent ?? false),
      id: nextId(),
      type: "NosebleedRecorded",
      typeVersion: 1,
      scope: pseudonym(`scope/${words.scope}`),
      op: "create",
      ref: undefined,
      at: startedAt + made,
      actor: pseudonym("actor/ada"),
      role: undefined,
      session: undefined,
      why: undefined,
      sections: words.sections.map(([name, text]) => ({ name, plaintext: utf8(text) })),
    };
  }

  /** Seals and signs one group; `sign` may be somebody else's key. */
  function commit(
    log: DeviceLog,
    drafts: readonly SealableDraft[],
    sign: SigningKey = log.key,
  ): readonly SealedEvent[] {
    const sealed = sealGroup({ crypto, random, keyFor }, originOf(log), log.head, drafts);
    log.head = sealed.head;
    const { device, incarnation } = log;
    const note = signedNote(log, sealed.statement, sign);
    for (const event of sealed.events) store(event);
    rows.notes.push({ device, incarnation, size: sealed.head.range.size, root: sealed.root, note });
    return sealed.events;
  }

  function store({ header, headerText, leaf, frames }: SealedEvent): void {
    const position = rows.events.length + 1;
    rows.events.push({
      position,
      leaf,
      id: header.id,
      device: header.dev,
      incarnation: header.inc,
      own: 1,
      sequence: header.seq,
      type: header.type,
      stream: header.stream,
      actor: header.act,
      recordedAt: header.at,
      header: headerText,
    });
    advance(header);
    for (const { section, key, state, bytes } of frames) {
      rows.frames.push({ position, section, key, state, bytes: bytes ?? null });
    }
  }

  /** The head of the event's stream; events are made in causal order. */
  function advance({ stream, scope, dev, inc, sseq }: Header): void {
    const at = rows.streams.findIndex((row) => row.stream === stream);
    const before = JSON.parse(rows.streams[at]?.vector ?? "{}") as Record<string, number>;
    const vector = JSON.stringify({ ...before, [`${dev}/${inc}`]: sseq });
    const frontier = JSON.stringify(frontiersAfter.get(`${stream} ${dev}/${inc} ${sseq}`));
    const row = { stream, scope, vector, frontier };
    if (at < 0) rows.streams.push(row);
    else rows.streams[at] = row;
  }

  function open(
    name: string,
    options: {
      readonly before?: DeviceLog;
      readonly reason?: OpeningReason;
      readonly algorithm?: "ed25519" | "ecdsa-p256";
      /** Changes to what the opening says in the open. */
      readonly alter?: (pub: IncarnationPub) => IncarnationPub;
      readonly device?: string;
      /** Events that the first commit takes after the opening. */
      readonly also?: readonly DraftWords[];
    } = {},
  ): DeviceLog {
    const { before } = options;
    const key = signingKey(`${seed}/${name}`, options.algorithm);
    const incarnation = incarnationId(`${seed}/${name}`);
    const device = options.device ?? before?.device ?? key.device;
    spkis.set(incarnation, key.spki);
    const head: DeviceHead = { leaf: noPrevious, range: emptyRange };
    const log: DeviceLog = { key, device, incarnation, head };
    const said: IncarnationPub = {
      alg: key.algorithm,
      spki: base64(key.spki),
      hpke: hpkePublic,
      reason: options.reason ?? (before === undefined ? "first" : "moved"),
      ...(before !== undefined && succession(log, before)),
    };
    const opening: SealableDraft = {
      ...draftOf(log, { stream: `device/${device}`, scope: `device/${device}`, sections: [] }),
      type: "IncarnationOpened",
      pub: options.alter?.(said) ?? said,
    };
    commit(log, [opening, ...(options.also ?? []).map((words) => draftOf(log, words))]);
    return log;
  }

  return {
    rows,
    open,
    commit,
    append: (log: DeviceLog, drafts: readonly DraftWords[]) =>
      commit(
        log,
        drafts.map((words) => draftOf(log, words)),
      ),
    draftOf,
    dataKey: (id: string, generation: number): DataKey | undefined => {
      const key = keys.get(id);
      return key?.generation === generation ? key : undefined;
    },
    ownKey: (incarnation: string) => spkis.get(incarnation),
    dataKeys: () => [...keys.values()],
  };
}

export type LogWriter = ReturnType<typeof createLogWriter>;

/** What the predecessor's key signs when it hands over. */
function succession(
  log: DeviceLog,
  before: DeviceLog,
): Pick<IncarnationPub, "predecessor" | "size" | "root" | "sig"> {
  const { range } = before.head;
  const root = rootText(range);
  const statement = successionStatement({
    tenant,
    device: log.device,
    incarnation: log.incarnation,
    spki: log.key.spki,
    predecessor: before.incarnation,
    size: range.size,
    root,
  });
  const sig = before.key.sign(preAuthenticationEncoding(successionPayloadType, statement));
  return { predecessor: before.incarnation, size: range.size, root, sig: base64(sig) };
}

function rootText(range: CompactRange): string {
  return base64(rootOf(crypto, range));
}

/** A commit note over a statement. */
export function signedNote(
  log: Pick<DeviceLog, "device" | "incarnation"> & { readonly tenant?: string },
  statement: string,
  key: SigningKey,
): string {
  const name = deviceLogOrigin({ tenant, ...log });
  const { algorithm, spki } = key;
  const keyId = noteKeyId(crypto, { name, algorithm, spki });
  const made = key.sign(utf8(statement));
  const signature = algorithm === "ecdsa-p256" ? derFromP1363(made) : made;
  return formatNote(statement, [{ name, keyId, signature }]);
}

/** The rows as a source for the verifier. */
export function sourceOf(rows: LogRows): LogSource {
  const origins = new Map(
    [...rows.events, ...rows.notes].map(({ device, incarnation }) => [
      `${device}/${incarnation}`,
      { device, incarnation },
    ]),
  );
  const frames = Map.groupBy(rows.frames, ({ position }) => position);
  const notes = Map.groupBy(rows.notes, (row) => `${row.device}/${row.incarnation}`);
  const inOrder = rows.events.toSorted((a, b) => a.position - b.position);
  return {
    count: () => rows.events.length,
    events: (after, limit) => {
      const start = inOrder.findIndex(({ position }) => position > after);
      return start < 0 ? [] : inOrder.slice(start, start + limit);
    },
    frames: (position) => frames.get(position) ?? [],
    notes: (device, incarnation, after, limit) =>
      (notes.get(`${device}/${incarnation}`) ?? [])
        .filter(({ size }) => size > after)
        .toSorted((a, b) => a.size - b.size)
        .slice(0, limit),
    streams: (after, limit) =>
      rows.streams
        .filter(({ stream }) => stream > after)
        .toSorted((a, b) => (a.stream < b.stream ? -1 : 1))
        .slice(0, limit),
    origins: () => [...origins.values()],
  };
}

/** Verifies rows with the keys of their writer. */
export function verifyRows(
  rows: LogRows,
  keys: Pick<LogWriter, "dataKey" | "ownKey">,
  options: {
    readonly allNotes?: boolean;
    readonly openSections?: boolean;
    /** Does the log account for the content that is gone? */
    readonly shredded?: boolean;
    readonly tenant?: string;
  } = {},
): LogVerdict {
  return verifyLog({
    crypto,
    source: sourceOf(rows),
    tenant: options.tenant ?? tenant,
    dataKey: keys.dataKey,
    ownKey: keys.ownKey,
    isShredded: () => options.shredded ?? false,
    openSections: options.openSections ?? true,
    allNotes: options.allNotes ?? false,
  });
}
