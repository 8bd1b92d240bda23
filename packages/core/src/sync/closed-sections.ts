/**
 * Sections that were pulled before their keys: noted in the transaction that stores them, by key, so that the
 * streams which they belong to are folded again once the key has arrived.
 */
import { frameGeneration } from "../seal/frame.ts";
import type { Keyring } from "../keys/keyring.ts";
import type { AppendedRow, AppendParticipant } from "../store/sqlite-event-log.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { localValues } from "./local-values.ts";

export interface ClosedSections extends AppendParticipant {
  /** Streams with sections under that key; forgets them, in the caller's transaction. */
  take(key: string, generation: number): readonly string[];
  /** Is it noted that the stream has a section under that key? */
  has(key: string, generation: number, stream: string): boolean;
  /** Keys that are here all the same: a process ended between the keyring and the store. */
  openable(): readonly { readonly key: string; readonly generation: number }[];
  /** Is there a section here whose key is not? */
  any(): boolean;
}

const prefix = "closed/";
const nameOf = (key: string, generation: number): string => `${prefix}${key}/${generation}/`;

/** Over one connection; takes part in appends. */
export function createClosedSections(deps: {
  readonly driver: SqliteDriver;
  readonly keyring: Pick<Keyring, "dataKey">;
}): ClosedSections {
  const { driver, keyring } = deps;
  const values = localValues(driver);
  const some = driver.prepare("SELECT 1 FROM sync WHERE name >= ? AND name < ? LIMIT 1");

  function note({ sealed }: AppendedRow): void {
    for (const { key, bytes } of sealed.frames) {
      const generation = bytes === undefined ? undefined : frameGeneration(bytes);
      if (generation === undefined || keyring.dataKey(key, generation) !== undefined) continue;
      values.set(nameOf(key, generation) + sealed.header.stream, "");
    }
  }

  return {
    name: "closed sections",
    apply(appended) {
      for (const row of appended) if (row.foreign) note(row);
    },
    take(key, generation) {
      const name = nameOf(key, generation);
      return values.list(name).map((value) => {
        values.remove(value.name);
        return value.name.slice(name.length);
      });
    },
    has: (key, generation, stream) => values.get(nameOf(key, generation) + stream) !== undefined,
    openable() {
      const noted = new Set(
        values.list(prefix).map(({ name }) => name.slice(prefix.length, name.lastIndexOf("/"))),
      );
      return [...noted]
        .map((text) => {
          const at = text.lastIndexOf("/");
          return { key: text.slice(0, at), generation: Number(text.slice(at + 1)) };
        })
        .filter(({ key, generation }) => keyring.dataKey(key, generation) !== undefined);
    },
    any: () => some.get(prefix, `${prefix}\uFFFF`) !== undefined,
  };
}
