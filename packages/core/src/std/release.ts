/** The release that this package is part of, and whether all parts of an installation are of one. */
import { HoldfastError } from "./errors.ts";

/** The release of this package, as in its package.json. */
export const coreRelease = "0.1.0";

/** Throws `release_mixed` unless all parts are of one release; the details name each. */
export function checkRelease(parts: Readonly<Record<string, string>>): void {
  if (new Set(Object.values(parts)).size > 1) throw new HoldfastError("release_mixed", parts);
}
