/**
 * Becoming the writer: which incarnation goes on, and when a new one is opened first.
 *
 * Each key provider has a line of incarnations of its own. The chosen provider's newest one goes on; while the
 * preferred provider works, the others' lines are opened beside it, signed for by its key, so that a fallback
 * signs only as an incarnation that the preferred key has vouched for.
 */
import { originKey } from "../event/event.ts";
import { deviceLogOrigin } from "../proof/checkpoint.ts";
import { preAuthenticationEncoding } from "../proof/dsse.ts";
import { createNoteVerifier, openNote } from "../proof/note.ts";
import { verifySignature } from "../proof/signature.ts";
import { emptyRange, rootOf } from "../proof/tree.ts";
import { noPrevious } from "../event/event.ts";
import { incarnationOpenedType } from "../event/system.ts";
import { isProviderFailure } from "../keys/guard.ts";
import type { SigningKeyRecord } from "../keys/signing.ts";
import type { KeyProvider } from "../keys/provider.ts";
import type { ChosenProvider } from "../keys/providers.ts";
import {
  deviceId,
  type IncarnationPub,
  type OpeningReason,
  successionPayloadType,
  successionStatement,
} from "../seal/incarnation.ts";
import { type Origin, sealGroup } from "../seal/seal.ts";
import { base64, base64url, hex } from "../std/bytes.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import type { Clock, Random, SignatureAlgorithm } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import { type Mark, readMark, writeMark } from "./mark.ts";
import { pulledHash } from "./pulled.ts";
import { forgetRestored, wasRestored } from "./restored.ts";
import { type OwnLog, readOwnLog, type SessionDeps } from "./session.ts";
import { inTransaction } from "./sqlite-event-log.ts";
import { createCommitSigner, type StoreSession, type WriterIdentity } from "./tenancy.ts";

export interface TenureDeps extends SessionDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly observer: Observer;
  readonly newId: () => string;
  readonly app: string;
  /** Go on from an older copy of the store, on a new incarnation. */
  readonly acceptRollback: boolean;
}

/** Decides, with the lease held. Throws `store_rolled_back`, `store_rewritten`. */
export async function becomeWriter(
  deps: TenureDeps,
  session: StoreSession,
  token: number,
): Promise<WriterIdentity> {
  deps.keyring.refresh();
  const chosen = deps.keyring.providers.choose();
  const own = readOwnLog(deps, session, chosen.id);
  const identity = await identityFor(deps, session, token, own, chosen);
  if (chosen.insteadOf === undefined) await openFallbacks(deps, session, token, identity);
  return identity;
}

async function identityFor(
  deps: TenureDeps,
  session: StoreSession,
  token: number,
  own: OwnLog | undefined,
  chosen: ChosenProvider,
): Promise<WriterIdentity> {
  const restored = own !== undefined && wasRestored(deps, session.driver);
  if (restored && own.size > 0) checkLastNote(deps, session, own, keyOf(deps, own.incarnation));
  const reason = restored ? "restored" : openingReason(deps, own);
  if (reason !== undefined) {
    return openIncarnation(deps, session, token, own && attestedLog(own), reason, chosen);
  }
  invariant(own !== undefined, "a store without an incarnation opens its first");
  const key = keyOf(deps, own.incarnation);
  if (key.provider !== chosen.id) {
    // A fallback that nobody vouched for beforehand is no fallback.
    if (chosen.insteadOf !== undefined) {
      throw new HoldfastError("key_provider_unavailable", { reason: "not enrolled" });
    }
    return openIncarnation(deps, session, token, own, "re-key", chosen);
  }
  checkLastNote(deps, session, own, key);
  const origin = originOf(deps, own.device, own.incarnation, key.provider);
  return { origin, key, generation: deps.keyring.providers.generation() };
}

/** A log that salvage found nothing of is named as its mark attests it. */
function attestedLog(own: OwnLog): OwnLog {
  const { mark } = own.reading;
  return own.size > 0 || mark === undefined ? own : { ...own, size: mark.size, root: mark.root };
}

