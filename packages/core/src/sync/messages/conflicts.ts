/** `GET /v1/conflicts?stream=`: candidates from headers alone; readers decide. */
export interface ConflictCandidate {
  readonly stream: string;
  /** Two leaves neither of which is in the other's past. */
  readonly leaves: readonly [string, string];
}

/** Answer to `GET /v1/conflicts`; at most `conflictsMax` candidates. */
export interface ConflictsAnswer {
  readonly candidates: readonly ConflictCandidate[];
}
