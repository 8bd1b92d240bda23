/**
 * A server that runs: data folder, keys, database, engine, application, listener; and its orderly end. Zero
 * configuration: the defaults listen on this machine alone.
 */
import { readFileSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type FoundWeakness, HoldfastError, type Observer, silentObserver } from "@holdfast/core";
import { enforceProfile, readableByOthers, systemTimers } from "@holdfast/node";
import { type Api, type ApiBounds, createApi } from "./api/app.ts";
import { createListener, type ListenerBounds, type TlsFiles } from "./api/listener.ts";
import type { ServerConfig } from "./config.ts";
import { addFoundingCode } from "./founding-code.ts";
import { createEngine, holdFolder, serverKeys } from "./held-folder.ts";
import { makePrivateFolder } from "./key-files.ts";
import { platform } from "./platform.ts";
import type { ServerKeys } from "./server-keys.ts";
import { openStore } from "./stores.ts";

/** A server that listens. */
export interface RunningServer {
  /** Where it listens. */
  readonly url: string;
  /** Founding code of a first start; shown once. */
  readonly code: string | undefined;
  /** Makes another founding code. */
  foundingCode(): Promise<string>;
  /** Turns unready, stops listening after `drain_seconds`, lets requests finish for `stop_seconds`, closes the database. */
  close(): Promise<void>;
}

/**
 * Starts a server. Throws `listener_insecure`, `profile_refused`, `config_invalid`, `input_unreadable`, `store_busy` when another
 * server has the folder, `listener_refused` when the address cannot be had, and what keys and database throw.
 */
export async function startServer(
  config: ServerConfig,
  observer: Observer = silentObserver,
): Promise<RunningServer> {
  const tls = tlsFiles(config);
  if (tls === undefined && !config.allow_plaintext && !isLoopback(config.host)) {
    throw new HoldfastError("listener_insecure");
  }
  // Outside production the setting itself says that it is meant.
  const weak = config.profile === "production" ? [] : (["weak.listeners"] as const);
  enforceProfile({ profile: config.profile, weak }, weaknessesOf(config), observer);
  makePrivateFolder(config.data);
  const folder = holdFolder(config.data);
  try {
    return await startIn(config, tls, observer, folder);
  } catch (error) {
    folder.release();
    throw error;
  }
}

async function startIn(
  config: ServerConfig,
  tls: TlsFiles | undefined,
  observer: Observer,
  folder: { release(): void },
): Promise<RunningServer> {
  // Requests wait in the listener until the application is there: the name may hold the port.
  const listening = await listen(config, tls);
  const { listener, url, address } = listening;
  let opened: ServerKeys | undefined;
  try {
    const keys = (opened = await serverKeys(config, address, observer));
    const { store, replay } = await openStore(config, keys);
    const server = createEngine(config, observer, keys, store);
    const api = createApi({
      ...platform,
      server,
      timers: systemTimers,
      observer,
      host: keys.name,
      tokenKey: keys.token,
      replay,
      bounds: apiBounds(config),
    });
    listening.serve(api);
    const deps = { ...platform, server, spki: keys.checkpoint.spki };
    const foundingCode = (): Promise<string> =>
      addFoundingCode(deps, config.public_url ?? url, config.code_hours * 3_600_000);
    observer.log("info", "server_started");
    let closing: Promise<void> | undefined;
    const close = async (): Promise<void> => {
      api.drain();
      await sleep(config.drain_seconds * 1_000);
      api.stop();
      await endListener(listener, config.stop_seconds * 1_000);
      await server.close();
      await store.close();
      keys.close();
      folder.release();
      observer.log("info", "server_stopped");
    };
    return {
      url,
      code: keys.made ? await foundingCode() : undefined,
      foundingCode,
      close: () => (closing ??= close()),
    };
  } catch (error) {
    opened?.close();
    listener.close();
    listener.closeAllConnections();
    throw error;
  }
}

interface Listening {
  readonly listener: Server;
  readonly url: string;
  /** Host and port. */
  readonly address: string;
  serve(api: Api): void;
}

