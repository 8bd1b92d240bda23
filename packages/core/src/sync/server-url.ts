/** Addresses of servers: https, or http to this machine; no credentials, query or fragment. */
import { HoldfastError } from "../std/errors.ts";

/** A server's address, checked. */
export interface ServerUrl {
  /** Scheme, host and port: names breaker and attempts. */
  readonly endpoint: string;
  /** Without a slash at the end; paths of messages follow. */
  readonly root: string;
  readonly secure: boolean;
}

const form = /^(https?):\/\/(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?((?:\/[\w.~-]+)*)\/?$/i;
const loopback = /^(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])$/;

/** Reads an address. Throws `transport_insecure` for plain http to other machines, `server_url_invalid`. */
export function parseServerUrl(text: string): ServerUrl {
  const [, scheme, host, port, path] = form.exec(text) ?? [];
  if (scheme === undefined || host === undefined || Number(port ?? 1) > 65_535) {
    throw new HoldfastError("server_url_invalid", { characters: text.length });
  }
  const secure = scheme.toLowerCase() === "https";
  const name = host.toLowerCase();
  if (!secure && !loopback.test(name)) throw new HoldfastError("transport_insecure");
  const usual = secure ? "443" : "80";
  const suffix = port === undefined || port === usual ? "" : `:${port}`;
  const endpoint = `${scheme.toLowerCase()}://${name}${suffix}`;
  return { endpoint, root: `${endpoint}${path ?? ""}`, secure };
}
