import { type Holdfast, providerNames, type ProviderStanding } from "@holdfast/core";
import type { Command } from "commander";
import { table } from "../output.ts";
import { withStore } from "../store.ts";
import { contextOf } from "./options.ts";

/** One row of `keys providers`. */
interface ProviderRow {
  readonly name: string;
  readonly id: string | null;
  readonly assurance: string | null;
  readonly state: string;
  readonly chosen: boolean;
  readonly reason: string | null;
}

/** Adds `providers` and `list` to the command `keys`. */
export function addProviderCommands(keys: Command): void {
  keys
    .command("providers")
    .description("every kind of key provider: strength, state, and why one is not used")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf(command);
      await withStore(options, "read", async (store) => {
        const rows = providerRows(store);
        await output.row({ providers: rows });
        await output.say(
          table(
            ["provider", "assurance", "state", "used", "reason"],
            rows.map(({ name, assurance, state, chosen, reason }) => {
              return [name, assurance ?? "", state, chosen ? "now" : "", reason ?? ""];
            }),
          ),
        );
      });
    });
  keys
    .command("list")
    .description("signing keys of this store, one for each incarnation, and who holds them")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf(command);
      await withStore(options, "read", async (store) => {
        const names = new Map(store.providers.list().map(({ id, name }) => [id, name]));
        const { incarnation: current } = store.status();
        const rows = store.providers.signing().map((key) => ({
          incarnation: key.incarnation,
          algorithm: key.algorithm,
          provider: names.get(key.provider) ?? "former",
          spki: Buffer.from(key.spki).toString("base64"),
          current: key.incarnation === current,
        }));
        await output.row({ keys: rows });
        await output.say(
          table(
            ["incarnation", "algorithm", "provider", ""],
            rows.map((row) => [
              row.incarnation,
              row.algorithm,
              row.provider,
              row.current ? "signs now" : "",
            ]),
          ),
        );
      });
    });
}

/** Those of the keyring, then the kinds that it has no wrap for. */
function providerRows(store: Holdfast): readonly ProviderRow[] {
  const standings = store.providers.list();
  const held = new Set(standings.map(({ name }) => name));
  return [
    ...standings.map((standing) => ({
      name: standing.name,
      id: standing.id,
      assurance: standing.assurance,
      state: standing.state,
      chosen: standing.chosen,
      reason: reasonOf(standing),
    })),
    ...providerNames
      .filter((name) => !held.has(name))
      .map((name) => ({
        name,
        id: null,
        assurance: null,
        state: "absent",
        chosen: false,
        reason: "the keyring has no wrap for it",
      })),
  ];
}

function reasonOf({ allowed, chosen, code, state }: ProviderStanding): string | null {
  if (code !== undefined) return code;
  if (!allowed) return "the policy does not allow it";
  if (state === "absent") return "the settings do not say how to open it";
  return chosen ? null : "a preferred one works";
}