async function listen(config: ServerConfig, tls: TlsFiles | undefined): Promise<Listening> {
  let serve: (api: Api) => void = () => undefined;
  const ready = new Promise<Api>((resolve) => {
    serve = resolve;
  });
  const waiting: Pick<Api, "fetch" | "upgrade"> = {
    fetch: async (request, env) => (await ready).fetch(request, env),
    upgrade: async (...asked) => (await ready).upgrade(...asked),
  };
  const listener = createListener(waiting, listenerBounds(config), tls);
  await new Promise<void>((resolve, reject) => {
    listener.once("error", (cause: NodeJS.ErrnoException) => {
      const reason = cause.code ?? "unknown";
      reject(new HoldfastError("listener_refused", { reason }, { cause }));
    });
    listener.listen(config.port, config.host, resolve);
  });
  const { port } = listener.address() as AddressInfo;
  const host = config.host.includes(":") ? `[${config.host}]` : config.host;
  const address = `${host}:${port}`;
  return {
    listener,
    url: `${tls === undefined ? "http" : "https"}://${address}`,
    address: `${config.host.replaceAll(":", "-")}:${port}`,
    serve: (api) => {
      serve(api);
    },
  };
}

/** No new connections; what is under way has its time, then it is cut. */
async function endListener(listener: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    listener.close(() => {
      resolve();
    });
  });
  listener.closeIdleConnections();
  const timer = setTimeout(() => {
    listener.closeAllConnections();
  }, graceMs);
  await closed;
  clearTimeout(timer);
}

/** What is weak about the settings, each found by its name. */
function weaknessesOf(config: ServerConfig): readonly FoundWeakness[] {
  const { allow_plaintext: plaintext, tls_key: key } = config;
  const files = key === undefined ? [] : readableByOthers([{ role: "tls_key", path: key }]);
  return [
    ...(plaintext
      ? [{ weakness: "weak.listeners.plaintext", found: "allow_plaintext" } as const]
      : []),
    ...files.map((found) => ({ weakness: "weak.files.readable-by-others", found }) as const),
  ];
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

function tlsFiles({ tls_certificate: certificate, tls_key: key }: ServerConfig) {
  if (certificate === undefined && key === undefined) return undefined;
  if (certificate === undefined || key === undefined) {
    const setting = certificate === undefined ? "tls_certificate" : "tls_key";
    throw new HoldfastError("config_invalid", { setting, source: "missing" });
  }
  try {
    return { certificate: readFileSync(certificate), key: readFileSync(key) };
  } catch (cause) {
    throw new HoldfastError("input_unreadable", { argument: "tls" }, { cause });
  }
}

function apiBounds(config: ServerConfig): ApiBounds {
  // A burst of ten seconds: a device that comes back sends what has gathered.
  const rate = (perSecond: number) => ({ perSecond, burst: perSecond * 10 });
  return {
    addressRate: rate(config.address_rate),
    deviceRate: rate(config.device_rate),
    addressRequests: config.address_requests,
    allRequests: config.all_requests,
    deviceTails: config.device_tails,
    headersMax,
    bodySilenceMs: config.body_silence_seconds * 1_000,
  };
}

const headersMax = 64;

function listenerBounds(config: ServerConfig): ListenerBounds {
  return {
    headersMs: config.headers_seconds * 1_000,
    requestMs: config.request_seconds * 1_000,
    idleMs: config.idle_seconds * 1_000,
    keepAliveMs: 5_000,
    headerBytesMax: 16 * 1_024,
    headersMax,
    addressConnections: config.address_connections,
  };
}

export {
  type DrillReport,
  openServerBackups,
  type ServerBackups,
  type ServerManifest,
} from "./server-backup.ts";
export { openShards, type Shards } from "./shards.ts";
export type { MoveAnswer, MoveRequest } from "./engine/admin/move-tenant.ts";
export type { ShardHead, ShardRow } from "./engine/server-store.ts";
export {
  type ConfigSources,
  flagOf,
  loadConfig,
  readConfigFile,
  type ServerConfig,
  type SettingName,
  settingNames,
  settings,
  variableOf,
} from "./config.ts";
