/** Keys that were granted and whose grants a restored server may have lost: they are wrapped and sent once more. */

/** Names that begin so stand for one of them each. */
export const lostGrantPrefix = "grants/again/";

/** Name of one grant. */
export function lostGrantName(grant: {
  readonly device: string;
  readonly hpke: string;
  readonly key: string;
  readonly generation: number;
}): string {
  const { device, hpke, key, generation } = grant;
  return `${lostGrantPrefix}${device}/${hpke}/${key}/${generation}`;
}
