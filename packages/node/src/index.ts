/** Holdfast on Node: the ports of `@holdfast/core` over the operating system and OpenSSL. */
export * from "./clock.ts";
export * from "./crypto.ts";
export * from "./keyring-files.ts";
export * from "./random.ts";
export * from "./record-file.ts";
