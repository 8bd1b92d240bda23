/** Which HTTP status the engine's codes have. A test compares them with what the engine throws. */
import type { ErrorCode } from "@holdfast/core";

/** Status by code of the engine. What belongs to others looks like what is not there. */
export const engineStatus: Readonly<Partial<Record<ErrorCode, number>>> = {};
