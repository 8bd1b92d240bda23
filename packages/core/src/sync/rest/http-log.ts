/**
 * Requests and answers in the log, without what they carry: bodies and queries are never looked at, ids in
 * paths are replaced, of headers only harmless ones are shown. Of a bearer token the first four and the last
 * three characters stay, so that two tokens can be told apart; other credentials and cookies do not appear.
 */
import { HoldfastError } from "../../std/errors.ts";
import type { Clock } from "../../std/ports.ts";
import type { Observer } from "../../telemetry/observer.ts";
import type { HttpPort } from "../http-port.ts";

const shownHeaders: ReadonlySet<string> = new Set([
  "accept",
  "content-length",
  "content-type",
  "date",
  "retry-after",
]);
const removedHeaders: ReadonlySet<string> = new Set(["cookie", "cookie2", "set-cookie"]);
const redacted = "[REDACTED]";
const shownCharactersMax = 256;

/** `eyJh…R8U`; too short a text shows nothing. */
export function maskToken(token: string): string {
  return token.length < 16 ? redacted : `${token.slice(0, 4)}…${token.slice(-3)}`;
}

/** Headers as one line, in order of their names. */
export function redactedHeaders(headers: Readonly<Record<string, string>>): string {
  const shown = Object.entries(headers)
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .filter(([name]) => !removedHeaders.has(name))
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${printable(name)}: ${shownValue(name, value)}`);
  return clipped(shown.join("; "));
}

function shownValue(name: string, value: string): string {
  if (shownHeaders.has(name)) return printable(value);
  const bearer = name === "authorization" ? /^Bearer (\S+)$/i.exec(value)?.[1] : undefined;
  return bearer === undefined ? redacted : `Bearer ${maskToken(bearer)}`;
}

/** The path of an address, ids replaced: `/notes/{id}`. */
export function sanitizedPath(url: string): string {
  const path = url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, "").replace(/[?#].*$/s, "");
  return clipped(path.split("/").map(sanitizedSegment).join("/")) || "/";
}

function sanitizedSegment(segment: string): string {
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(segment)) return "{uuid}";
  // Words of an address are short and spelled in letters; what is long or holds digits may be an id.
  if (/^(v\d{1,3}|[A-Za-z._~-]{0,16})$/.test(segment)) return segment;
  return "{id}";
}

function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, "?");
}

function clipped(text: string): string {
  return text.length <= shownCharactersMax ? text : `${text.slice(0, shownCharactersMax)}…`;
}

/** The same port, telling the observer of each request and how it ended. */
export function createLoggedHttp(
  http: HttpPort,
  deps: { readonly observer: Observer; readonly clock: Pick<Clock, "monotonic"> },
): HttpPort {
  const { observer, clock } = deps;
  return {
    stream: (request, listener) => http.stream(request, listener),
    async request(request) {
      const { method, url, headers } = request;
      const line = { method, path: sanitizedPath(url) };
      observer.log("debug", "http_request", { ...line, headers: redactedHeaders(headers) });
      const started = clock.monotonic();
      try {
        const answer = await http.request(request);
        const ms = Math.round(clock.monotonic() - started);
        const told = { ...line, status: answer.status, ms };
        const level = answer.status >= 200 && answer.status < 300 ? "debug" : "warn";
        const shown = redactedHeaders(answer.headers);
        observer.log(level, "http_answer", { ...told, headers: shown });
        return answer;
      } catch (error) {
        const code = error instanceof HoldfastError ? error.code : "internal";
        const ms = Math.round(clock.monotonic() - started);
        observer.log("warn", "http_failed", { ...line, code, ms });
        throw error;
      }
    },
  };
}
