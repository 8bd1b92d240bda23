/**
 * Holds and shreds of an open store: who asks, who approves, how far it has come here and on other devices, and the
 * certificate. For the command line, a console, a scheduler. Everything here is an event of the access stream, which
 * two different actors on admin devices put in force; the effect follows by itself (`lifecycle/shred.ts`).
 */
import {
  type Concerned,
  erasureCertifiedType,
  everyScope,
  incarnationOpenedType,
  shredAcknowledgedType,
} from "../event/system.ts";
import { base64url } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { ownNames } from "../store/own-names.ts";
import { presentScope, type ShredState } from "../store/shreds.ts";
import { type AccessState, concernsSame, type Shred } from "../sync/access-fold.ts";
import { assertAdmin, tenantScope } from "../sync/invitations.ts";
import { grantStoreOf, lifeOf } from "./grant-store.ts";
import type { Holdfast } from "./holdfast.ts";
import type { ShredDraft } from "./shred-draft.ts";
import { systemDraft } from "./system-draft.ts";

/** Who acts, and why. */
export interface ShredActor {
  /** In words. */
  readonly actor: string;
  /** Reason code. */
  readonly why: string;
}

/** What is to be shredded or held: scope ids, and a section class or all. */
export type ShredWish = Concerned & ShredActor;

/** A hold that stands. */
export interface HoldStanding extends Concerned {
  readonly hold: string;
  /** UTC milliseconds. */
  readonly at: number;
  readonly why: string | undefined;
}

/** Where a shred stands, here and as far as other devices have said. */
export interface ShredStanding extends Concerned {
  readonly shred: string;
  /** When it was asked for, UTC milliseconds. */
  readonly at: number;
  readonly why: string | undefined;
  /** Pseudonyms of the actors who approved it. */
  readonly approvals: readonly string[];
  readonly inForce: boolean;
  /** Holds that stand against it. */
  readonly holds: readonly string[];
  /** How far this device is, by scope; empty before it is in force. */
  readonly here: Readonly<Record<string, ShredState>>;
  /** Devices that have acknowledged it. */
  readonly confirmed: readonly string[];
  /** Devices that may read the scopes, or once might, and have not. */
  readonly unconfirmed: readonly string[];
}

/** What an erasure is certified by. */
export interface ErasureCertificate extends ShredStanding {
  readonly tenant: string;
  /** Device and time of the certificate. */
  readonly device: string;
  readonly certifiedAt: number;
  /** Leaf of the event that put it in force, and of the one that certifies it. */
  readonly inForceBy: string;
  readonly event: string;
}

/** A scope whose newest event is older than its retention asks for. */
export interface DueScope {
  readonly scope: string;
  /** recordedAt of its newest event, UTC milliseconds. */
  readonly newest: number;
}

/** Holds and shreds of an open store. */
export interface ShredDesk {
  /** The scopes of a subject that are not shredded, at those sites; default: without a site. */
  scopesOf(subject: string, sites?: readonly string[]): readonly string[];
  holds(): readonly HoldStanding[];
  /** Throws `access_denied`, `draft_invalid`. */
  placeHold(wish: ShredWish): Promise<string>;
  /** Throws `access_denied`, `shred_unknown`. */
  liftHold(hold: string, by: ShredActor): Promise<void>;
  /**
   * Asks for a shred; its id. `minimumAgeMs`: how old the newest event has to be. Throws `access_denied`, `shred_held`,
   * `shred_retained`, and `draft_invalid` for scopes of the tenant and of devices, which stand for themselves.
   */
  request(wish: ShredWish, minimumAgeMs?: number): Promise<string>;
  /**
   * Approves a shred; where that puts it in force, it is seen through here as far as it can be when this resolves.
   * Throws `access_denied`, `shred_unknown`, `shred_repeated`, `shred_held`.
   */
  approve(shred: string, by: ShredActor): Promise<ShredStanding>;
  /** Goes on with what is open here. */
  goOn(): Promise<void>;
  list(): readonly ShredStanding[];
  /** Scopes whose newest event is older than that. */
  due(maximumAgeMs: number): readonly DueScope[];
  /** Records who confirmed and who did not. Throws `access_denied`, `shred_unknown`, `shred_open`. */
  certify(shred: string, by: ShredActor): Promise<ErasureCertificate>;
}

