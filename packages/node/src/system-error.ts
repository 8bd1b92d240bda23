/** Errors of the operating system as codes of Holdfast; paths stay in the cause, for they may name people. */
import { type ErrorCode, HoldfastError } from "@holdfast/core";

const codes: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: "store_full",
  EDQUOT: "store_full",
  EFBIG: "store_full",
  EROFS: "store_read_only",
  ELOOP: "store_unsafe_path",
  EISDIR: "store_unsafe_path",
  ENOTDIR: "store_unsafe_path",
};

/** Our error for an error of the system; anything else as it is. */
export function fromSystem(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof HoldfastError) return error;
  const { code, syscall } = error as { readonly code?: unknown; readonly syscall?: unknown };
  if (typeof code !== "string" || typeof syscall !== "string") return error;
  return new HoldfastError(codes[code] ?? "store_io_error", { result: code }, { cause: error });
}

/** Runs what touches files; errors of the system come out with a code. */
export function withSystem<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw fromSystem(error);
  }
}
