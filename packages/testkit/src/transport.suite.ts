/**
 * What every `Transport` must do, whatever lies between: answers or coded failures, an end at the signal,
 * refusals that `retryOf` can classify, a tail that says nothing once it is closed. A server stands behind it;
 * the suite has no enrolled device, so it asks what strangers may ask, and must be refused the rest.
 */
import {
  HoldfastError,
  type MaybePromise,
  parseServerUrl,
  type PullRequest,
  type PushRequest,
  retryOf,
  type Transport,
} from "@holdfast/core";
import type { SuiteRunner } from "./key-provider.suite.ts";

/** One transport with a server behind it, opened for one test. */
export interface TransportUnderTest {
  readonly transport: Transport;
  close(): MaybePromise<void>;
}

const push: PushRequest = {
  device: "A".repeat(22),
  incarnation: "0".repeat(16),
  from: 0,
  note: "",
  entries: [],
  fills: [],
  checkpoint: 0,
};
const pull: PullRequest = {
  scopes: "*",
  after: 0,
  events: 1,
  bytes: 1,
  checkpoint: 0,
  held: {},
};

/** The code that a call fails with; throws when it does not fail, or not with a code. */
async function codeOf(call: Promise<unknown>): Promise<HoldfastError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof HoldfastError) return error;
    throw error;
  }
  throw new Error("the call was answered");
}

/** A signal that is set off already: what was not sent yet must not be sent. */
const aborted = {
  aborted: true,
  addEventListener: (_: "abort", listener: () => void) => {
    listener();
  },
  removeEventListener: () => undefined,
};

/** Runs the suite; each test has a transport of its own. */
export function transportSuite(
  { describe, it, check }: SuiteRunner,
  name: string,
  open: () => MaybePromise<TransportUnderTest>,
): void {
  const within = async (use: (transport: Transport) => Promise<void>): Promise<void> => {
    const { transport, close } = await open();
    try {
      await use(transport);
    } finally {
      await close();
    }
  };

  describe(`transport: ${name}`, () => {
    it("names its endpoint without path and credentials", () =>
      within(async ({ endpoint }) => {
        check(parseServerUrl(endpoint).endpoint === endpoint, `not an endpoint: ${endpoint}`);
      }));

    it("brings the server's hello, with bounds that an exchange fits in", () =>
      within(async (transport) => {
        const { protocol, limits, time } = await transport.hello({});
        check(protocol.oldest <= 1 && protocol.newest >= 1, "protocol 1 is not spoken");
        check(
          Object.values(limits).every((limit) => Number.isSafeInteger(limit) && limit > 0),
          "a bound is no count",
        );
        check(Number.isSafeInteger(time), "the server's time is no time");
      }));

    it("fails with a code that asks for a token where one is missing or wrong", () =>
      within(async (transport) => {
        for (const options of [{}, { token: "not-a-token" }]) {
          for (const call of [transport.push(push, options), transport.pull(pull, options)]) {
            const { code, details } = await codeOf(call);
            const status = Number(details["status"] ?? 401);
            check(retryOf(code, status) === "auth", `${code} does not ask for a token`);
          }
        }
      }));

    it("refuses an assertion that proves nothing, for good", () =>
      within(async (transport) => {
        const { code, details } = await codeOf(transport.token({ assertion: "e30.e30." }, {}));
        const retry = retryOf(code, Number(details["status"] ?? 401));
        check(["auth", "never", "halt"].includes(retry), `${code} would be tried again`);
      }));

    it("ends with sync_cancelled at a signal that was set off before", () =>
      within(async (transport) => {
        const { code } = await codeOf(transport.hello({ signal: aborted }));
        check(code === "sync_cancelled", code);
      }));

    it("ends a tail without a token, once, and tells nothing after it was closed", () =>
      within(async (transport) => {
        let ends = 0;
        const error = await new Promise((resolve) => {
          const listener = {
            hint: () => undefined,
            ended: (reason: unknown) => {
              ends += 1;
              resolve(reason);
            },
          };
          transport.tail(listener, {});
        });
        check(error instanceof HoldfastError, "the tail ended without a code");
        check(ends === 1, "the tail ended twice");
        let told = 0;
        const tell = (): void => {
          told += 1;
        };
        const close = transport.tail({ hint: tell, ended: tell }, { token: "not-a-token" });
        const before = told;
        close();
        await transport.hello({});
        check(told === before, "a closed tail was told something");
      }));
  });
}
