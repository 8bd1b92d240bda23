import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { createTallyReporter } from "./tools/reporter.ts";

const conditions = ["@holdfast/source"];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["packages/*/src/**/*.test.ts", "tests/**/*.test.ts", "tools/**/*.test.ts"],
    isolate: false,
    maxWorkers: 2,
    // Only to end what hangs: on a machine that has other work too, a process takes many times as long.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // Processes that tests start read our sources as they are: compiled once, not each time (measured: half the CPU).
    env: {
      NODE_COMPILE_CACHE: fileURLToPath(new URL("node_modules/.cache/compile", import.meta.url)),
    },
    reporters: ["default", createTallyReporter()],
    coverage: {
      provider: "v8",
      include: ["packages/core/src/**/*.ts"],
      exclude: ["**/*.test.ts", "**/*.d.ts"],
      reporter: ["text-summary", "html", "json-summary"],
      reportsDirectory: "coverage",
      thresholds: { lines: 90 },
    },
  },
});
