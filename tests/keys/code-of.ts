import { isHoldfastError } from "@holdfast/core";

/** The code that a call is refused with; an error without one in its own words. */
export async function codeOf(call: unknown): Promise<string> {
  try {
    await call;
    return "nothing was thrown";
  } catch (error) {
    return isHoldfastError(error) ? error.code : String(error);
  }
}
