/** Collecting the words of a JSON value for full-text search. */

/** More would be indexed of a single document than anybody searches for. */
const charactersMax = 20_000;

/** Is text under this member name to be searched? Items of a list have the name of the list. */
export type TextMember = (name: string) => boolean;

/**
 * All texts of a JSON value whose member name is wanted, each once, with a blank between them. It stops at
 * 20,000 characters.
 */
export function wordsOf(value: unknown, wanted: TextMember): string {
  const texts = new Set<string>();
  let left = charactersMax;
  const pending: { readonly name: string; readonly value: unknown }[] = [{ name: "", value }];
  for (let next = pending.pop(); next !== undefined && left > 0; next = pending.pop()) {
    const { name, value: part } = next;
    if (typeof part === "string") {
      if (!wanted(name) || part === "" || texts.has(part)) continue;
      texts.add(part.slice(0, left));
      left -= part.length;
    } else if (Array.isArray(part)) {
      for (const item of part.toReversed() as unknown[]) pending.push({ name, value: item });
    } else if (typeof part === "object" && part !== null) {
      for (const [member, inner] of Object.entries(part).toReversed()) {
        pending.push({ name: member, value: inner });
      }
    }
  }
  return [...texts].join(" ");
}
