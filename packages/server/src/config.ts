/**
 * Every setting of the server, once: its key in the file, its environment variable, its flag, its default, what it
 * may be and what it is for. Flags go before the environment, the environment before the file.
 *
 * The file is JSON: `{"port": 8443, "reads": "none"}`. Nothing in it is executed, expanded or included.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { HoldfastError, parseJson } from "@holdfast/core";
import { z } from "zod";

const digits = z.string().regex(/^\d{1,15}$/);

/** A whole number, from the environment and from flags as digits. */
function count(least: number, most: number) {
  return z
    .union([z.number(), digits.transform(Number)])
    .pipe(z.number().int().min(least).max(most));
}

const flag = z.union([z.boolean(), z.enum(["true", "false"]).transform((text) => text === "true")]);
const path = z.string().min(1).max(4_096);
const databaseUrl = z.string().regex(/^postgres(ql)?:\/\/\S{1,2000}$/);
const hostName = z.string().regex(/^[A-Za-z0-9.:_-]{1,253}$/);

/** One setting. */
interface Setting<T> {
  readonly schema: z.ZodType<T>;
  /** Default; `undefined`: there is none. */
  readonly usual: T | undefined;
  readonly help: string;
}

function setting<T>(schema: z.ZodType<T>, usual: T | undefined, help: string): Setting<T> {
  return { schema, usual, help };
}

const day = 86_400;

/** The table. Names are the keys of the file; `HOLDFAST_` and upper case make the variable, dashes the flag. */
export const settings = {
  host: setting(hostName, "127.0.0.1", "address to listen on"),
  port: setting(count(0, 65_535), 8_443, "port to listen on; 0: any that is free"),
  data: setting(path, "holdfast-data", "folder of the server's database and keys"),
  database_url: setting(
    databaseUrl,
    undefined,
    "PostgreSQL to keep events in, postgres://role:password@host/database; default: SQLite in the data folder",
  ),
  database_owner_url: setting(
    databaseUrl,
    undefined,
    "the same database as the role that owns its tables, used at the start to bring them up to date; default: database_url",
  ),
  database_read_url: setting(
    databaseUrl,
    undefined,
    "a copy of the database that may lag behind and answers pulls",
  ),
  database_layout: setting(
    z.enum(["partitioned", "plain"]),
    "partitioned",
    "of a database that is made new; plain: for engines that distribute tables themselves",
  ),
  database_connections: setting(count(2, 1_000), 16, "connections to the database at once"),
  database_read_connections: setting(count(1, 1_000), 8, "connections to its copy at once"),
  database_waiting: setting(count(1, 100_000), 1_000, "calls that may wait for a connection"),
  database_wait_seconds: setting(count(1, 300), 10, "time that such a call waits"),
  database_statement_seconds: setting(count(1, 3_600), 30, "time for one statement"),
  database_stall_seconds: setting(
    count(1, 300),
    5,
    "how long a node that hangs may keep the others from writing to a tenant",
  ),
  database_poll_seconds: setting(
    count(1, 300),
    2,
    "how often a node looks for events of other nodes that it was not told of",
  ),
  durability: setting(
    z.enum(["local", "replicated"]),
    "local",
    "replicated: writes are refused unless a synchronous standby of the database is connected",
  ),
  keys: setting(
    path,
    undefined,
    "key file of the server that this node belongs to; default: server.keys in the data folder, made at the first start",
  ),
  key_settings: setting(
    path,
    undefined,
    "settings of key providers, JSON, for the keys of a server that is made new: they are then in a keyring, not in a key file",
  ),
  node: setting(
    hostName,
    "1",
    "name of this node among those on one database, which signed statements tell apart",
  ),
  name: setting(
    hostName,
    undefined,
    "name in log origins and tokens, fixed at the first start; default: host and port",
  ),
  public_url: setting(
    z.string().regex(/^https?:\/\/\S{1,500}$/),
    undefined,
    "address that devices use, written into enrolment codes; default: the listening one",
  ),
  reads: setting(
    z.enum(["granted", "none"]),
    "granted",
    "granted: devices may grant keys to the server; none: it reads headers only",
  ),
  tls_certificate: setting(path, undefined, "PEM file with the certificate chain"),
  tls_key: setting(path, undefined, "PEM file with the certificate's private key"),
  allow_plaintext: setting(
    flag,
    false,
    "listen without TLS on an address that other machines reach, behind a proxy that ends TLS",
  ),
  profile: setting(
    z.enum(["development", "production"]),
    "development",
    "production refuses weak settings by name: allow_plaintext, keys that others may read",
  ),
  code_hours: setting(
    count(1, 720),
    24,
    "hours until the founding code of the first start expires",
  ),
  address_connections: setting(count(1, 100_000), 512, "connections of one address at once"),
  address_requests: setting(count(1, 10_000), 64, "requests of one address at once"),
  all_requests: setting(count(1, 100_000), 512, "requests of all at once"),
  address_rate: setting(count(1, 1_000_000), 500, "requests a second of one address"),
  device_rate: setting(count(1, 1_000_000), 100, "requests a second of one device"),
  device_tails: setting(
    count(1, 1_000),
    4,
    "live tails of one device at once, both transports together",
  ),
  headers_seconds: setting(count(1, 60), 10, "time for the headers of a request"),
  body_silence_seconds: setting(count(1, 60), 15, "longest silence while a body comes"),
  request_seconds: setting(count(1, day), 120, "time for a whole request"),
  idle_seconds: setting(count(1, day), 60, "time until an idle connection is cut"),
  drain_seconds: setting(
    count(0, day),
    0,
    "time between /readyz turning unready and the end of listening when stopping: longer than a balancer's checks are apart",
  ),
  stop_seconds: setting(count(0, day), 10, "time that requests have to finish when stopping"),
} as const satisfies Readonly<Record<string, Setting<unknown>>>;