/** Opens the first incarnation of each provider that may be fallen back to, if it has none yet. */
async function openFallbacks(
  deps: TenureDeps,
  session: StoreSession,
  token: number,
  { key }: WriterIdentity,
): Promise<void> {
  const { keyring } = deps;
  const held = new Set(keyring.signingKeys().map(({ provider }) => provider));
  for (const { id } of keyring.providers.fallbacks()) {
    const provider = keyring.providers.get(id);
    if (held.has(id) || provider === undefined) continue;
    const before = readOwnLog(deps, session, key.provider);
    const next = { id, provider, insteadOf: undefined };
    try {
      await openIncarnation(deps, session, token, before, "fallback", next);
    } catch (error) {
      // The next writer tries again; meanwhile this provider cannot be fallen back to.
      if (!isProviderFailure(error)) throw error;
    }
  }
}

/**
 * Opens an incarnation over the own log that goes on, whatever the mark says: its branch was forked, or the server
 * holds more of it than this store. The lease is held; whoever writes must become the writer anew.
 */
export async function openNextIncarnation(
  deps: TenureDeps,
  session: StoreSession,
  token: number,
  reason: "fork" | "restored" | "re-key",
): Promise<void> {
  const chosen = deps.keyring.providers.choose();
  const own = readOwnLog(deps, session, chosen.id);
  await openIncarnation(deps, session, token, own, reason, chosen);
}

function openingReason(deps: TenureDeps, own: OwnLog | undefined): OpeningReason | undefined {
  if (own === undefined) return "first";
  switch (own.judgement.verdict) {
    case "same":
      return undefined;
    case "moved":
      return "moved";
    case "rolled-back":
      if (deps.acceptRollback) return "rollback-accepted";
      throw new HoldfastError("store_rolled_back", {
        held: own.size,
        attested: own.reading.mark?.size ?? 0,
      });
    case "rewritten":
      throw new HoldfastError("store_rewritten", { held: own.size });
    default:
      return own.judgement.verdict satisfies never;
  }
}

function originOf(deps: TenureDeps, device: string, incarnation: string, provider: string): Origin {
  const tier = deps.keyring.providers.assuranceOf(provider);
  invariant(tier !== undefined, "a key that signs lies in a provider of the keyring");
  return { tenant: deps.keyring.tenant, device, incarnation, tier, app: deps.app };
}

function keyOf(deps: TenureDeps, incarnation: string): SigningKeyRecord {
  const key = deps.keyring.signingKeys().find((record) => record.incarnation === incarnation);
  if (key === undefined) throw new HoldfastError("keyring_record_missing", { record: "signing" });
  return key;
}

/** Nothing is signed on top of a head that our own key did not sign. */
function checkLastNote(
  deps: TenureDeps,
  session: StoreSession,
  own: OwnLog,
  key: SigningKeyRecord,
): void {
  const { device, incarnation, size } = own;
  const note = session.log.noteCovering(device, incarnation, size);
  const name = deviceLogOrigin({ tenant: deps.keyring.tenant, device, incarnation });
  const verifier = createNoteVerifier(deps.crypto, {
    name,
    algorithm: key.algorithm,
    spki: key.spki,
  });
  const opened = openNote(note?.text ?? "", [verifier], (...signed) =>
    verifySignature(deps.crypto, ...signed),
  );
  if (opened.status !== "verified") throw new HoldfastError("store_rewritten", { held: size });
}

