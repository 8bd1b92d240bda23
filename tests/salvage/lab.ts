/** What the drills of salvage share: a store of the lab, its pages by table, and harm done to them. */
import { closeSync, cpSync, openSync, readdirSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { createRegistry, defineEvent } from "@holdfast/core";
import { type Salvage, salvageStore, type SalvageOptions } from "@holdfast/node";
import { z } from "zod";
import { passphrase, placeIn } from "../store/lab.ts";
import { rowsIn } from "../backup/lab.ts";

/** The event types of the lab. */
const registry = createRegistry([
  defineEvent({
    type: "NoteRecorded",
    concurrency: "independent",
    schema: z.object({ n: z.number(), text: z.string() }),
  }),
  defineEvent({
    type: "TextImported",
    concurrency: "exclusive",
    encoding: "text",
    schema: z.object({ n: z.number(), text: z.string() }),
  }),
]);

export function databaseOf(folder: string, name = "store"): string {
  return join(placeIn(folder, name).directory, "store.db");
}

/** Pages of each table and index, from 1, as SQLite counts them; leaves apart from what leads to them. */
export async function pagesOf(
  folder: string,
): Promise<ReadonlyMap<string, readonly { readonly page: number; readonly leaf: boolean }[]>> {
  const { driver } = await rowsIn(folder);
  const rows = driver
    .prepare("SELECT name, pageno AS page, pagetype FROM dbstat ORDER BY name, pageno")
    .all<{ name: string; page: number; pagetype: string }>();
  driver.close();
  const pages = new Map<string, { page: number; leaf: boolean }[]>();
  for (const { name, page, pagetype } of rows) {
    const list = pages.get(name) ?? [];
    list.push({ page, leaf: pagetype !== "internal" });
    pages.set(name, list);
  }
  return pages;
}

export const pageBytes = 4_096;

/** Flips a byte in the middle of a page: it does not authenticate any more. */
export function flipPage(path: string, page: number): void {
  const file = openSync(path, "r+");
  try {
    const at = (page - 1) * pageBytes + 1_000;
    const byte = Buffer.alloc(1);
    readSync(file, byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ 0x41;
    writeSync(file, byte, 0, 1, at);
  } finally {
    closeSync(file);
  }
}

/** Salvage that goes on whatever is missing. */
export function salvage(
  folder: string,
  more: Partial<SalvageOptions> = {},
  name = "store",
): Promise<Salvage> {
  return salvageStore({
    ...placeIn(folder, name),
    passphrase,
    registry,
    agree: async () => true,
    ...more,
  });
}

/** Keeps store and state, and puts them back: the folders themselves stay. */
export function keeper(folder: string): () => void {
  for (const name of ["store", "state"]) {
    cpSync(join(folder, name), join(folder, `kept-${name}`), { recursive: true });
  }
  return () => {
    for (const name of readdirSync(folder)) {
      if (name.includes(".quarantine-")) rmSync(join(folder, name), { recursive: true });
    }
    for (const name of ["store", "state"]) {
      for (const file of readdirSync(join(folder, name))) {
        rmSync(join(folder, name, file), { recursive: true });
      }
      cpSync(join(folder, `kept-${name}`), join(folder, name), { recursive: true });
    }
  };
}
