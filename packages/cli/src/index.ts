/** The `holdfast` command as a library: its program, for those who embed or document it. */
export { createProgram } from "./program.ts";
export { exitCodes } from "./output.ts";