/** The desk of an open store. What writes throws `store_read_only` where it is open for reading. */
export function createShredDesk(store: Holdfast): ShredDesk {
  const life = lifeOf(store);
  const grants = grantStoreOf(store);
  const { keyring, clock, random } = life.deps;
  const driver = () => life.current().driver;
  const id = (): string => base64url(random.bytes(16));

  async function append(draft: ShredDraft, actor: string): Promise<string> {
    if (life.writer === undefined) throw new HoldfastError("store_read_only");
    const by = { ...ownNames(driver()), actor: keyring.actorOf(actor) };
    const drafts = [systemDraft(draft, by, clock.now())];
    const answer = await life.writer.append({ drafts, expect: undefined });
    return answer.status === "appended" ? (answer.events[0]?.leaf ?? "") : "";
  }

  /** Scopes without which a tenant or a device could not say what it does. */
  function isOwn(scope: string): boolean {
    const opened = driver().prepare(
      "SELECT 1 FROM events WHERE type = ? AND header ->> '$.scope' = ? LIMIT 1",
    );
    return scope === tenantScope(grants) || opened.get(incarnationOpenedType, scope) !== undefined;
  }

  function refuseOwn(scopes: readonly string[]): void {
    const own = scopes.find(isOwn);
    if (own === undefined) return;
    throw new HoldfastError("draft_invalid", {
      path: "/scopes",
      reason: "of the tenant or a device",
      scope: own,
    });
  }

  function refuseHeld(wish: Concerned): void {
    const [held] = holdsAgainst(grants.access(), wish);
    if (held !== undefined) throw new HoldfastError("shred_held", { hold: held });
  }

  function newestOf(scope: string): number {
    const row = driver()
      .prepare("SELECT max(recorded) AS newest FROM streams WHERE scope = ?")
      .get<{ newest: number | null }>(scope);
    return row?.newest ?? 0;
  }

  function shredOf(access: AccessState, shred: string): Shred {
    const found = access.shreds.get(shred);
    if (found === undefined) throw new HoldfastError("shred_unknown", { shred });
    return found;
  }

  /** Time and reason of an event by its leaf. */
  function saidBy(leaf: string): { readonly at: number; readonly why: string | undefined } {
    const row = driver()
      .prepare("SELECT recorded_at AS at, header ->> '$.why' AS why FROM events WHERE leaf = ?")
      .get<{ at: number; why: string | null }>(leaf);
    return { at: row?.at ?? 0, why: row?.why ?? undefined };
  }

  function standingOf(access: AccessState, shred: string): ShredStanding {
    const { leaf, approvals, inForce, scopes, section } = shredOf(access, shred);
    const rows = life.current().log.shreds.rows();
    const here = rows.filter((row) => row.shred === shred);
    const said = driver()
      .prepare(
        `SELECT DISTINCT device FROM events
         JOIN incarnations ON incarnations.number = events.incarnation
         WHERE type = ? AND header ->> '$.pub.shred' = ? ORDER BY device`,
      )
      .all<{ device: string }>(shredAcknowledgedType, shred);
    const confirmed = said.map(({ device }) => device);
    const concerned = new Set([grants.device()]);
    for (const [device, ever] of access.ever) {
      if (ever.has(everyScope) || scopes.some((scope) => ever.has(scope))) concerned.add(device);
    }
    return {
      shred,
      scopes,
      ...(section !== undefined && { section }),
      ...saidBy(leaf),
      approvals: [...approvals],
      inForce: inForce !== undefined,
      holds: inForce === undefined ? holdsAgainst(access, { scopes, ...ofSection(section) }) : [],
      here: Object.fromEntries(here.map(({ scope, state }) => [scope, state])),
      confirmed,
      unconfirmed: [...concerned].filter((device) => !confirmed.includes(device)).toSorted(),
    };
  }

  return {
    scopesOf: (subject, sites = [""]) =>
      sites.map((site) => presentScope(keyring, life.current().log.shreds, subject, site)),
    holds: () =>
      [...grants.access().holds].map(([hold, { leaf, scopes, section }]) => {
        return { hold, scopes, ...ofSection(section), ...saidBy(leaf) };
      }),
    async placeHold({ actor, why, scopes, section }) {
      assertAdmin(grants);
      const hold = id();
      const pub = { hold, scopes, ...ofSection(section) };
      await append({ type: "HoldPlaced", pub, why }, actor);
      return hold;
    },
    async liftHold(hold, { actor, why }) {
      assertAdmin(grants);
      if (!grants.access().holds.has(hold)) throw new HoldfastError("shred_unknown", { hold });
      await append({ type: "HoldLifted", pub: { hold }, why }, actor);
      await life.shredding.goOn();
    },
    async request({ actor, why, scopes, section }, minimumAgeMs = 0) {
      assertAdmin(grants);
      refuseOwn(scopes);
      const wish = { scopes, ...ofSection(section) };
      refuseHeld(wish);
      const until = Math.max(...scopes.map(newestOf)) + minimumAgeMs;
      if (minimumAgeMs > 0 && until > clock.now()) {
        throw new HoldfastError("shred_retained", { until });
      }
      const shred = id();
      await append({ type: "ShredRequested", pub: { shred, ...wish }, why }, actor);
      return shred;
    },
    async approve(shred, { actor, why }) {
      assertAdmin(grants);
      const asked = shredOf(grants.access(), shred);
      if (asked.approvals.has(keyring.actorOf(actor))) {
        throw new HoldfastError("shred_repeated", { shred });
      }
      refuseHeld(asked);
      await append({ type: "ShredApproved", pub: { shred }, why }, actor);
      await life.shredding.goOn();
      return standingOf(grants.access(), shred);
    },
    goOn: () => life.shredding.goOn(),
    list() {
      const access = grants.access();
      return [...access.shreds.keys()].map((shred) => standingOf(access, shred));
    },
    due(maximumAgeMs) {
      const { shreds } = life.current().log;
      return driver()
        .prepare(
          `SELECT scope, max(recorded) AS newest FROM streams GROUP BY scope
           HAVING newest <= ? ORDER BY newest, scope`,
        )
        .all<DueScope>(clock.now() - maximumAgeMs)
        .filter(({ scope }) => !shreds.isWhollyShredded(scope) && !isOwn(scope));
    },
    async certify(shred, { actor, why }) {
      assertAdmin(grants);
      const access = grants.access();
      const { inForce } = shredOf(access, shred);
      if (inForce === undefined) throw new HoldfastError("shred_open", { shred });
      const standing = standingOf(access, shred);
      const unconfirmed = standing.unconfirmed.slice(0, limits.devicesPerCertificateMax);
      const pub = { shred, confirmed: standing.confirmed.length, unconfirmed };
      const event = await append({ type: erasureCertifiedType, pub, why }, actor);
      return {
        ...standing,
        tenant: keyring.tenant,
        device: grants.device(),
        certifiedAt: saidBy(event).at,
        inForceBy: inForce,
        event,
      };
    },
  };
}

function ofSection(section: string | undefined): { readonly section?: string } {
  return section === undefined ? {} : { section };
}

function holdsAgainst({ holds }: AccessState, wish: Concerned): readonly string[] {
  return [...holds].flatMap(([hold, held]) => (concernsSame(held, wish) ? [hold] : []));
}
