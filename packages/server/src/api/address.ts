/**
 * The name under which an address has its share. A network of IPv6 gives every machine 2^64 addresses, so the /64
 * is what counts; an IPv4 address that arrives over IPv6 is the same address.
 */
export function addressName(remote: string | undefined): string {
  const [address = ""] = (remote ?? "").toLowerCase().split("%");
  const mapped = /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!address.includes(":")) return address;
  const [before = "", after] = address.split("::", 2);
  const groups = (text: string): readonly string[] => (text === "" ? [] : text.split(":"));
  const head = groups(before);
  const tail = after === undefined ? [] : groups(after);
  const zeros = Math.max(0, 8 - head.length - tail.length);
  const all = [...head, ...Array.from({ length: zeros }, () => "0"), ...tail];
  return `${all.slice(0, 4).join(":")}::/64`;
}
