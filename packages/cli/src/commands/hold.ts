import { createShredDesk, isoTime, type ShredDesk } from "@holdfast/core";
import { Command } from "commander";
import { counted, printable, table } from "../output.ts";
import { storeDirectory, withStore } from "../store.ts";
import { confirmName, nameOfStore } from "./confirm.ts";
import { contextOf } from "./options.ts";
import { type ActOptions, scopesNamed, withAct, withScopes, type ScopeOptions } from "./shred.ts";

/** `holdfast hold place|lift|ls`: what must not be shredded. */
export function holdCommand(): Command {
  return new Command("hold")
    .description("legal holds: what must not be shredded while they stand")
    .addCommand(placeCommand())
    .addCommand(liftCommand())
    .addCommand(lsCommand());
}

function placeCommand(): Command {
  return withAct(
    withScopes(new Command("place").description("forbid shredding; admin devices only")),
  ).action(async (_, command: Command) => {
    const { options, output } = contextOf<ActOptions & ScopeOptions>(command);
    await withStore(options, "write", async (store) => {
      const desk = createShredDesk(store);
      const { actor, why, section } = options;
      const scopes = scopesNamed(desk, options);
      const hold = await desk.placeHold({
        actor,
        why,
        scopes,
        ...(section !== undefined && { section }),
      });
      await output.row({ hold, scopes, section: section ?? null });
      await output.say(`Hold ${hold} stands on ${counted(scopes.length, "scope")}.`);
      await output.say("Next: holdfast sync, so that the other devices hear of it.");
    });
  });
}

function liftCommand(): Command {
  return withAct(
    new Command("lift")
      .description("end a hold; shreds that waited for it alone are in force, for good")
      .argument("<hold>", "id of the hold")
      .option("--yes", "do not ask for the name of the store's folder"),
  ).action(async (hold: string, _, command: Command) => {
    const { options, output } = contextOf<ActOptions & { readonly yes?: boolean }>(command);
    const name = nameOfStore(storeDirectory(options));
    const what = `Shreds that wait for hold ${printable(hold)} alone destroy what they name, in ${printable(name)} and everywhere else.`;
    await confirmName(what, "name of its folder", name, options.yes);
    const { actor, why } = options;
    await withStore(options, "write", async (store) => {
      const desk = createShredDesk(store);
      const before = new Set(inForceOf(desk));
      await desk.liftHold(hold, { actor, why });
      const freed = inForceOf(desk).filter((shred) => !before.has(shred));
      await output.row({ hold, status: "lifted", in_force: freed });
      await output.say(`Hold ${hold} is lifted; ${counted(freed.length, "shred")} in force by it.`);
    });
  });
}

function inForceOf(desk: ShredDesk): readonly string[] {
  return desk
    .list()
    .filter(({ inForce }) => inForce)
    .map(({ shred }) => shred);
}

function lsCommand(): Command {
  return new Command("ls").description("holds that stand").action(async (_, command: Command) => {
    const { options, output } = contextOf(command);
    await withStore(options, "read", async (store) => {
      const holds = createShredDesk(store).holds();
      for (const { hold, scopes, section, at, why } of holds) {
        await output.row({
          hold,
          scopes,
          section: section ?? null,
          at: isoTime(at),
          why: why ?? null,
        });
      }
      const cells = holds.map(({ hold, scopes, section, at, why }) => {
        return [hold, isoTime(at), why, section ?? "all", scopes.join(" ")];
      });
      await output.say(table(["hold", "placed", "why", "section", "scopes"], cells));
    });
  });
}
