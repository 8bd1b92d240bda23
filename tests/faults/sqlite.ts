/**
 * Plain SQLite for the self-tests of the fault tools. The package's own type declarations are out of reach
 * behind its `exports`, so the few calls that are used here are declared structurally.
 */
import { createRequire } from "node:module";

export interface Statement {
  run(...parameters: readonly unknown[]): unknown;
  get(...parameters: readonly unknown[]): unknown;
  all(...parameters: readonly unknown[]): readonly unknown[];
}

export interface Database {
  exec(sql: string): void;
  pragma(sql: string, options?: { readonly simple: boolean }): unknown;
  prepare(sql: string): Statement;
  /** Key of the page cipher that `pragma("cipher=…")` chose. */
  key(key: Buffer): void;
  close(): void;
}

const Driver = createRequire(import.meta.url)("better-sqlite3-multiple-ciphers") as new (
  path: string,
) => Database;

/** Opens or creates the database, with authenticated pages (aegis, a fixed key) when `encrypted`. */
export function openDatabase(path: string, encrypted = false): Database {
  const db = new Driver(path);
  if (encrypted) {
    db.pragma("cipher='aegis'");
    db.key(Buffer.concat([Buffer.from("raw:"), Buffer.alloc(32, 7)]));
  }
  return db;
}
