/**
 * `POST /v1/grants` and `GET /v1/grants?after=`: wrapped keys on their way to one installation. The server
 * stores and forwards; it cannot open what is not addressed to it.
 */
export interface GrantsRequest {
  /** JCS texts of grants (`keys/grant.ts`). */
  readonly grants: readonly string[];
}

/** Grants for the asking installation, by number; at most `grantsMax`, `more` when there are others. */
export interface GrantsAnswer {
  readonly grants: readonly { readonly number: number; readonly grant: string }[];
  readonly more: boolean;
}
