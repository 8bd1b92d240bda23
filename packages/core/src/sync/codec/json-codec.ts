/** JSON messages as bytes: written canonically, read strictly (std/json.ts). */
import { type Bytes, equalBytes } from "../../std/bytes.ts";
import { HoldfastError, isHoldfastError } from "../../std/errors.ts";
import { canonicalBytes } from "../../std/jcs.ts";
import { type JsonValue, parseJson } from "../../std/json.ts";
import { limits } from "../../std/limits.ts";
import { malformed, type Shape, tooLarge } from "./shape.ts";

/** A message as JSON text, UTF-8. */
export function writeJson<T>(shape: Shape<T>, message: T): Bytes {
  return canonicalBytes(shape.write(message));
}

/**
 * The way back. Throws `message_malformed` {part, reason?} and `message_too_large` {part, max}, never anything
 * else; `reason` is the code of the strict parser. `canonical`: one message has one text.
 */
export function readJson<T>(shape: Shape<T>, input: Uint8Array, form?: "canonical"): T {
  if (input.length > limits.messageJsonBytesMax) throw tooLarge("", limits.messageJsonBytesMax);
  const value = strictly(input);
  if (form === "canonical" && !equalBytes(canonicalBytes(value), input)) throw malformed("control");
  return shape.read(value, "");
}

function strictly(input: Uint8Array): JsonValue {
  try {
    return parseJson(input);
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    const { path } = error.details;
    const part = typeof path === "string" && path !== "" ? path : "/";
    throw new HoldfastError("message_malformed", { part, reason: error.code });
  }
}
