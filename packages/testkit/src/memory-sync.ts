/**
 * Sync without cryptography: a store's outbox and a server in memory, both true to their ports in what engines
 * depend on (leases, idempotent pushes, positions), so that an engine's own decisions are tested alone. Proofs,
 * notes and checkpoints are empty texts; `createMemorySyncServer` counts what a device asks of it.
 */
import {
  type Clock,
  fromBase64url,
  fromUtf8,
  type Hello,
  HoldfastError,
  limits,
  type PlannedPush,
  type PullPage,
  type PushAnswer,
  type PushOutcome,
  retryOf,
  type SyncStore,
  type SyncWatermarks,
  type TailListener,
  type Transport,
} from "@holdfast/core";

const emptyLeaf = { index: 0, size: 0, leaf: "", path: [] } as never;

/** An outbox entry in memory. */
interface MemoryEntry {
  readonly position: number;
  readonly bytes: number;
  state: "waiting" | "leased" | "delivered" | "dead";
  nextAt: number;
  attempts: number;
  token: number;
}

/** A store for engines' tests. */
export interface MemorySyncStore extends SyncStore {
  /** Puts events into the outbox. */
  record(count: number, bytesEach?: number): void;
  /** Positions in the order in which they were delivered: each once, or it is a defect. */
  readonly delivered: readonly number[];
  readonly dead: readonly number[];
  /** Positions of foreign events in the order in which they were stored. */
  readonly pulled: readonly number[];
  /** Changes of waiting entries: attempts counted. */
  readonly attempts: number;
  readonly leased: number;
  /** What planPush was asked to stay within. */
  readonly bounds: readonly number[];
  /** The next takePush or takePull finds that contradiction. */
  contradict(code: string): void;
  /** Whoever `resumed` and why. */
  readonly resumptions: readonly { readonly actor: string; readonly reason: string }[];
  /** Takes every lease away, as another process does when it expired. */
  takeLeasesOver(): void;
}

