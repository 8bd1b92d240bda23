/** `GET /v1`: who the server is, what it speaks, and its bounds. Needs no token. */
export interface Hello {
  readonly protocol: { readonly oldest: 1; readonly newest: 1 };
  /** Digest of the message schemas, hex: pinned beside the version by a test. */
  readonly schema: string;
  /** DER SubjectPublicKeyInfo of the checkpoint key, base64. Its SHA-256 is the fingerprint in codes. */
  readonly key: string;
  /** Audience of assertions; also the host part of log origins. */
  readonly host: string;
  readonly reads: "granted" | "none";
  readonly encodings: readonly ("zstd" | "gzip")[];
  readonly limits: {
    readonly pushBytes: number;
    readonly pushBodies: number;
    readonly pushLeaves: number;
    readonly pullEvents: number;
    readonly pullBytes: number;
    readonly eventBytes: number;
  };
  /** The server's wall clock, UTC milliseconds: what assertions are dated with. */
  readonly time: number;
}
