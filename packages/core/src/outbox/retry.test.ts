import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  attemptsMaxDefault,
  breakerThresholdsDefault,
  failureClasses,
  failureClassOf,
  retryOf,
  retryOfClass,
} from "./retry.ts";

describe("retryOf", () => {
  it.each([
    ["network_unreachable", undefined, "after"],
    ["server_failed", 500, "after"],
    ["server_busy", 503, "after"],
    ["requests_too_many", 429, "after"],
    ["device_log_forked", 409, "now"],
    ["token_refused", 401, "auth"],
    ["device_revoked", 403, "auth"],
    ["message_too_large", 413, "smaller"],
    ["push_root_wrong", 422, "halt"],
    ["event_leaf_wrong", 422, "never"],
    ["store_full", undefined, "after"],
    ["a_code_of_tomorrow", undefined, "after"],
    ["a_code_of_tomorrow", 418, "after"],
  ])("%s with %s: %s", (code, status, retry) => {
    expect(retryOf(code, status)).toBe(retry);
  });

  it.each([
    [400, "refused"],
    [401, "auth"],
    [403, "auth"],
    [404, "unknown"],
    [408, "network"],
    [409, "stale"],
    [413, "size"],
    [422, "refused"],
    [425, "busy"],
    [429, "busy"],
    [451, "unknown"],
    [500, "server"],
    [599, "server"],
    [600, "unknown"],
    [200, "unknown"],
  ])("an unknown code with %s is of class %s", (status, failureClass) => {
    expect(failureClassOf("a_code_of_tomorrow", status)).toBe(failureClass);
  });

  it("is closed: every code and status has an answer", () => {
    const retries = new Set(["now", "after", "auth", "smaller", "never", "halt"]);
    fc.assert(
      fc.property(fc.string(), fc.option(fc.integer(), { nil: undefined }), (code, status) =>
        retries.has(retryOf(code, status)),
      ),
    );
  });

  it("takes no name of an object's own for a code", () => {
    for (const code of ["constructor", "__proto__", "toString"])
      expect(failureClassOf(code)).toBe("unknown");
  });

  it("gives nothing up that may yet go, nor opens the breaker for an answer", () => {
    for (const one of failureClasses) {
      const retry = retryOfClass(one);
      if (retry === "auth" || retry === "halt") expect(attemptsMaxDefault[one]).toBe(0);
      if (retry === "never") expect(attemptsMaxDefault[one]).toBe(1);
      if (retry !== "after") expect(breakerThresholdsDefault[one]).toBe(0);
    }
    expect(failureClasses).toHaveLength(10);
  });
});
