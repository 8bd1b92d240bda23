/** What must not stand in any kept file: left-over work, focused tests, machine paths, registry hosts. */
import type { Finding, SourceText } from "../project.ts";
import { isCode } from "../project.ts";

interface BannedText {
  readonly pattern: RegExp;
  readonly text: string;
  readonly codeOnly: boolean;
}

// Brackets keep these patterns from finding themselves.
const banned: readonly BannedText[] = [
  {
    pattern: /\b(TO[D]O|FIX[M]E|HA[C]K)\b/,
    text: "work left in the text; do it, or open an issue and say the limit in LIMITATIONS.md",
    codeOnly: false,
  },
  {
    pattern: /@ts-(ignor[e]|nochec[k])/,
    text: "a silenced compiler; correct the type",
    codeOnly: true,
  },
  {
    pattern: /\b(it|test|describe|suite|bench)\.(onl[y]|tod[o])\(/,
    text: "a focused or empty test; run all of them",
    codeOnly: true,
  },
  {
    pattern: /\b(it|test|describe|suite)\.ski[p]\(/,
    text: "a test that never runs; skip inside with a stated reason: context.skip(reason)",
    codeOnly: true,
  },
  {
    pattern: /(^|[\s"'`(=:])\/(tm[p]|wor[k]|roo[t]|hom[e]|far[m]|User[s]|var\/tm[p])\//,
    text: "a path of one machine; use os.tmpdir() or a path from the repository",
    codeOnly: false,
  },
  {
    pattern: /registry\.(npmj[s]\.org|yarnpk[g]\.com|npmmirro[r]\.com)|verdacci[o]|artifactor[y]/i,
    text: "a package registry's host; .npmrc and the lockfile name none",
    codeOnly: false,
  },
];

/** Lines that no kept file holds. */
export function checkText(files: readonly SourceText[]): readonly Finding[] {
  const findings: Finding[] = [];
  for (const { path, text } of files) {
    const rules = banned.filter((rule) => isCode(path) || !rule.codeOnly);
    const lines = text.split("\n");
    for (const [index, line] of lines.entries())
      for (const rule of rules)
        if (rule.pattern.test(line))
          findings.push({ check: "text", path, line: index + 1, text: rule.text });
  }
  return findings;
}