/** An empty store that is enrolled at {@link createMemorySyncServer}. */
export function createMemorySyncStore(deps: {
  readonly clock: Clock;
  readonly enrolled?: boolean;
}): MemorySyncStore {
  const { clock } = deps;
  const entries: MemoryEntry[] = [];
  const delivered: number[] = [];
  const pulled: number[] = [];
  const bounds: number[] = [];
  const resumptions: { actor: string; reason: string }[] = [];
  let lastToken = 0;
  let contradiction: string | undefined;
  let evidence: string | undefined;

  const of = (state: MemoryEntry["state"]) => entries.filter((entry) => entry.state === state);
  const held = (plan: PlannedPush): readonly MemoryEntry[] => {
    const leased = entries.filter(({ token }) => token === plan.token);
    if (leased.length !== plan.positions.length) {
      throw new HoldfastError("outbox_lease_lost", { token: plan.token });
    }
    return leased;
  };
  const contradicted = (): { status: "contradiction"; code: string } | undefined => {
    if (contradiction === undefined) return undefined;
    const code = contradiction;
    contradiction = undefined;
    return { status: "contradiction", code };
  };
  const takeAnswer = (leased: readonly MemoryEntry[], answer: PushAnswer): PushOutcome => {
    if (answer.status !== "receipted") {
      for (const entry of leased) Object.assign(entry, { state: "waiting", token: 0 });
      return { status: "replan" };
    }
    const rejected = new Set(answer.dispositions.map(({ index }) => index));
    for (const entry of leased) {
      const dead = rejected.has(entry.position - 1);
      Object.assign(entry, { state: dead ? "dead" : "delivered", token: 0 });
      if (!dead) delivered.push(entry.position);
    }
    const more = of("waiting").some(({ nextAt }) => nextAt <= clock.now());
    return {
      status: "receipted",
      delivered: leased.length - rejected.size,
      rejected: rejected.size,
      more,
    };
  };

  return {
    record(count, bytesEach = 100) {
      for (let made = 0; made < count; made++) {
        const position = entries.length + 1;
        entries.push({
          position,
          bytes: bytesEach,
          state: "waiting",
          nextAt: 0,
          attempts: 0,
          token: 0,
        });
      }
    },
    delivered,
    pulled,
    bounds,
    resumptions,
    get dead() {
      return of("dead").map(({ position }) => position);
    },
    get attempts() {
      return entries.reduce((sum, entry) => sum + entry.attempts, 0);
    },
    get leased() {
      return of("leased").length;
    },
    contradict(code) {
      contradiction = code;
    },
    takeLeasesOver() {
      for (const entry of of("leased")) Object.assign(entry, { state: "waiting", token: 0 });
    },
    server: () =>
      deps.enrolled === false
        ? undefined
        : {
            url: "https://server.test",
            host: "server.test",
            key: serverKey,
            log: "server.test/holdfast/1/1",
            founder: device,
            node: device,
            role: "device",
          },
    origin: () => ({ tenant: "A".repeat(22), device, incarnation: "0".repeat(16) }),
    signer: async () => ({ algorithm: "ed25519", sign: () => new Uint8Array(64) }),
    enrolment: () => ({ opening: "", note: "", path: [] }),
    enrolled: async () => undefined,
    async planPush(within) {
      bounds.push(within.bodies);
      const due = of("waiting").filter(({ nextAt }) => nextAt <= clock.now());
      let bytes = 0;
      const taken: MemoryEntry[] = [];
      for (const entry of due.slice(0, within.bodies)) {
        if (taken.length > 0 && bytes + entry.bytes > within.bytes) break;
        bytes += entry.bytes;
        taken.push(entry);
      }
      if (taken.length === 0) return undefined;
      lastToken += 1;
      for (const entry of taken) Object.assign(entry, { state: "leased", token: lastToken });
      const positions = taken.map(({ position }) => position);
      const fills = taken.map(({ position, bytes }) => ({
        index: position - 1,
        body: { header: `${position}:${bytes}`, frames: [] },
      }));
      const request = { device, incarnation: "0".repeat(16), from: 0, note: "" };
      return {
        token: lastToken,
        attempt: lastToken,
        request: { ...request, entries: [], fills, checkpoint: 0 },
        positions,
        bytes,
        urgent: false,
      };
    },
    async takePush(plan, answer) {
      const leased = held(plan);
      return contradicted() ?? takeAnswer(leased, answer);
    },
    async pushFailed(plan, failure) {
      const retry = retryOf(failure.code, failure.status);
      for (const entry of held(plan)) {
        Object.assign(entry, { state: retry === "never" ? "dead" : "waiting", token: 0 });
        if (retry === "auth" || retry === "halt") continue;
        Object.assign(entry, { attempts: entry.attempts + 1, nextAt: failure.nextAt });
      }
    },
    nextDueAt() {
      const waiting = of("waiting").map(({ nextAt }) => nextAt);
      return waiting.length === 0 ? undefined : Math.min(...waiting);
    },
    planPull: (within) => ({
      scopes: "*",
      after: pulled.at(-1) ?? 0,
      events: within.events,
      bytes: within.bytes,
      checkpoint: 0,
      held: {},
    }),
    async takePull(_, page) {
      const found = contradicted();
      if (found !== undefined) return found;
      const news = page.events.filter(({ position }) => position > (pulled.at(-1) ?? 0));
      for (const { position } of news) pulled.push(position);
      return { status: "stored", events: news.length, more: page.next < page.head };
    },
    planShow: () => undefined,
    planPresent: () => [],
    presented: async () => undefined,
    planEpoch: () => undefined,
    takeEpoch: async () => ({ status: "overtaken" }),
    watermarks: (): SyncWatermarks => ({
      oldestUnacknowledgedAt: of("waiting").length + of("leased").length > 0 ? 0 : undefined,
      acknowledgedThrough: delivered.length,
      receiptedSize: delivered.length,
      owed: [],
      lastReceiptAt: undefined,
      waiting: of("waiting").length + of("leased").length,
      dead: of("dead").length,
      pulledThrough: pulled.at(-1),
    }),
    evidence: () => evidence,
    async halt(code) {
      evidence = code;
    },
    async resumed(actor, reason) {
      evidence = undefined;
      resumptions.push({ actor, reason });
    },
  };
}

const device = "D".repeat(22);
const serverKey = "a2V5";

/** A server for engines' tests. */
export interface MemorySyncServer {
  /** The doors of a transport that never fails. */
  readonly transport: Transport;
  /** Event texts taken, each once, and how often one came again. */
  readonly taken: ReadonlyMap<number, string>;
  readonly repeats: number;
  /** Adds foreign events and tells the tails. */
  publish(count: number): void;
  /** Calls so far, by method. */
  calls(method: keyof Transport): number;
  /** Makes tokens given so far worthless. */
  expireTokens(): void;
  /** Refuses every assertion from now on, or takes them again. */
  refuseDevice(refused: boolean): void;
  /** Rejects these positions by disposition. */
  reject(...positions: readonly number[]): void;
  /** Refuses exchanges of more bytes. */
  takeAtMost(bytes: number): void;
  /** Its wall clock is so far from the device's. */
  shiftClock(milliseconds: number): void;
  readonly tails: number;
  /** Ends every open tail. */
  endTails(error?: unknown): void;
}

