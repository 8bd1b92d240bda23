/** `GET /v1/conflicts?stream=`: candidates from headers alone; readers decide. */
export interface ConflictCandidate {
  readonly stream: string;
  /** Two leaves neither of which is in the other's past. */
  readonly leaves: readonly [string, string];
}

export interface ConflictsAnswer {
  readonly candidates: readonly ConflictCandidate[];
}
