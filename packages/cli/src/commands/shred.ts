import { createShredDesk, isoTime, type ShredDesk, type ShredStanding } from "@holdfast/core";
import { type KeyringCopies, renewKeyringCopies } from "@holdfast/node";
import { Command, Option } from "commander";
import { counted, type Output, printable, table } from "../output.ts";
import { storeDirectory, type StoreOptions, UsageError, withStore } from "../store.ts";
import { confirmName, nameOfStore } from "./confirm.ts";
import { collect, contextOf, span } from "./options.ts";

/** Who acts, and why. */
export interface ActOptions {
  readonly actor: string;
  readonly why: string;
}

/** What is meant: a subject at its sites, or scopes by their ids. */
export interface ScopeOptions {
  readonly subject?: string;
  readonly site?: readonly string[];
  readonly scope?: readonly string[];
  readonly section?: string;
}

export function withAct(command: Command): Command {
  return command
    .requiredOption("--actor <who>", "on whose authority; recorded")
    .requiredOption("--why <code>", "reason code; recorded");
}

export function withScopes(command: Command): Command {
  return command
    .option("--subject <words>", "the subject, in the words that its records are recorded under")
    .option("--site <words>", "with --subject: at this site; repeatable", collect)
    .option("--scope <id>", "a scope by its id; repeatable", collect)
    .option("--section <name>", "only this section class; default: all");
}

/** The scopes that options name. */
export function scopesNamed(desk: ShredDesk, options: ScopeOptions): readonly string[] {
  const { subject, site, scope = [] } = options;
  if (site !== undefined && subject === undefined) {
    throw new UsageError("--site goes with --subject.");
  }
  const ofSubject = subject === undefined ? [] : desk.scopesOf(subject, site);
  const scopes = [...new Set([...ofSubject, ...scope])];
  if (scopes.length === 0) throw new UsageError("Say what: --subject WORDS, or --scope ID.");
  return scopes;
}

/** `holdfast shred request|approve|status|due|certify`: content destroyed for good. */
export function shredCommand(): Command {
  return new Command("shred")
    .description("destroy the keys and the content of scopes for good; the log goes on to verify")
    .addCommand(requestCommand())
    .addCommand(approveCommand())
    .addCommand(statusCommand())
    .addCommand(dueCommand())
    .addCommand(certifyCommand());
}

function requestCommand(): Command {
  return withAct(withScopes(new Command("request")))
    .description("ask for a shred; two different actors then have to approve it")
    .addOption(
      new Option("--min-age <span>", "refuse while the newest event is younger: 30d")
        .argParser(span)
        .env("HOLDFAST_SHRED_MIN_AGE"),
    )
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<
        ActOptions & ScopeOptions & { readonly minAge?: number }
      >(command);
      await withStore(options, "write", async (store) => {
        const desk = createShredDesk(store);
        const { actor, why, section, minAge } = options;
        const scopes = scopesNamed(desk, options);
        const wish = { actor, why, scopes, ...(section !== undefined && { section }) };
        const shred = await desk.request(wish, minAge);
        await output.row({ shred, scopes, section: section ?? null });
        await output.say(`Shred ${shred} is asked for: ${counted(scopes.length, "scope")}.`);
        await output.say("Nothing is destroyed before two different actors have approved it.");
      });
    });
}

function approveCommand(): Command {
  return withAct(new Command("approve"))
    .description("approve a shred; the second actor's approval puts it in force, for good")
    .argument("<shred>", "id of the shred")
    .option("--yes", "do not ask for the name of the store's folder")
    .action(async (shred: string, _, command: Command) => {
      const { options, output } = contextOf<ActOptions & { readonly yes?: boolean }>(command);
      const name = nameOfStore(storeDirectory(options));
      const what = `What shred ${printable(shred)} names is destroyed in ${printable(name)} and everywhere else.`;
      await confirmName(what, "name of its folder", name, options.yes);
      const { actor, why } = options;
      const standing = await withStore(options, "write", (store) =>
        createShredDesk(store).approve(shred, { actor, why }),
      );
      const copies = standing.inForce ? await renewed(options) : undefined;
      await output.row({ ...wireOf(standing), ...copiesWire(copies) });
      await say(output, standing);
      if (copies !== undefined) await sayCopies(output, copies);
    });
}

