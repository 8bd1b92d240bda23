/** The `PostgresDriver` port on `pg`: one bounded pool, statements prepared by name, several under way at once. */
import { createHash } from "node:crypto";
import { HoldfastError, isHoldfastError } from "@holdfast/core";
import pg from "pg";
import {
  type PostgresConnection,
  type PostgresDriver,
  postgresFailure,
  type PostgresValue,
} from "./engine/postgres-driver.ts";

/** What {@link createPostgresDriver} takes. */
export interface PostgresDriverOptions {
  /** `postgres://role:password@host:port/database?sslmode=…`. */
  readonly url: string;
  /** Connections at once. */
  readonly connectionsMax: number;
  /** Calls that may wait for one of them. */
  readonly waitingMax: number;
  /** How long such a call waits, and how long a connection may take to come up. */
  readonly waitMs: number;
  /** How long the answer to a statement may take: beyond it the connection is cut. */
  readonly answerMs: number;
  /** Runs on each new connection before it is lent; when it throws there is no connection. */
  readonly prepare: (connection: PostgresConnection) => Promise<void>;
}

/** Opens no connection yet. Throws `config_invalid` for an address that cannot be read. */
export function createPostgresDriver(options: PostgresDriverOptions): PostgresDriver {
  const config = clientConfig(options);
  const pool = new pg.Pool({
    ...config,
    max: options.connectionsMax,
    connectionTimeoutMillis: options.waitMs,
    idleTimeoutMillis: 30_000,
    verify(client, done) {
      options.prepare(connectionOver(client)).then(() => {
        done();
      }, done);
    },
  });
  // A connection that fails tells whoever waits for an answer on it, and the pool lets go of it.
  pool.on("error", () => undefined);
  pool.on("connect", (client) => client.on("error", () => undefined));
  return {
    async lend(work) {
      if (pool.waitingCount >= options.waitingMax) {
        throw new HoldfastError("store_busy", { result: "pool" });
      }
      const client = await guarded(() => pool.connect(), "pool");
      try {
        return await work(connectionOver(client));
      } finally {
        // Whoever gets it next must find no transaction open.
        client.release(client.getTransactionStatus() !== "I");
      }
    },
    listen: (channel, listener, lost) => listen(config, channel, listener, lost),
    async close() {
      await pool.end();
    },
  };
}

function clientConfig({ url, answerMs }: PostgresDriverOptions): pg.ClientConfig {
  if (!URL.canParse(url)) {
    throw new HoldfastError("config_invalid", { setting: "database_url", source: "form" });
  }
  return {
    connectionString: url,
    // Known to operators in pg_stat_activity.
    application_name: "holdfast",
    pipeline: true,
    query_timeout: answerMs,
    keepAlive: true,
    types: { getTypeParser },
  };
}

const int8 = 20;
const int4 = 23;
const bytea = 17;
const bool = 16;

function getTypeParser(oid: number): (text: string) => unknown {
  if (oid === int8 || oid === int4) return Number;
  if (oid === bytea) return (text) => Buffer.from(text.slice(2), "hex");
  if (oid === bool) return (text) => text === "t";
  return (text) => text;
}

/** Names of prepared statements: the same text has the same one on every connection. */
const names = new Map<string, string>();

function nameOf(sql: string): string {
  const known = names.get(sql);
  if (known !== undefined) return known;
  const name = createHash("sha256").update(sql).digest("base64url").slice(0, 22);
  names.set(sql, name);
  return name;
}

function connectionOver(client: pg.ClientBase): PostgresConnection {
  const query = (sql: string, values: readonly PostgresValue[]): Promise<pg.QueryResult> =>
    guarded(() => client.query({ name: nameOf(sql), text: sql, values: [...values] }), undefined);
  return {
    async rows<Row>(sql: string, ...values: readonly PostgresValue[]) {
      return (await query(sql, values)).rows as readonly Row[];
    },
    async run(sql, ...values) {
      return (await query(sql, values)).rowCount ?? 0;
    },
    async exec(sql) {
      const warnings: string[] = [];
      const note = ({ severity, code }: Notice): void => {
        if (severity === "WARNING") warnings.push(code ?? "");
      };
      client.on("notice", note);
      try {
        await guarded(() => client.query(sql), undefined);
      } finally {
        client.off("notice", note);
      }
      return warnings;
    },
  };
}

interface Notice {
  readonly severity: string | undefined;
  readonly code: string | undefined;
}

interface DatabaseError extends Error {
  readonly severity?: string;
  readonly code?: string;
}

/** Errors of the database have a severity and an SQLSTATE; those of sockets and of the library have none. */
async function guarded<T>(call: () => Promise<T>, result: string | undefined): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (isHoldfastError(error)) throw error;
    const { severity, code, message } = error as DatabaseError;
    if (result === "pool" && message.startsWith("timeout exceeded")) {
      throw new HoldfastError("store_busy", { result }, { cause: error });
    }
    throw postgresFailure(severity === undefined ? undefined : code, error);
  }
}

async function listen(
  config: pg.ClientConfig,
  channel: string,
  listener: (payload: string) => void,
  lost: () => void,
): Promise<() => Promise<void>> {
  const client = new pg.Client({ ...config, query_timeout: 0 });
  let open = true;
  const end = (): void => {
    if (open) lost();
    open = false;
  };
  client.on("error", end);
  client.on("end", end);
  client.on("notification", ({ payload }) => {
    listener(payload ?? "");
  });
  await guarded(() => client.connect(), undefined);
  await guarded(() => client.query(`LISTEN ${channel}`), undefined);
  return async () => {
    open = false;
    await client.end();
  };
}
