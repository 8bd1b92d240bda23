/** Reads that do not depend on each other, asked for in one turn: a store that is elsewhere answers all at once. */
import type { MaybePromise } from "@holdfast/core";

/**
 * Begins all, waits for all, and throws what the first of them threw. A store that reads at once may also throw at
 * once: in an array for `Promise.all` that would leave what was begun before to nobody, and its failure would end the
 * process. Nothing goes on when it returns: the transaction may be over then.
 */
export async function together<Answers extends readonly unknown[]>(
  ...works: { readonly [At in keyof Answers]: () => MaybePromise<Answers[At]> }
): Promise<Answers> {
  const begun = works.map(async (work) => work());
  await Promise.allSettled(begun);
  return (await Promise.all(begun)) as readonly unknown[] as Answers;
}
