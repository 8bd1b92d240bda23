/**
 * What every live tail must do, whatever carries it: server-sent events or a WebSocket. A whole server stands
 * behind it, whose time the suite moves. A lost hint is harmless, so the suite never waits for one alone: it lets
 * the shard grow until it hears of it.
 */
import { HoldfastError, limits, type MaybePromise, retryOf, type Transport } from "@holdfast/core";
import type { SuiteRunner } from "./key-provider.suite.ts";

/** One tail with a server behind it, opened for one test. */
export interface TailUnderTest {
  readonly transport: Pick<Transport, "tail">;
  /** A fresh access token of the one device that reads. */
  token(): Promise<string>;
  /** Tails of one device at once. */
  readonly tailsMax: number;
  /** Another device delivers an event. */
  grow(): Promise<void>;
  /** Moves the server's time. */
  pass(milliseconds: number): void;
  /** Ends the reading device's part in the tenant. */
  revoke(): Promise<void>;
  /** The server stops. */
  stop(): void;
  close(): MaybePromise<void>;
}

/** A tail that was opened, and what it told. */
interface Heard {
  readonly heads: readonly number[];
  readonly ends: readonly unknown[];
  /** Resolves at the next hint or end. */
  next(): Promise<void>;
  /** The first end. */
  ended(): Promise<unknown>;
  close(): void;
}

function listenTo(transport: Pick<Transport, "tail">, token: string): Heard {
  const heads: number[] = [];
  const ends: unknown[] = [];
  let told = Promise.withResolvers<void>();
  const tell = (): void => {
    told.resolve();
    told = Promise.withResolvers();
  };
  const listener = {
    hint(head: number): void {
      heads.push(head);
      tell();
    },
    ended(error: unknown): void {
      ends.push(error);
      tell();
    },
  };
  const close = transport.tail(listener, { token });
  return {
    heads,
    ends,
    next: () => told.promise,
    async ended() {
      while (ends.length === 0) await told.promise;
      return ends[0];
    },
    close,
  };
}

/** Lets the shard grow until the tail has told of it. Throws when it ends instead. */
async function hear(tail: Heard, { grow }: TailUnderTest): Promise<void> {
  const before = tail.heads.length;
  while (tail.heads.length === before) {
    if (tail.ends.length > 0) throw new Error("the tail ended", { cause: tail.ends[0] });
    const next = tail.next();
    await grow();
    // Nothing says that a tail is open: a hint may be under way, or there was nobody to tell yet.
    await Promise.race([next, new Promise((resolve) => setTimeout(resolve, 20))]);
  }
}

function retryAfter(error: unknown): string {
  if (!(error instanceof HoldfastError)) return "after";
  return retryOf(error.code, Number(error.details["status"] ?? 200));
}

/** Runs the suite; each test has a tail of its own. */
export function tailSuite(
  { describe, it, check }: SuiteRunner,
  name: string,
  open: () => MaybePromise<TailUnderTest>,
): void {
  const within = async (use: (subject: TailUnderTest) => Promise<void>): Promise<void> => {
    const subject = await open();
    try {
      await use(subject);
    } finally {
      await subject.close();
    }
  };
  const opened = async (subject: TailUnderTest): Promise<Heard> => {
    const tail = listenTo(subject.transport, await subject.token());
    await hear(tail, subject);
    return tail;
  };

  describe(`live tail: ${name}`, () => {
    it("tells how far the shard has grown", () =>
      within(async (subject) => {
        const tail = await opened(subject);
        await hear(tail, subject);
        check(
          tail.heads.every((head, at) => head > (tail.heads[at - 1] ?? 0)),
          `not growing: ${tail.heads.join(" ")}`,
        );
        tail.close();
      }));

    it("goes on over heartbeats", () =>
      within(async (subject) => {
        const tail = await opened(subject);
        for (let beat = 0; beat < 3; beat++) {
          subject.pass(limits.tailHeartbeatMs);
          await hear(tail, subject);
        }
        check(tail.ends.length === 0, "it ended");
        tail.close();
      }));

    it("ends with its token, once, and asks for another", () =>
      within(async (subject) => {
        const token = await subject.token();
        subject.pass(limits.tokenLifeMs - limits.tailHeartbeatMs);
        const tail = listenTo(subject.transport, token);
        await hear(tail, subject);
        subject.pass(limits.tailHeartbeatMs - 1);
        subject.pass(1);
        check(retryAfter(await tail.ended()) === "auth", "it does not ask for a token");
        check(tail.ends.length === 1, "it ended twice");
      }));

    it("ends at a heartbeat when its device was revoked", () =>
      within(async (subject) => {
        const tail = await opened(subject);
        await subject.revoke();
        subject.pass(limits.tailHeartbeatMs);
        check(retryAfter(await tail.ended()) === "auth", "it does not ask for a token");
      }));

    it("ends when the server stops, and is opened again later", () =>
      within(async (subject) => {
        const tail = await opened(subject);
        subject.stop();
        const retry = retryAfter(await tail.ended());
        check(retry === "after" || retry === "auth", `retry ${retry}`);
        const again = listenTo(subject.transport, "any");
        const error = await again.ended();
        check(retryAfter(error) === "after", "a stopped server is not asked again later");
      }));

    it("a device has only so many", () =>
      within(async (subject) => {
        const tails: Heard[] = [];
        for (let at = 0; at < subject.tailsMax; at++) tails.push(await opened(subject));
        const beyond = await listenTo(subject.transport, await subject.token()).ended();
        check(
          beyond instanceof HoldfastError && beyond.code === "requests_too_many",
          `one more: ${String(beyond)}`,
        );
        for (const tail of tails) tail.close();
      }));

    it("tells nothing once it was closed", () =>
      within(async (subject) => {
        const closed = await opened(subject);
        closed.close();
        const before = closed.heads.length;
        const other = await opened(subject);
        await hear(other, subject);
        check(closed.heads.length === before && closed.ends.length === 0, "it told something");
        other.close();
      }));
  });
}
