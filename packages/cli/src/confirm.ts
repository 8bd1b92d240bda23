/** Acts that cannot be taken back lightly: whoever gives the command types what it is about. */
import { isCancel, text } from "@clack/prompts";
import { UsageError } from "./store.ts";

/** Asks for the id of the store. Throws {@link UsageError} without a terminal, or for another answer. */
export async function confirmedStore(storeId: string, consequence: string): Promise<void> {
  if (!process.stdin.isTTY)
    throw new UsageError("Say --yes, or type the store's id at a terminal.");
  const message = `${consequence} Type the store's id, ${storeId}`;
  const answer = await text({ message, output: process.stderr });
  if (isCancel(answer) || answer !== storeId) throw new UsageError("That is not the store's id.");
}
