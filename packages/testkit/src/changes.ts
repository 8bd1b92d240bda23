/** Messages as an attacker on the way might change them. */

/**
 * The message with one value changed: each number, places of each text and bytes, a first item taken away. With
 * the path of the change.
 */
export function* changesOf(value: unknown, path = ""): Generator<readonly [string, unknown]> {
  if (typeof value === "number") yield [path, value + 1];
  else if (typeof value === "string") {
    for (const at of new Set([0, value.length >> 1, value.length - 2])) {
      const code = value.charCodeAt(at);
      if (!Number.isNaN(code)) {
        yield [path, `${value.slice(0, at)}${String.fromCharCode(code ^ 1)}${value.slice(at + 1)}`];
      }
    }
  } else if (value instanceof Uint8Array) {
    for (const at of new Set([0, value.length >> 1, value.length - 1])) {
      yield [path, value.map((byte, i) => (i === at ? byte ^ 1 : byte))];
    }
  } else if (Array.isArray(value)) {
    if (value.length > 0) yield [path, value.slice(1)];
    for (const [at, item] of value.entries()) {
      for (const [inner, changed] of changesOf(item, `${path}/${at}`)) {
        yield [inner, value.with(at, changed)];
      }
    }
  } else if (typeof value === "object" && value !== null) {
    for (const [name, item] of Object.entries(value)) {
      for (const [inner, changed] of changesOf(item, `${path}/${name}`)) {
        yield [inner, { ...value, [name]: changed }];
      }
    }
  }
}
