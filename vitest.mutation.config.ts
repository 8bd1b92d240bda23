/**
 * The tests that judge mutants of `seal`, `proof` and the header reader (`npm run mutation`): those beside
 * the code and the vectors of tests/spec. The property tests of tests/spec stay out: they take seconds per
 * mutant, so the score is a lower bound.
 */
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const here = fileURLToPath(new URL(".", import.meta.url));

export default defineConfig({
  // node_modules is linked into the sandbox: by name, the packages would be those that nothing mutates.
  resolve: {
    alias: [{ find: /^@holdfast\/(\w+)$/, replacement: `${here}packages/$1/src/index.ts` }],
  },
  test: {
    include: [
      "packages/core/src/{seal,proof}/**/*.test.ts",
      "packages/core/src/event/header.test.ts",
      "tests/signature-profile.test.ts",
      "tests/spec/**/*.test.ts",
    ],
    exclude: ["tests/spec/properties.test.ts"],
    isolate: false,
    testTimeout: 60_000,
  },
});