/** A server with no events yet. */
export function createMemorySyncServer(deps: {
  readonly clock: Clock;
  readonly hello?: Partial<Hello["limits"]>;
}): MemorySyncServer {
  const taken = new Map<number, string>();
  const counts = new Map<string, number>();
  const tails = new Set<TailListener>();
  const rejected = new Set<number>();
  const assertions = new Set<string>();
  let good = new Set<string>();
  let head = 0;
  let repeats = 0;
  let refused = false;
  let most = Number.POSITIVE_INFINITY;
  let shift = 0;
  // The server's own clock runs evenly, whatever happens to the device's.
  const born = deps.clock.now() - deps.clock.monotonic();
  const now = (): number => born + deps.clock.monotonic() + shift;

  const counted = (method: string): void => {
    counts.set(method, (counts.get(method) ?? 0) + 1);
  };
  const admit = (method: string, token: string | undefined): void => {
    counted(method);
    if (token === undefined || !good.has(token)) {
      throw new HoldfastError("token_refused", { status: 401 });
    }
  };
  const refuse = (reason: string): never => {
    throw new HoldfastError("assertion_refused", { status: 401, reason });
  };
  function checkAssertion(text: string): void {
    const claims = fromBase64url(text.split(".")[1] ?? "");
    if (claims === undefined) refuse("form");
    const { aud, exp, iat, jti } = JSON.parse(fromUtf8(claims ?? new Uint8Array())) as Claims;
    if (refused) refuse("device");
    if (aud !== "server.test") refuse("aud");
    if (iat * 1_000 > now() + 1_000 || exp * 1_000 < now()) refuse("time");
    if (assertions.has(jti)) refuse("jti");
    assertions.add(jti);
  }

  const transport: Partial<Transport> = {
    endpoint: "https://server.test",
    async hello() {
      counted("hello");
      return helloOf(now(), deps.hello);
    },
    async token({ assertion }) {
      counted("token");
      checkAssertion(assertion);
      const accessToken = `token-${good.size}-${assertions.size}`;
      good.add(accessToken);
      return { accessToken, expiresInMs: limits.tokenLifeMs };
    },
    async push(request, { token }) {
      admit("push", token);
      const bytes = request.fills.reduce((sum, { body }) => sum + bytesOf(body.header), 0);
      if (bytes > most) throw new HoldfastError("message_too_large", { status: 413 });
      const dispositions = [];
      for (const { index, body } of request.fills) {
        if (rejected.has(index + 1)) {
          dispositions.push({ index, disposition: "rejected" as const, code: "payload_invalid" });
        } else if (taken.has(index)) repeats += 1;
        else taken.set(index, body.header);
      }
      const receipt = { receipt: emptyLeaf, checkpoint: "", consistency: [] };
      return { status: "receipted", size: taken.size, owed: [], ...receipt, dispositions };
    },
    async pull(request, { token }): Promise<PullPage> {
      admit("pull", token);
      const count = Math.min(request.events, Math.max(0, head - request.after));
      const events = Array.from({ length: count }, (_, at) => ({
        log: 0,
        index: 0,
        position: request.after + 1 + at,
        body: { header: "", frames: [] },
      }));
      const next = request.after + count;
      return { next, head, checkpoint: "", consistency: [], logs: [], events };
    },
    tail(listener, { token }) {
      counted("tail");
      if (token === undefined || !good.has(token)) {
        listener.ended(new HoldfastError("token_refused", { status: 401 }));
        return () => undefined;
      }
      tails.add(listener);
      return () => {
        tails.delete(listener);
      };
    },
  };

  return {
    transport: transport as Transport,
    taken,
    get repeats() {
      return repeats;
    },
    publish(count) {
      head += count;
      for (const tail of tails) tail.hint(head);
    },
    calls: (method) => counts.get(method) ?? 0,
    expireTokens() {
      good = new Set();
    },
    refuseDevice(value) {
      refused = value;
    },
    reject(...positions) {
      for (const position of positions) rejected.add(position);
    },
    takeAtMost(bytes) {
      most = bytes;
    },
    shiftClock(milliseconds) {
      shift = milliseconds;
    },
    get tails() {
      return tails.size;
    },
    endTails(error) {
      const open = [...tails];
      tails.clear();
      for (const tail of open) tail.ended(error);
    },
  };
}

interface Claims {
  readonly aud: string;
  readonly iat: number;
  readonly exp: number;
  readonly jti: string;
}

function bytesOf(header: string): number {
  return Number(header.split(":")[1]);
}

function helloOf(time: number, bounds: Partial<Hello["limits"]> = {}): Hello {
  return {
    protocol: { oldest: 1, newest: 1 },
    schema: "",
    key: serverKey,
    host: "server.test",
    reads: "none",
    encodings: [],
    limits: {
      pushBytes: limits.pushBytesMax,
      pushBodies: limits.pushBodiesMax,
      pushLeaves: limits.pushLeavesMax,
      pullEvents: limits.pullEventsMax,
      pullBytes: limits.pullBytesMax,
      eventBytes: limits.eventBytesMax,
      ...bounds,
    },
    time,
  };
}
