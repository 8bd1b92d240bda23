/** Who may see what: a device reads every scope, or the scopes of the subjects that it was invited to. */
import { type RecordedEvent, tenantScope } from "@holdfast/core";
import type { OpenDevice } from "./device.ts";
import type { Inhabitant } from "./inhabitants.ts";

/** A reader, by what it was granted. */
export type Reader = Pick<Inhabitant, "subjects" | "device">;

/** As much of an event as says who may see it. */
export interface Seen {
  readonly scope: string;
  readonly type: string;
  /** Device id of its author. */
  readonly author: string;
}

/** Openings of logs hold public keys and no content: they come with any event of their log. */
export const openingType = "IncarnationOpened";

/** Scope ids that a device was granted; `undefined`: all. */
export function grantedScopes(
  { subjects }: Pick<Reader, "subjects">,
  { store, keyring }: OpenDevice,
): ReadonlySet<string> | undefined {
  if (subjects === undefined) return undefined;
  return new Set([tenantScope({ keyring }), ...subjects.map((words) => store.scopeId(words))]);
}

/** Says whether the reader is to have an event: its own, and those of granted scopes. */
export function visibleTo(reader: Reader): (seen: Seen) => boolean {
  const { open } = reader.device;
  const granted = open === undefined ? undefined : grantedScopes(reader, open);
  if (open === undefined || granted === undefined) return () => true;
  const own = open.store.status().device;
  return ({ scope, author, type }) =>
    author === own || (granted.has(scope) && type !== openingType);
}

/** Says which events of the reader itself are to be compared: not openings, which come with others. */
export function comparedAt(reader: Reader): (seen: Seen) => boolean {
  const { open } = reader.device;
  if (open === undefined || reader.subjects === undefined) return () => true;
  const own = open.store.status().device;
  return ({ author, type }) => author === own || type !== openingType;
}

/** As much of a recorded event as says who may see it. */
export function seenOf({ scope, type, header }: RecordedEvent): Seen {
  return { scope, type, author: header.dev };
}
