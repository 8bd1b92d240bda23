/**
 * Enrolment: a device presents a code and the opening of its log. A code without a tenant founds one, with the
 * device as its founder; any other joins the device to the tenant of the code. Unknown, used and expired codes
 * are refused alike; whoever lost the answer presents the same again and gets it again.
 */
import {
  base64url,
  type EnrolAnswer,
  type EnrolRequest,
  everyScope,
  HoldfastError,
  isHoldfastError,
  proofDigest,
  type Role,
} from "@holdfast/core";
import type { EngineDeps } from "../engine-deps.ts";
import type { ShardProof } from "../log/checkpoints.ts";
import type { CodeRow, ServerReads, ServerWrites, TenantRow } from "../server-store.ts";
import type { WriteLoop } from "../write-loop.ts";
import { addEnrolled, type EnrolledWords, readFirstWords, readNodeWords } from "./first-words.ts";
import { type Opening, readOpening } from "./opening.ts";
import type { OwnNode } from "./own-node.ts";

/** Throws `enrol_code_refused`, `opening_wrong`. */
export async function enrol(
  deps: EngineDeps,
  loop: WriteLoop,
  own: OwnNode,
  request: EnrolRequest,
): Promise<EnrolAnswer> {
  const { crypto, store } = deps;
  const digest = proofDigest(crypto, request.proof);
  if (digest === undefined) throw refused();
  const code = await store.read(namedTenant(crypto, request), (reads) =>
    usableCode(deps, reads, digest, request),
  );
  const device = readFirstWords(deps, request);
  const tenant = device.opening.header.ten;
  if (code.tenant !== undefined && code.tenant !== tenant) throw refused();
  const founding =
    code.tenant === undefined &&
    (await store.read(tenant, (reads) => reads.tenant(tenant))) === undefined;
  const nodeWords = founding ? readNodeWords(deps, tenant, await deps.nodeFor(tenant)) : undefined;
  const node = nodeWords?.opening.header.dev ?? (await own.in(tenant));
  let founded = false;
  const answer = await loop.submit<EnrolAnswer>({
    tenant,
    bytes: request.opening.length,
    async judge(reads) {
      founded = false;
      const known = await sameEnrolment(reads, tenant, digest, device.opening);
      if (known !== undefined) return () => (proof) => enrolmentAnswer(reads, known, proof);
      const current = await usableCode(deps, reads, digest, request);
      await checkPlace(reads, current, tenant, device.opening);
      return async (tx) => {
        if (nodeWords !== undefined) {
          await foundTenant(deps, tx, device.opening, nodeWords);
          founded = true;
        }
        const role: Role = nodeWords === undefined ? current.role : "admin";
        const words = { ...device, role, code: digest, binding: request.binding };
        await addEnrolled(deps, tx, words, node);
        await tx.useCode(digest, deps.clock.now());
        deps.observer.count("server_enrolments", 1, { role });
        return (proof) => enrolmentAnswer(tx, device.opening, proof);
      };
    },
  });
  if (founded) own.founded(tenant, node);
  return answer;
}

function refused(): HoldfastError {
  return new HoldfastError("enrol_code_refused");
}

/** The code while it may be used, also once more by whom it was used for. */
async function usableCode(
  deps: EngineDeps,
  reads: ServerReads,
  digest: string,
  request: EnrolRequest,
): Promise<CodeRow> {
  const code = await reads.code(digest);
  if (code === undefined) throw refused();
  if (code.usedAt !== undefined) {
    if (await wasUsedFor(deps, reads, digest, request)) return code;
    throw refused();
  }
  if (deps.clock.now() >= code.expires) throw refused();
  return code;
}

async function wasUsedFor(
  { crypto }: EngineDeps,
  reads: ServerReads,
  digest: string,
  request: EnrolRequest,
): Promise<boolean> {
  const opening = openingOf(crypto, request);
  if (opening === undefined) return false;
  return (await sameEnrolment(reads, opening.header.ten, digest, opening)) !== undefined;
}

/** An opening that cannot be read is no reason to tell a used code from one that never was. */
function openingOf(crypto: EngineDeps["crypto"], request: EnrolRequest): Opening | undefined {
  try {
    return readOpening(crypto, request.opening);
  } catch (error) {
    if (isHoldfastError(error, "opening_wrong")) return undefined;
    throw error;
  }
}

/** The tenant that the opening names, before anything of it is believed. */
function namedTenant(crypto: EngineDeps["crypto"], request: EnrolRequest): string | undefined {
  return openingOf(crypto, request)?.header.ten;
}

/** The opening that this code was used for, when it is this one. */
async function sameEnrolment(
  reads: ServerReads,
  tenant: string,
  digest: string,
  opening: Opening,
): Promise<Opening | undefined> {
  const { dev, inc } = opening.header;
  const device = await reads.device(tenant, dev);
  if (device?.code !== digest || device.status !== "active") return undefined;
  const log = await reads.deviceLog(tenant, dev, inc);
  return log?.opening === opening.text ? opening : undefined;
}

/** A device enrols once; a tenant is founded once. Throws `enrol_code_refused`, `device_enrolled`. */
async function checkPlace(
  reads: ServerReads,
  code: CodeRow,
  tenant: string,
  opening: Opening,
): Promise<void> {
  const row = await reads.tenant(tenant);
  if ((row === undefined) !== (code.tenant === undefined)) throw refused();
  if ((await reads.device(tenant, opening.header.dev)) !== undefined) {
    throw new HoldfastError("device_enrolled");
  }
}

/** The tenant's row, its shard, the server's own device in it, and the founder's access to everything. */
async function foundTenant(
  deps: EngineDeps,
  tx: ServerWrites,
  founder: Opening,
  node: EnrolledWords,
): Promise<void> {
  const tenant = founder.header.ten;
  const row: TenantRow = {
    tenant,
    shard: base64url(deps.random.bytes(16)),
    founder: founder.header.dev,
    node: node.opening.header.dev,
  };
  await tx.addTenant(row);
  await addEnrolled(deps, tx, node, row.node);
  const device = founder.header.dev;
  const scopes = [everyScope];
  const given = { kind: "granted" as const, by: "", index: 0, position: 0 };
  await tx.addAccessChange(tenant, { ...given, device, scopes });
  await tx.setAccess(tenant, device, scopes);
}

async function enrolmentAnswer(
  reads: ServerReads,
  opening: Opening,
  proof: ShardProof | undefined,
): Promise<EnrolAnswer> {
  const { ten: tenant, dev: device, inc } = opening.header;
  const row = await reads.tenant(tenant);
  const enrolled = await reads.device(tenant, device);
  const log = await reads.deviceLog(tenant, device, inc);
  if (row === undefined || enrolled === undefined || log === undefined || proof === undefined) {
    throw new HoldfastError("caller_unknown");
  }
  return {
    tenant,
    device,
    role: enrolled.role,
    founder: row.founder,
    enrolment: await proof.prove(log.enrolment),
    checkpoint: proof.checkpoint.note,
    node: row.node,
  };
}
