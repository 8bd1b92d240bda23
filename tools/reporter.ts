/**
 * Closes a run of vitest with the one line that scripts read, `N passed, N failed`, after a line with the
 * number of skipped tests where there are any. A file that does not load and an error outside every test count as failed.
 */
import type { Reporter, TestModule } from "vitest/node";

/** How many tests ended how. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** The closing lines. */
export function tallyLines({ passed, failed, skipped }: Tally): string {
  const before = skipped === 0 ? "" : `${skipped} skipped\n`;
  return `${before}${passed} passed, ${failed} failed\n`;
}

/** Count of a finished run. */
export function tally(modules: readonly TestModule[], errorsOutside: number): Tally {
  const counts = { passed: 0, failed: errorsOutside, skipped: 0 };
  for (const module of modules) {
    counts.failed += module.errors().length;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      // A test that never came to an end did not pass.
      if (state === "passed") counts.passed++;
      else if (state === "skipped") counts.skipped++;
      else counts.failed++;
    }
  }
  return counts;
}

/** Reporter that prints the closing line; named after the default reporter in vitest.config.ts. */
export function createTallyReporter(): Reporter {
  return {
    onTestRunEnd(modules, unhandledErrors) {
      process.stdout.write(tallyLines(tally(modules, unhandledErrors.length)));
    },
  };
}
