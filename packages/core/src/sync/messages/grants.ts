/**
 * `POST /v1/grants` and `GET /v1/grants?after=`: wrapped keys on their way to one installation. The server
 * stores and forwards; it cannot open what is not addressed to it.
 */
export interface GrantsRequest {
  /** JCS texts of grants (`keys/grant.ts`). */
  readonly grants: readonly string[];
}

export interface GrantsAnswer {
  readonly grants: readonly { readonly number: number; readonly grant: string }[];
  readonly more: boolean;
}
