/** Acts that cannot be undone: whoever asks for one types the name of what goes, or has said `--yes`. */
import { basename, resolve } from "node:path";
import { isCancel, text } from "@clack/prompts";
import { UsageError } from "../store.ts";

/** What a store is called on the command line: the name of its folder. */
export function nameOfStore(directory: string): string {
  return basename(resolve(directory));
}

/** Asks for the name back; `message` says what will happen. Throws a usage error for any other answer. */
export async function confirmName(
  message: string,
  noun: string,
  name: string,
  yes: boolean | undefined,
): Promise<void> {
  if (yes === true) return;
  if (!process.stdin.isTTY) throw new UsageError(`Say --yes, or type the ${noun} at a terminal.`);
  const answer = await text({ message: `${message} Type the ${noun}`, output: process.stderr });
  if (isCancel(answer) || answer !== name) throw new UsageError(`That is not the ${noun}.`);
}
