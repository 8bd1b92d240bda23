import {
  createKeyDesk,
  type DataKeyRotationState,
  type Holdfast,
  type KeyDesk,
  type RotationOrder,
  type RotationState,
} from "@holdfast/core";
import { createPassphraseProvider } from "@holdfast/node";
import { Command } from "commander";
import type { Output } from "../output.ts";
import { createProgress } from "../progress.ts";
import { readNewPassphrase, readPassphrase } from "../secrets.ts";
import { UsageError, withStore } from "../store.ts";
import { collect, contextOf } from "./options.ts";

interface RotateOptions extends RotationOrder {
  readonly epoch?: boolean;
  readonly provider?: boolean;
  readonly passphrase?: boolean;
  readonly data?: boolean;
  readonly signing?: boolean;
  readonly hpke?: boolean;
  readonly scope?: readonly string[];
  readonly destroyFormer?: boolean;
  readonly newPassphraseFile?: string;
}

/** What the command can rotate, one at a time. */
const kinds = ["epoch", "provider", "passphrase", "data", "signing", "hpke"] as const;
type Kind = (typeof kinds)[number];

/** `holdfast keys rotate --epoch | --provider | --passphrase | --data | --signing | --hpke`. */
export function rotateCommand(): Command {
  return new Command("rotate")
    .description("make new keys current; old ones open, never seal, and go once all is verified")
    .option("--epoch", "the epoch key: everything is wrapped anew, in software")
    .option("--provider", "the provider key: a new one from the same passphrase")
    .option("--passphrase", "the passphrase: the old one opens nothing afterwards")
    .option("--data", "data keys: a new generation, and the frames here encrypted anew")
    .option("--signing", "the device's signing key: a new incarnation")
    .option("--hpke", "the key that grants are wrapped to: a new incarnation names it")
    .option("--scope <scope>", "with --data: only this scope, by its id; repeatable", collect)
    .option("--destroy-former", "with --data: destroy the former generation once all is verified")
    .option("--new-passphrase-file <file>", "with --passphrase: file that holds the new one")
    .option("--actor <who>", "who rotates; recorded in the audit trail")
    .option("--why <code>", "reason code; recorded in the audit trail", "scheduled")
    .option("--reason <text>", "reason in words; recorded, encrypted")
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<RotateOptions>(command);
      const kind = kindOf(options);
      // Asked for once: what opened the store is what the new provider key is made from.
      const known = kind === "provider" ? await readPassphrase(options) : undefined;
      const turn = async (store: Holdfast): Promise<void> => {
        const progress = createProgress("moved", output.json);
        const report = ({ done, total }: Moved): void => {
          progress.update(done, total);
        };
        const answer = await rotate(createKeyDesk(store), kind, options, known ?? "", report);
        progress.stop("done");
        await tell(output, kind, answer);
      };
      await withStore(options, "write", turn, known);
    });
}

function kindOf(options: RotateOptions): Kind {
  const chosen = kinds.filter((kind) => options[kind] === true);
  const [kind] = chosen;
  if (kind === undefined || chosen.length > 1) {
    throw new UsageError(`Say what to rotate: one of --${kinds.join(", --")}.`);
  }
  const { scope, destroyFormer, newPassphraseFile } = options;
  const others = [
    ["data", "--scope", scope],
    ["data", "--destroy-former", destroyFormer],
    ["passphrase", "--new-passphrase-file", newPassphraseFile],
  ] as const;
  for (const [only, flag, value] of others) {
    if (value !== undefined && kind !== only) throw new UsageError(`${flag} goes with --${only}.`);
  }
  return kind;
}

interface Moved {
  readonly done: number;
  readonly total: number;
}

type Answer = RotationState | DataKeyRotationState | Readonly<Record<string, string>>;

async function rotate(
  desk: KeyDesk,
  kind: Kind,
  options: RotateOptions,
  passphrase: string,
  onProgress: (state: Moved) => void,
): Promise<Answer> {
  const { actor, why, reason } = options;
  const order = {
    ...(actor !== undefined && { actor }),
    ...(why !== undefined && { why }),
    ...(reason !== undefined && { reason }),
  };
  switch (kind) {
    case "epoch":
      return desk.rotateEpoch(order, onProgress);
    case "provider": {
      const provider = createPassphraseProvider(passphrase);
      return desk.rotateProvider(provider, order, onProgress);
    }
    case "passphrase": {
      const provider = createPassphraseProvider(await readNewPassphrase(options.newPassphraseFile));
      return desk.rotateProvider(provider, order, onProgress);
    }
    case "data": {
      const { scope: scopes, destroyFormer } = options;
      const former = destroyFormer === true ? "destroy" : "keep";
      const wish = { former, ...(scopes !== undefined && { scopes }) } as const;
      return desk.rotateData(wish, order, onProgress);
    }
    case "signing":
      return desk.rotateSigning(order);
    case "hpke":
      return desk.rotateHpke(order);
    default:
      return kind satisfies never;
  }
}

async function tell(output: Output, kind: Kind, answer: Answer): Promise<void> {
  await output.row({ rotated: kind, ...answer });
  if ("phase" in answer) {
    const kept = answer.phase === "verified" ? "; the former generation opens on" : "";
    await output.say(`${kind}: ${answer.phase}, ${answer.total} moved${kept}`);
    return;
  }
  const [name, value] = Object.entries(answer)[0] ?? ["", ""];
  await output.say(`${kind}: new ${name} ${value}`);
}