type Settings = typeof settings;
/** Name of a setting: its key in the file. */
export type SettingName = keyof Settings;
type Optional =
  | "keys"
  | "key_settings"
  | "name"
  | "public_url"
  | "tls_certificate"
  | "tls_key"
  | "database_url"
  | "database_owner_url"
  | "database_read_url";

/** Every setting, read and checked. */
export type ServerConfig = {
  readonly [K in Exclude<SettingName, Optional>]: z.output<Settings[K]["schema"]>;
} & { readonly [K in Optional]: string | undefined };

/** Environment variable of a setting. */
export function variableOf(name: SettingName): string {
  return `HOLDFAST_${name.toUpperCase()}`;
}

/** Flag of a setting, without dashes in front. */
export function flagOf(name: SettingName): string {
  return name.replaceAll("_", "-");
}

/** Names of all settings, in the order of the table. */
export const settingNames = Object.keys(settings) as readonly SettingName[];

/** Where values come from. */
export interface ConfigSources {
  /** Text of the file. */
  readonly file?: string | Uint8Array;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** By name of the setting. */
  readonly flags?: Readonly<Partial<Record<SettingName, unknown>>>;
}

/** Reads the table from its sources. Throws `config_invalid` {setting, source}, never with a value. */
export function loadConfig(sources: ConfigSources = {}): ServerConfig {
  const file = fileSettings(sources.file);
  const out: Record<string, unknown> = {};
  for (const name of settingNames) {
    const given: readonly (readonly [string, unknown])[] = [
      ["flag", sources.flags?.[name]],
      ["environment", sources.environment?.[variableOf(name)]],
      ["file", file[name]],
    ];
    const first = given.find(([, value]) => value !== undefined);
    out[name] = first === undefined ? settings[name].usual : checked(name, first[0], first[1]);
  }
  return out as ServerConfig;
}

function checked(name: SettingName, source: string, value: unknown): unknown {
  const parsed = settings[name].schema.safeParse(value);
  if (!parsed.success) throw new HoldfastError("config_invalid", { setting: name, source });
  return parsed.data;
}

function fileSettings(text: string | Uint8Array | undefined): Readonly<Record<string, unknown>> {
  if (text === undefined) return {};
  const value = parseJson(text);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new HoldfastError("config_invalid", { setting: "", source: "file" });
  }
  for (const name of Object.keys(value)) {
    if (!Object.hasOwn(settings, name)) {
      throw new HoldfastError("config_invalid", { setting: name.slice(0, 64), source: "file" });
    }
  }
  return value as Readonly<Record<string, unknown>>;
}

const fileBytesMax = 64 * 1024;

/** Text of a settings file: a regular file of at most 64 KiB. Throws `input_unreadable`. */
export function readConfigFile(path: string): Uint8Array {
  let descriptor: number;
  try {
    // Not blocking: a pipe would wait for a writer for ever.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw new HoldfastError("input_unreadable", { argument: "--config" }, { cause });
  }
  try {
    const found = fstatSync(descriptor);
    if (!found.isFile() || found.size > fileBytesMax) {
      throw new HoldfastError("input_unreadable", { argument: "--config" });
    }
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
