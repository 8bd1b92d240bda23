/** The pages of a store's file: those that are free, and what it takes to write all of them anew. */
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";

/** Bytes that can be had in memory and on the medium, for a file that is written anew. */
export interface Room {
  readonly memory: number;
  readonly disk: number;
}

/** Value of `auto_vacuum` for files whose free pages can be given back a few at a time. */
const incremental = 2;

export function isIncremental(driver: SqliteDriver): boolean {
  return numberOf(driver, "auto_vacuum") === incremental;
}

/** Bytes in the file that are free and stay there until it grows. */
export function freeBytesIn(driver: SqliteDriver): number {
  return numberOf(driver, "freelist_count") * numberOf(driver, "page_size");
}

/** Gives some free pages back to the file system, in the caller's transaction; are there more that can be? */
export function freeSomePages(driver: SqliteDriver): boolean {
  const before = numberOf(driver, "freelist_count");
  if (before > 0) driver.exec(`PRAGMA incremental_vacuum(${limits.compactPagesPerSlice})`);
  const after = numberOf(driver, "freelist_count");
  return after > 0 && after < before;
}

/** The write-ahead log goes into the file and becomes empty; `false`: a reader holds that up. */
export function cutOff(driver: SqliteDriver): boolean {
  if (!driver.capabilities.persistent) return true;
  const row = driver.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get<{ busy: number }>();
  return row?.busy === 0;
}

/** The copy in memory, or that in the write-ahead log, and something for those who write besides. */
const roomFactor = 1.25;

/** Throws `compact_no_room` where the file cannot be written anew. */
export function checkRoom(driver: SqliteDriver, room: Room): void {
  const pages = numberOf(driver, "page_count") - numberOf(driver, "freelist_count");
  const needed = Math.ceil(pages * numberOf(driver, "page_size") * roomFactor);
  for (const part of ["memory", "disk"] as const) {
    const available = room[part];
    if (available < needed) {
      throw new HoldfastError("compact_no_room", { of: part, needed, available });
    }
  }
}

function numberOf(driver: SqliteDriver, pragma: string): number {
  const row = driver.prepare(`PRAGMA ${pragma}`).get<Record<string, number>>();
  return Object.values(row ?? {})[0] ?? 0;
}
