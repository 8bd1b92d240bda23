/** Every read of a server's store as one of its own, for tests that look at what was committed. */
import type { ServerReads, ServerStore } from "@holdfast/server/engine";

/** The reads of the port, each in a transaction of its own. */
export type CommittedReads = {
  readonly [Name in keyof ServerReads]: (
    ...args: Parameters<ServerReads[Name]>
  ) => Promise<Awaited<ReturnType<ServerReads[Name]>>>;
};

/** Reads of one tenant; `undefined`: of what is not of one yet. */
export function committedReads(
  store: Pick<ServerStore, "read">,
  tenant: string | undefined,
): CommittedReads {
  const read =
    (name: keyof ServerReads) =>
    (...args: readonly unknown[]): Promise<unknown> =>
      store.read(tenant, (reads) =>
        (reads[name] as (...args: readonly unknown[]) => unknown)(...args),
      );
  return new Proxy({} as CommittedReads, {
    get: (_target, name) => read(name as keyof ServerReads),
  });
}