async function openIncarnation(
  deps: TenureDeps,
  session: StoreSession,
  token: number,
  before: OwnLog | undefined,
  reason: OpeningReason,
  { id, provider }: ChosenProvider,
): Promise<WriterIdentity> {
  const incarnation = hex(deps.random.bytes(8));
  const algorithm = noteAlgorithm(provider);
  const { ref, spki } = await provider.generateSigningKey(algorithm);
  const device = before?.device ?? deviceId(deps.crypto, spki);
  const key: SigningKeyRecord = { device, incarnation, algorithm, spki, provider: id };
  deps.keyring.addSigningKey({ ...key, ref });
  const origin = originOf(deps, device, incarnation, id);
  const generation = deps.keyring.providers.generation();
  const identity: WriterIdentity = { origin, key, generation };
  const pub: IncarnationPub = {
    alg: key.algorithm,
    spki: base64(spki),
    hpke: base64(deps.keyring.hpke().publicKey),
    reason,
    ...(before !== undefined && (await succession(deps, identity, before))),
  };
  const sealed = sealGroup(
    { crypto: deps.crypto, random: deps.random, keyFor: () => invariantNoSections() },
    origin,
    { leaf: noPrevious, range: emptyRange },
    [openingDraft(deps, session, origin, pub)],
  );
  const sign = await createCommitSigner(deps, identity);
  const note = await sign(sealed);
  // A mark of an empty log first: it lags, and a crash before the next one does not look like a move.
  const pulled = pulledHash(session.driver);
  writeMarkFor(deps, origin, { size: 0, root: base64(deps.crypto.sha256()), pulled }, 0);
  // Put back on purpose: a crash before COMMIT leaves the row that says so.
  const accepts = before !== undefined && wasRestored(deps, session.driver);
  if (accepts) acceptMarks(deps, session, incarnation);
  const outcome = inTransaction(session.driver, () => {
    session.lease.assertHeld(token);
    forgetRestored(session.driver);
    return session.log.appendWithin({ events: sealed.events, note }, session.participants);
  });
  invariant(outcome.status === "appended", "a new device log is empty");
  markCommit(deps, identity, { ...note, pulled });
  if (reason === "rollback-accepted") acceptMarks(deps, session, incarnation);
  deps.observer.log("info", "incarnation_opened", { reason });
  return identity;
}

/** Ed25519 where the provider has it, else P-256: what a commit note may be signed with. */
function noteAlgorithm({ name, capabilities }: KeyProvider): SignatureAlgorithm {
  if (capabilities.sign.includes("ed25519")) return "ed25519";
  if (capabilities.sign.includes("ecdsa-p256")) return "ecdsa-p256";
  throw new HoldfastError("key_provider_unavailable", { provider: name, reason: "signs nothing" });
}

/** What was lost is accepted: the marks of earlier incarnations come down to what the store holds. */
function acceptMarks(deps: TenureDeps, session: StoreSession, opened: string): void {
  for (const key of deps.keyring.signingKeys()) {
    const { device, incarnation } = key;
    if (incarnation === opened) continue;
    const { mark } = readMark(deps.keyring.markMac(), deps.medium.markFile(incarnation));
    if (mark?.folder !== deps.medium.place.folder) continue;
    const size = session.log.deviceLogSize(device, incarnation);
    if (mark.size <= size) continue;
    const range = session.log.deviceLog(device, incarnation)?.head.range ?? emptyRange;
    writeMarkFor(
      deps,
      { device, incarnation },
      { size, root: base64(rootOf(deps.crypto, range)), pulled: pulledHash(session.driver) },
      mark.count + 1,
    );
  }
}

function invariantNoSections(): never {
  throw new HoldfastError("draft_invalid", { path: "/sections", reason: "openings have none" });
}

/** The hand-over, signed by the key of the incarnation before. */
async function succession(
  deps: TenureDeps,
  identity: WriterIdentity,
  before: OwnLog,
): Promise<Pick<IncarnationPub, "predecessor" | "size" | "root" | "sig">> {
  const { origin, key } = identity;
  const statement = successionStatement({
    tenant: origin.tenant,
    device: origin.device,
    incarnation: origin.incarnation,
    spki: key.spki,
    predecessor: before.incarnation,
    size: before.size,
    root: before.root,
  });
  const sign = await deps.keyring.signer(before.incarnation);
  const sig = await sign(preAuthenticationEncoding(successionPayloadType, statement));
  return {
    predecessor: before.incarnation,
    size: before.size,
    root: before.root,
    sig: base64(sig),
  };
}

