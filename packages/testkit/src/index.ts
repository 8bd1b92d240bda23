export * from "./key-provider.suite.ts";
