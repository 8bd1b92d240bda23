/**
 * The node's own device in each tenant that it serves. The founding node is enrolled with the tenant; any other one
 * enrols itself, in a write of its own, before it states its first receipt there: whoever reads the server log knows
 * a node before it speaks.
 */
import { HoldfastError, type MaybePromise } from "@holdfast/core";
import type { EngineDeps } from "../engine-deps.ts";
import type { WriteLoop } from "../write-loop.ts";
import { addEnrolled, readNodeWords } from "./first-words.ts";

/** Who states what this process writes. */
export interface OwnNode {
  /** The node's device id in a tenant that is there; it is enrolled by then. Throws `caller_unknown`. */
  in(tenant: string): MaybePromise<string>;
  /** Told when the node was enrolled with the tenant itself. */
  founded(tenant: string, device: string): void;
}

/** Tenants whose node is remembered; an older one costs a look into the database again. */
const rememberedMax = 100_000;

export function createOwnNode(deps: EngineDeps, loop: WriteLoop): OwnNode {
  const known = new Map<string, MaybePromise<string>>();
  const remember = (tenant: string, device: MaybePromise<string>): void => {
    if (known.size >= rememberedMax) known.delete(known.keys().next().value ?? "");
    known.set(tenant, device);
  };
  return {
    in(tenant) {
      const found = known.get(tenant);
      if (found !== undefined) return found;
      const made = enrolledNode(deps, loop, tenant);
      remember(tenant, made);
      made.then(
        (device) => known.set(tenant, device),
        () => known.delete(tenant),
      );
      return made;
    },
    founded: remember,
  };
}

async function enrolledNode(deps: EngineDeps, loop: WriteLoop, tenant: string): Promise<string> {
  const node = await deps.nodeFor(tenant);
  const { device } = node;
  if (await deps.store.read(tenant, (reads) => reads.device(tenant, device))) return device;
  const words = readNodeWords(deps, tenant, node);
  await loop.submit<void>({
    tenant,
    bytes: node.opening.length,
    async judge(reads) {
      // The same node may have been started twice: the first of them enrolled it.
      const enrolled = await reads.device(tenant, device);
      if ((await reads.tenant(tenant)) === undefined) throw new HoldfastError("caller_unknown");
      return async (tx) => {
        if (enrolled === undefined) await addEnrolled(deps, tx, words, device);
        return () => undefined;
      };
    },
  });
  return device;
}
