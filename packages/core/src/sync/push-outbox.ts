/** What pushing needs of the outbox; every call in the caller's transaction. */
export interface PushOutbox {
  lease(wish: {
    readonly worker: string;
    readonly entries: number;
  }):
    | { readonly token: number; readonly entries: readonly { readonly position: number }[] }
    | undefined;
  /** Throws `outbox_lease_lost`. */
  assertLease(token: number): void;
  begin(token: number, endpoint: string): number;
  delivered(positions: readonly number[]): void;
  failed(
    token: number,
    attempt: number,
    failure: { readonly code: string; readonly status?: number; readonly nextAt: number },
  ): void;
  reject(
    position: number,
    refusal: {
      readonly code: string;
      readonly message: string;
      readonly severity: "low" | "medium" | "high" | "critical";
    },
  ): void;
  finish(
    attempt: number,
    result: "delivered" | "partly" | "failed" | "cancelled" | "lost",
    code?: string,
  ): void;
  release(token: number): void;
  /** When the next entry is due, UTC ms. */
  nextDueAt(): number | undefined;
}
