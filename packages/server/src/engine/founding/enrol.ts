/**
 * Enrolment: a device presents a code and the opening of its log. A code without a tenant founds one, with the
 * device as its founder; any other joins the device to the tenant of the code. Unknown, used and expired codes
 * are refused alike; whoever lost the answer presents the same again and gets it again.
 */
import {
  base64url,
  type Bytes,
  checkInclusion,
  type EnrolAnswer,
  type EnrolRequest,
  everyScope,
  HoldfastError,
  isHoldfastError,
  emptyRange,
  noPrevious,
  noteDigest,
  proofDigest,
  type Role,
} from "@holdfast/core";
import type { EngineDeps } from "../engine-deps.ts";
import { statementText } from "../log/statements.ts";
import type { ShardProof } from "../log/checkpoints.ts";
import type {
  CodeRow,
  DeviceLogRow,
  ServerReads,
  ServerWrites,
  TenantRow,
} from "../server-store.ts";
import type { WriteLoop } from "../write-loop.ts";
import { checkSelfAuthorised, openCommitNote, type Opening, readOpening } from "./opening.ts";

/** The first words of a device log, as enrolment takes them. */
export interface FirstWords {
  readonly opening: string;
  readonly note: string;
  /** Inclusion path of index 0 in the note's tree. */
  readonly path: readonly Bytes[];
}

interface Enrolling {
  readonly opening: Opening;
  readonly noteDigest: string;
}

/** Throws `enrol_code_refused`, `opening_wrong`. */
export async function enrol(
  deps: EngineDeps,
  loop: WriteLoop,
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
  const node = founding ? await deps.nodeFor(tenant) : undefined;
  const nodeWords = node === undefined ? undefined : readFirstWords(deps, node);
  if (nodeWords !== undefined && nodeWords.opening.header.ten !== tenant) {
    throw new HoldfastError("opening_wrong", { part: "node" });
  }
  return loop.submit<EnrolAnswer>({
    tenant,
    bytes: request.opening.length,
    async judge(reads) {
      const known = await sameEnrolment(reads, tenant, digest, device.opening);
      if (known !== undefined) return () => (proof) => enrolmentAnswer(reads, known, proof);
      const current = await usableCode(deps, reads, digest, request);
      await checkPlace(reads, current, tenant, device.opening);
      return async (tx) => {
        const at = deps.clock.now();
        if (nodeWords !== undefined) {
          await foundTenant(deps, tx, device.opening, nodeWords);
        }
        const role: Role = nodeWords === undefined ? current.role : "admin";
        const words = { ...device, role, code: digest, binding: request.binding };
        await addEnrolled(deps, tx, tenant, words, at);
        await tx.useCode(digest, at);
        deps.observer.count("server_enrolments", 1, { role });
        return (proof) => enrolmentAnswer(tx, device.opening, proof);
      };
    },
  });

  function readFirstWords(of: EngineDeps, words: FirstWords): Enrolling {
    const opening = readOpening(crypto, words.opening);
    checkSelfAuthorised(crypto, opening);
    checkFirstNote(of, opening, words);
    return { opening, noteDigest: noteDigest(crypto, words.note) };
  }
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

/** Is the opening the first leaf of the log that the note states? Throws `opening_wrong`. */
function checkFirstNote({ crypto }: EngineDeps, opening: Opening, words: FirstWords): void {
  const { header, pub, spki, leafBytes } = opening;
  const log = { tenant: header.ten, device: header.dev, incarnation: header.inc };
  try {
    const { size, root } = openCommitNote(crypto, log, { algorithm: pub.alg, spki }, words.note);
    const claim = { leaf: leafBytes, index: 0, size, root, path: words.path };
    if (checkInclusion(crypto, claim)) return;
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    throw new HoldfastError("opening_wrong", { part: "note" }, { cause: error });
  }
  throw new HoldfastError("opening_wrong", { part: "path" });
}

/** The tenant's row, its shard, the server's own device in it, and the founder's access to everything. */
async function foundTenant(
  deps: EngineDeps,
  tx: ServerWrites,
  founder: Opening,
  node: Enrolling,
): Promise<void> {
  const tenant = founder.header.ten;
  const row: TenantRow = {
    tenant,
    shard: base64url(deps.random.bytes(16)),
    founder: founder.header.dev,
    node: node.opening.header.dev,
  };
  await tx.addTenant(row);
  const words = { ...node, role: "device" as const, code: undefined, binding: undefined };
  await addEnrolled(deps, tx, tenant, words, deps.clock.now());
  const device = founder.header.dev;
  const scopes = [everyScope];
  const given = { kind: "granted" as const, by: "", index: 0, position: 0 };
  await tx.addAccessChange(tenant, { ...given, device, scopes });
  await tx.setAccess(tenant, device, scopes);
}

interface EnrolledWords extends Enrolling {
  readonly role: Role;
  readonly code: string | undefined;
  readonly binding: string | undefined;
}

async function addEnrolled(
  deps: EngineDeps,
  tx: ServerWrites,
  tenant: string,
  words: EnrolledWords,
  at: number,
): Promise<void> {
  const { role, code, binding, opening } = words;
  const device = opening.header.dev;
  await tx.addDevice(tenant, { device, role, status: "active", enrolledAt: at, code, binding });
  await openDeviceLog(deps, tx, { opening, noteDigest: words.noteDigest, at, cutoff: undefined });
}

/** Begins to take a device log: its row, still empty, and the `enrol` leaf. */
export async function openDeviceLog(
  deps: EngineDeps,
  tx: ServerWrites,
  begun: {
    readonly opening: Opening;
    readonly noteDigest: string;
    readonly at: number;
    readonly cutoff: number | undefined;
  },
): Promise<DeviceLogRow> {
  const { opening, at, cutoff } = begun;
  const { ten: tenant, dev: device, inc: incarnation } = opening.header;
  const row = await tx.tenant(tenant);
  if (row === undefined) throw new HoldfastError("caller_unknown");
  const text = statementText(deps.crypto, {
    kind: "enrol",
    tenant,
    device,
    incarnation,
    size: 1,
    root: opening.leafBytes,
    note: begun.noteDigest,
    owed: [],
    received: at,
    node: row.node,
  });
  const log: DeviceLogRow = {
    device,
    incarnation,
    algorithm: opening.pub.alg,
    spki: opening.spki,
    hpke: opening.pub.hpke,
    opening: opening.text,
    size: 0,
    head: noPrevious,
    range: emptyRange,
    note: undefined,
    receipt: undefined,
    receivedAt: at,
    enrolment: await tx.addServerLeaves(row.shard, [text]),
    owed: [],
    cutoff,
  };
  await tx.addDeviceLog(tenant, log);
  return log;
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
