/**
 * Retry-After (RFC 9110 §10.2.3): seconds, or a date in the preferred form (§5.6.7). A date is counted from the
 * answer's own `Date`, because this device's clock may say anything. What is neither is no wish.
 */

const imfFixdate =
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) (\d{4}) (\d\d):(\d\d):(\d\d) GMT$/;
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Milliseconds to wait; `undefined`: the answer asks for nothing that can be read. Names in lower case. */
export function retryAfterMs(
  headers: Readonly<Record<string, string>>,
  now: number,
): number | undefined {
  const text = headers["retry-after"];
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000;
  const until = dateOf(text);
  if (until === undefined) return undefined;
  return Math.max(0, until - (dateOf(headers["date"] ?? "") ?? now));
}

function dateOf(text: string): number | undefined {
  const [, day, month = "", ...numbers] = imfFixdate.exec(text) ?? [];
  if (day === undefined) return undefined;
  const [year = 0, hour = 0, minute = 0, second = 0] = numbers.map(Number);
  return Date.UTC(year, months.indexOf(month), Number(day), hour, minute, second);
}
