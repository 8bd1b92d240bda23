/**
 * `POST /v1/token` (form): client credentials with `private_key_jwt` (RFC 6749 §4.4, RFC 7523 §2.2). The
 * assertion is signed by an incarnation's own key: `iss` = `sub` = origin of the device log, `aud` = the server's
 * host, `jti` random, `iat` and `exp` by the server's clock as `hello` told it.
 */
export interface TokenRequest {
  readonly assertion: string;
}

/** An access token and how long it is good for, milliseconds. */
export interface TokenAnswer {
  readonly accessToken: string;
  readonly expiresInMs: number;
}
