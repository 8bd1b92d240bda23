export * from "./key-provider.suite.ts";
export {};