function statusCommand(): Command {
  return new Command("status")
    .description("how far shreds are, here and on other devices")
    .argument("[shred]", "only this one")
    .action(async (shred: string | undefined, _, command: Command) => {
      const { options, output } = contextOf(command);
      const isAnyInForce = await withStore(options, "write", async (store) => {
        const desk = createShredDesk(store);
        // What waited for a reader or a provider may go on now.
        await desk.goOn();
        const listed = desk.list().filter((one) => shred === undefined || one.shred === shred);
        for (const one of listed) await output.row(wireOf(one));
        const cells = listed.map((one) => [
          one.shred,
          one.inForce ? "in force" : `${one.approvals.length} of 2 approvals`,
          phaseOf(one),
          one.confirmed.length,
          one.unconfirmed.length,
        ]);
        await output.say(table(["shred", "state", "here", "confirmed", "unconfirmed"], cells));
        return listed.some(({ inForce }) => inForce);
      });
      if (isAnyInForce) await sayCopies(output, await renewed(options));
    });
}

function dueCommand(): Command {
  return new Command("due")
    .description("scopes whose newest event is older than their retention")
    .addOption(
      new Option("--max-age <span>", "older than this: 3650d")
        .argParser(span)
        .env("HOLDFAST_SHRED_MAX_AGE")
        .makeOptionMandatory(),
    )
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<{ readonly maxAge: number }>(command);
      await withStore(options, "read", async (store) => {
        const due = createShredDesk(store).due(options.maxAge);
        for (const { scope, newest } of due) await output.row({ scope, newest: isoTime(newest) });
        const cells = due.map(({ scope, newest }) => [scope, isoTime(newest)]);
        await output.say(table(["scope", "newest event"], cells));
      });
    });
}

function certifyCommand(): Command {
  return withAct(new Command("certify"))
    .description("record who has confirmed a shred and who has not; print the certificate")
    .argument("<shred>", "id of the shred")
    .action(async (shred: string, _, command: Command) => {
      const { options, output } = contextOf<ActOptions>(command);
      const { actor, why } = options;
      const certificate = await withStore(options, "write", (store) =>
        createShredDesk(store).certify(shred, { actor, why }),
      );
      const copies = await renewed(options);
      const { tenant, device, certifiedAt, inForceBy, event } = certificate;
      const wire = {
        ...wireOf(certificate),
        tenant,
        device,
        certified_at: isoTime(certifiedAt),
        in_force_by: inForceBy,
        event,
        ...copiesWire(copies),
      };
      if (output.json) await output.row(wire);
      else await output.raw(`${JSON.stringify(wire, null, 2)}\n`);
    });
}

/** Copies of the keyring follow it: an old one would still open what is to be gone. */
function renewed(options: StoreOptions): Promise<KeyringCopies> {
  return renewKeyringCopies({ directory: storeDirectory(options) });
}

function copiesWire(copies: KeyringCopies | undefined) {
  return copies === undefined
    ? {}
    : { keyring_copies: copies.current, stale_copies: copies.unreachable };
}

function wireOf(standing: ShredStanding) {
  const { shred, scopes, section, at, why, approvals, inForce, holds, here } = standing;
  return {
    shred,
    scopes,
    section: section ?? null,
    at: isoTime(at),
    why: why ?? null,
    approvals,
    in_force: inForce,
    holds,
    here,
    confirmed: standing.confirmed,
    unconfirmed: standing.unconfirmed,
  };
}

function phaseOf({ here, inForce }: ShredStanding): string {
  const states = [...new Set(Object.values(here))];
  return states.length > 0 ? states.join(", ") : inForce ? "not begun" : "";
}

async function say(output: Output, standing: ShredStanding): Promise<void> {
  const { shred, inForce, approvals, unconfirmed } = standing;
  if (!inForce) {
    await output.say(`Shred ${shred}: ${approvals.length} of 2 approvals.`);
    return;
  }
  await output.say(`Shred ${shred} is in force; here: ${phaseOf(standing)}.`);
  await output.say(`Not confirmed by ${counted(unconfirmed.length, "device")}.`);
  await output.say("Next: holdfast sync, so that the other devices hear of it.");
}

async function sayCopies(output: Output, { current, unreachable }: KeyringCopies): Promise<void> {
  for (const path of current) await output.say(`  ${printable(path)}: as the keyring is now`);
  for (const path of unreachable) {
    await output.say(`  ${printable(path)}: not there; that copy may still open what was shredded`);
  }
}