function openingDraft(
  deps: TenureDeps,
  session: StoreSession,
  origin: Origin,
  pub: IncarnationPub,
) {
  const { stream, scope, actor } = deviceNames(deps, session, origin.device);
  const head = session.log.streams.get(stream);
  const own = originKey(origin.device, origin.incarnation);
  return {
    id: deps.newId(),
    type: incarnationOpenedType,
    typeVersion: 1,
    scope: head?.scope ?? scope,
    stream,
    streamSequence: (head?.vector[own] ?? 0) + 1,
    vector: head?.frontier ?? {},
    op: "create" as const,
    ref: undefined,
    at: deps.clock.now(),
    actor,
    role: undefined,
    session: undefined,
    why: undefined,
    sections: [],
    pub,
  };
}

type DeviceNames = Readonly<Record<"stream" | "scope" | "actor", string>>;

/**
 * Stream, scope and actor of a device's own events. A store that joins a tenant opens its log before the
 * pseudonym key arrives, under random names: a device keeps the names that it began with.
 */
function deviceNames(
  { keyring, random }: Pick<TenureDeps, "keyring" | "random">,
  session: StoreSession,
  device: string,
): DeviceNames {
  const opening = session.driver
    .prepare(
      `SELECT stream, actor, header ->> '$.scope' AS scope
       FROM events JOIN incarnations ON incarnations.number = events.incarnation
       WHERE own = 1 AND device = ? AND sequence = 1 AND type = ? ORDER BY position LIMIT 1`,
    )
    .get<DeviceNames>(device, incarnationOpenedType);
  if (opening !== undefined) return opening;
  if (!keyring.hasPseudonymKey) {
    const name = (): string => base64url(random.bytes(16));
    return { stream: name(), scope: name(), actor: name() };
  }
  const name = `device/${device}`;
  return {
    stream: keyring.streamOf(name),
    scope: keyring.scopeOf(name, ""),
    actor: keyring.actorOf(name),
  };
}

/** After COMMIT, before the answer: the mark follows the note. */
function markCommit(deps: TenureDeps, identity: WriterIdentity, at: Marked): void {
  const file = deps.medium.markFile(identity.origin.incarnation);
  const count = readMark(deps.keyring.markMac(), file).mark?.count ?? 0;
  writeMarkFor(deps, identity.origin, at, count + 1);
}

/** What a mark says of the store. */
interface Marked {
  readonly size: number;
  readonly root: string;
  /** Running hash of what was pulled. */
  readonly pulled: string;
}

/** Writes marks; forgets what it knows of the file when another incarnation begins. */
export interface Marker {
  forget(): void;
  write(identity: WriterIdentity, at: Marked): void;
}

/** Writes marks without reading the file each time; for one tenure of the lease. */
export function createMarker(deps: TenureDeps): Marker {
  let incarnation: string | undefined;
  let count = 0;
  return {
    forget(): void {
      incarnation = undefined;
    },
    write(identity: WriterIdentity, at: Marked): void {
      if (incarnation !== identity.origin.incarnation) {
        incarnation = identity.origin.incarnation;
        const file = deps.medium.markFile(incarnation);
        count = readMark(deps.keyring.markMac(), file).mark?.count ?? 0;
      }
      count += 1;
      writeMarkFor(deps, identity.origin, at, count);
    },
  };
}

function writeMarkFor(
  deps: TenureDeps,
  { device, incarnation }: Pick<Origin, "device" | "incarnation">,
  at: Marked,
  count: number,
): void {
  const mark: Mark = {
    v: 1,
    store: deps.keyring.storeId,
    folder: deps.medium.place.folder,
    identity: deps.medium.place.identity,
    device,
    incarnation,
    size: at.size,
    root: at.root,
    pulled: at.pulled,
    count,
  };
  writeMark(deps.keyring.markMac(), deps.medium.markFile(incarnation), mark);
}
