/**
 * Two JSON texts compared, and one written on one line, without touching what a parser would lose: numbers
 * are taken as they are written, because FHIR counts the digits of a decimal as part of its value
 * (https://hl7.org/fhir/R4/datatypes.html#decimal).
 *
 * The texts were read by `parseJson` before: they are well-formed, have no duplicate keys, and their nesting
 * is bounded.
 */
import { invariant } from "@holdfast/core";

const token = /[\s]*("[^"\\]*(?:\\.[^"\\]*)*"|-?[0-9][0-9.eE+-]*|true|false|null|[{}[\],:])/y;

function tokens(text: string): readonly string[] {
  const out: string[] = [];
  token.lastIndex = 0;
  for (let match = token.exec(text); match !== null; match = token.exec(text))
    out.push(match[1] as string);
  return out;
}

/** The text without white space between its tokens: one line. */
export function compactJsonText(text: string): string {
  return tokens(text).join("");
}

/** Keys sorted, strings in one spelling, white space gone, numbers as written. */
export function canonicalJsonText(text: string): string {
  const all = tokens(text);
  let at = 0;
  const next = (): string => {
    const one = all[at++];
    invariant(one !== undefined, "the text was parsed before it is compared");
    return one;
  };
  const value = (): string => {
    const first = next();
    if (first.startsWith('"')) return respelled(first);
    if (first === "[") return list();
    return first === "{" ? members() : first;
  };
  const list = (): string => {
    const items: string[] = [];
    while (all[at] !== "]") {
      items.push(value());
      if (all[at] === ",") at++;
    }
    at++;
    return `[${items.join(",")}]`;
  };
  const members = (): string => {
    const pairs: (readonly [string, string])[] = [];
    while (all[at] !== "}") {
      const key = respelled(next());
      at++;
      pairs.push([key, value()]);
      if (all[at] === ",") at++;
    }
    at++;
    const sorted = pairs.toSorted(([a], [b]) => (a < b ? -1 : 1));
    return `{${sorted.map(([key, item]) => `${key}:${item}`).join(",")}}`;
  };
  return value();
}

function respelled(quoted: string): string {
  return quoted.includes("\\") ? JSON.stringify(JSON.parse(quoted)) : quoted;
}

/** Do the two texts say the same, to the last digit? */
export function sameJsonText(a: string, b: string): boolean {
  return a === b || canonicalJsonText(a) === canonicalJsonText(b);
}
