import { createManualClock, createRecordingObserver } from "@holdfast/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HoldfastError } from "../../std/errors.ts";
import { createLoggedHttp, maskToken, redactedHeaders, sanitizedPath } from "./http-log.ts";

describe("what is logged of requests and answers", () => {
  it("four and three characters of a token, of a short one nothing", () => {
    expect(maskToken("eyJhbGciOiJIUzI1NiJ9.x.dozR8U")).toBe("eyJh…R8U");
    expect(maskToken("short")).toBe("[REDACTED]");
  });

  it("of headers the harmless ones; cookies not even by name", () => {
    const line = redactedHeaders({
      Authorization: "Bearer eyJhbGciOiJIUzI1NiJ9.x.dozR8U",
      Cookie: "session=abc",
      "Set-Cookie": "session=abc",
      "X-Api-Key": "abc",
      "Content-Type": "application/json",
      "Retry-After": "7\u0000",
    });
    expect(line).toBe(
      "authorization: Bearer eyJh…R8U; content-type: application/json; retry-after: 7?; x-api-key: [REDACTED]",
    );
    expect(redactedHeaders({ authorization: "Basic dXNlcjpwYXNzd29yZA==" })).toBe(
      "authorization: [REDACTED]",
    );
  });

  it.each([
    [
      "https://h.example/api/v1/users/550e8400-e29b-41d4-a716-446655440000/profile?name=Ann#x",
      "/api/v1/users/{uuid}/profile",
    ],
    ["https://h.example", "/"],
    ["/notes/9Xk2mPq8Lw3nRt5vYz7bCd/current", "/notes/{id}/current"],
    ["/people/ann@example.com/12", "/people/{id}/{id}"],
  ])("%s as %s", (url, path) => {
    expect(sanitizedPath(url)).toBe(path);
  });

  it("never a value of a header that may carry a secret, nor a query", () => {
    const secret = fc.stringMatching(/^[a-zA-Z0-9]{20,40}$/);
    const name = fc.constantFrom("x-secret", "Cookie", "proxy-authorization", "etag", "SET-COOKIE");
    fc.assert(
      fc.property(secret, name, (value, header) => {
        expect(redactedHeaders({ [header]: value })).not.toContain(value);
        expect(redactedHeaders({ authorization: `Bearer ${value}` })).not.toContain(value);
        expect(sanitizedPath(`https://h/x/${value}?q=${value}`)).not.toContain(value);
      }),
    );
  });

  it("goes through the observer, failures by their code", async () => {
    const observer = createRecordingObserver();
    const failing = {
      request: () => Promise.reject(new HoldfastError("network_timeout")),
      stream: () => () => undefined,
    };
    const http = createLoggedHttp(failing, { observer, clock: createManualClock() });
    const request = {
      method: "PUT",
      url: "https://h/a",
      headers: {},
      timeoutMs: 1,
      answerBytesMax: 1,
    } as const;
    await expect(http.request(request)).rejects.toThrow("network_timeout");
    expect(observer.seen).toMatchObject([
      { level: "debug", event: "http_request", labels: { method: "PUT", path: "/a" } },
      { level: "warn", event: "http_failed", labels: { code: "network_timeout", ms: 0 } },
    ]);
  });
});
