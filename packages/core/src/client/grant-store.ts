/** The port of grants over an open store: the writer loop, its session, its keyring. */
import { incarnationOpenedType } from "../event/system.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import { ownNames } from "../store/own-names.ts";
import type { GrantRow, GrantStore } from "../sync/grant-store.ts";
import { createKeyLedger } from "../sync/key-ledger.ts";
import { localValues } from "../sync/local-values.ts";
import type { SyncStore } from "../sync/sync-store.ts";
import type { Holdfast } from "./holdfast.ts";
import type { StoreLife } from "./store-life.ts";
import { systemDraft } from "./system-draft.ts";

const ofStores = new WeakMap<Holdfast, { readonly life: StoreLife; readonly grants: GrantStore }>();

/** Remembers what stands behind an open store, for {@link grantStoreOf} and {@link lifeOf}. */
export function offerGrantStore(store: Holdfast, life: StoreLife): Holdfast {
  ofStores.set(store, { life, grants: createGrantStore(life) });
  return store;
}

/**
 * Grants of an open store, for sync and the command line. Apart from {@link Holdfast}, because it hands out
 * the keyring, which an application has no business with.
 */
export function grantStoreOf(store: Holdfast): GrantStore {
  return behind(store).grants;
}

/** The store side of sync of an open store: for the engine, and for enrolment. */
export function syncStoreOf(store: Holdfast): SyncStore {
  return behind(store).life.sync;
}

/** The life of an open store: for tests that bring other devices' events into it. */
export function lifeOf(store: Holdfast): StoreLife {
  return behind(store).life;
}

function behind(store: Holdfast) {
  const found = ofStores.get(store);
  invariant(found !== undefined, "an open store has its grants");
  return found;
}

/** Over an open store. What writes throws `store_read_only` where it is open for reading. */
export function createGrantStore(life: StoreLife): GrantStore {
  const { crypto, clock, random, observer, keyring } = life.deps;
  const driver = () => life.current().driver;

  const device = (): string => ownNames(driver()).device;
  const ledger = createKeyLedger(driver, device);

  return {
    crypto,
    clock,
    random,
    observer,
    keyring,
    device,
    founder: () => life.current().access.founder() ?? device(),
    access: () => life.current().access.fold(),
    rows: () => life.current().access.rows(),
    grants: () =>
      driver()
        .prepare("SELECT key, generation, recipient, state, at FROM grants ORDER BY at, key")
        .all<GrantRow>(),
    shreds: () => life.current().log.shreds,
    get values() {
      return localValues(driver());
    },
    ledger,
    openings: (of) =>
      driver()
        .prepare(
          `SELECT header FROM events JOIN incarnations ON incarnations.number = events.incarnation
           WHERE device = ? AND sequence = 1 AND type = ? ORDER BY position`,
        )
        .all<{ header: string }>(of, incarnationOpenedType)
        .map(({ header }) => header),
    async append(drafts) {
      if (life.writer === undefined) throw new HoldfastError("store_read_only");
      const [own, at] = [ownNames(driver()), clock.now()];
      const prepared = drafts.map((draft) => systemDraft(draft, own, at));
      await life.writer.append({ drafts: prepared, expect: undefined });
    },
    transact: (work) =>
      life.transact(({ driver: connection, closed, models }) =>
        work({
          values: localValues(connection),
          put({ key, generation, recipient, state, at }) {
            connection
              .prepare(
                `INSERT INTO grants (key, generation, recipient, state, at) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (key, generation, recipient)
                 DO UPDATE SET state = excluded.state, at = excluded.at`,
              )
              .run(key, generation, recipient, state, at);
          },
          opened(key, generation) {
            const streams = closed.take(key, generation);
            models.refold(streams);
            return streams.length;
          },
        }),
      ),
  };
}
