/** Who may import whom: the order of folders in core, packages, barrels, cycles, the lone verifier. */
import { builtinModules } from "node:module";
import ts from "typescript";
import type { Finding, SourceText } from "../project.ts";
import { isTest } from "../project.ts";
import {
  findingAt,
  moduleReferences,
  nodesOf,
  parse,
  readsGlobal,
  resolveRelative,
} from "./syntax.ts";

/** Folders of packages/core/src; each imports itself and the folders before it. */
const coreFolders = [
  "std",
  "telemetry",
  "event",
  "keys",
  "proof",
  "seal",
  "store",
  "audit",
  "outbox",
  "sync",
  "projection",
  "lifecycle",
  "client",
] as const;

const corePrefix = "packages/core/src/";

function coreFolder(path: string): string | undefined {
  if (!path.startsWith(corePrefix)) return undefined;
  const [folder, rest] = path.slice(corePrefix.length).split("/");
  return rest === undefined ? undefined : folder;
}

/** A folder of core imports itself and the folders before it. */
export function checkCoreOrder(sources: readonly SourceText[]): readonly Finding[] {
  const findings: Finding[] = [];
  const order: readonly string[] = coreFolders;
  for (const source of sources) {
    const { path } = source;
    if (!path.startsWith(corePrefix) || path === `${corePrefix}index.ts`) continue;
    const own = order.indexOf(coreFolder(path) ?? "");
    if (own < 0) {
      const text = `stands in no folder of core; move it into one of ${order.join(", ")}`;
      findings.push({ check: "core-order", path, line: 1, text });
      continue;
    }
    for (const { specifier, line } of moduleReferences(source)) {
      if (!specifier.startsWith(".")) continue;
      const target = resolveRelative(path, specifier);
      const folder = coreFolder(target);
      if (target.startsWith(corePrefix) && order.indexOf(folder ?? "") <= own && folder) continue;
      const before = order.slice(0, own + 1).join(", ");
      const text = `imports ${specifier}; ${order[own]} imports only ${before}: move what both need down, or pass it in as a port`;
      findings.push({ check: "core-order", path, line, text });
    }
  }
  return findings;
}

interface PackageRule {
  readonly from: readonly string[];
  readonly types?: readonly string[];
}

const anywhereElse: PackageRule = {
  from: [
    "@holdfast/core",
    "@holdfast/node",
    "@holdfast/web",
    "@holdfast/server",
    "@holdfast/packs",
    "@holdfast/testkit",
  ],
};

/** Which packages the code of a place may import, by npm name; `types`: with `import type` only. */
const packageRules: Readonly<Record<string, PackageRule>> = {
  "packages/core": { from: [] },
  "packages/node": { from: ["@holdfast/core"] },
  "packages/web": { from: ["@holdfast/core"] },
  "packages/server": { from: ["@holdfast/core", "@holdfast/node"] },
  "packages/cli": {
    from: [
      "@holdfast/core",
      "@holdfast/node",
      "@holdfast/packs",
      "@holdfast/server/serve",
      "@holdfast/server/fault-proxy",
    ],
  },
  "packages/packs": { from: ["@holdfast/core"] },
  "packages/console": { from: [], types: ["@holdfast/server/api"] },
  // The simulator runs the server's engine; HTTP stays out of it.
  "packages/testkit": { from: ["@holdfast/core", "@holdfast/server/engine"] },
  // The reference of the command is written from the command itself.
  tools: { from: [...anywhereElse.from, "holdfast"] },
};

/** Tests of a package may also drive it through the Node implementations and the test kit. */
const testsMayImport = ["@holdfast/core", "@holdfast/node", "@holdfast/testkit"];

function placeOf(path: string): string {
  const [top = "", second = ""] = path.split("/");
  return top === "packages" ? `packages/${second}` : top;
}

function allows(list: readonly string[], specifier: string): boolean {
  return list.some((name) => specifier === name || specifier.startsWith(`${name}/`));
}

function isOurs(specifier: string): boolean {
  return specifier.startsWith("@holdfast/") || /^holdfast(\/|$)/.test(specifier);
}

function judgeImport(source: SourceText, specifier: string, typeOnly: boolean): string | undefined {
  const place = placeOf(source.path);
  if (specifier.startsWith(".")) {
    const target = placeOf(resolveRelative(source.path, specifier));
    if (target === place) return undefined;
    if (target === "examples")
      return "imports an example; nothing does: move the code to a package";
    if (!place.startsWith("packages/") && !target.startsWith("packages/")) return undefined;
    return `reaches into ${target} by path; import the package by its name`;
  }
  if (!isOurs(specifier)) return undefined;
  const rule = packageRules[place] ?? anywhereElse;
  const from = isTest(source.path) ? [...rule.from, ...testsMayImport] : rule.from;
  if (allows(from, specifier)) return undefined;
  if (typeOnly && allows(rule.types ?? [], specifier)) return undefined;
  const allowed = [...from, ...(rule.types ?? []).map((name) => `${name} (types)`)].join(", ");
  return `imports ${specifier}; ${place} imports only ${allowed || "no other package"}`;
}

/** Packages import each other by name, in the directions of ARCHITECTURE.md. */
export function checkPackages(sources: readonly SourceText[]): readonly Finding[] {
  return sources.flatMap((source) =>
    moduleReferences(source).flatMap(({ specifier, line, typeOnly }) => {
      const text = judgeImport(source, specifier, typeOnly);
      return text === undefined ? [] : [{ check: "packages", path: source.path, line, text }];
    }),
  );
}

const builtins = new Set(builtinModules);

const impureGlobals: Readonly<Record<string, string>> = {
  setTimeout: "the Timers port",
  setInterval: "the Timers port",
  setImmediate: "the Timers port",
  clearTimeout: "the Timers port",
  clearInterval: "the Timers port",
  queueMicrotask: "an async function",
  fetch: "a transport",
  process: "a value of `deps`",
  crypto: "the Crypto or Random port",
  console: "the Observer port",
  performance: "the Clock port",
  globalThis: "a value of `deps`",
  Buffer: "std/bytes.ts",
  navigator: "a value of `deps`",
  window: "a value of `deps`",
  document: "a value of `deps`",
};

function impureUse(node: ts.Identifier): string | undefined {
  const { parent } = node;
  const replacement = Object.hasOwn(impureGlobals, node.text)
    ? impureGlobals[node.text]
    : undefined;
  if (replacement !== undefined) return `${node.text}; use ${replacement}`;
  const member =
    ts.isPropertyAccessExpression(parent) && parent.expression === node ? parent.name.text : "";
  if (node.text === "Math" && member === "random") return "Math.random; use the Random port";
  if (node.text !== "Date") return undefined;
  // A date made of a number is arithmetic; everything else reads the machine's clock or zone.
  if (member === "UTC") return undefined;
  if (ts.isNewExpression(parent) && (parent.arguments?.length ?? 0) > 0) return undefined;
  if (ts.isBinaryExpression(parent)) return undefined;
  return "the machine's clock; use the Clock port";
}

/** Code of core reaches for nothing outside by itself; its tests may. */
export function checkPurity(sources: readonly SourceText[]): readonly Finding[] {
  const findings: Finding[] = [];
  for (const source of sources) {
    if (!source.path.startsWith(corePrefix) || isTest(source.path)) continue;
    for (const { specifier, line } of moduleReferences(source)) {
      if (!specifier.startsWith("node:") && !builtins.has(specifier)) continue;
      const text = `imports ${specifier}; declare a port in std/ports.ts and implement it in packages/node`;
      findings.push({ check: "purity", path: source.path, line, text });
    }
    if (source.path.endsWith(".d.ts")) continue;
    for (const node of nodesOf(parse(source))) {
      if (!ts.isIdentifier(node)) continue;
      const use = impureUse(node);
      if (use !== undefined && readsGlobal(node))
        findings.push(findingAt("purity", source, node, `reads ${use}`));
    }
  }
  return findings;
}

/** Only the entry points of a package re-export; every other import names the file that declares. */
export function checkBarrels(
  sources: readonly SourceText[],
  entries: ReadonlySet<string>,
): readonly Finding[] {
  const findings: Finding[] = [];
  for (const source of sources) {
    if (!source.path.startsWith("packages/") || entries.has(source.path)) continue;
    if (/\/index\.tsx?$/.test(source.path)) {
      const text = "is a second index; name the file after what it holds";
      findings.push({ check: "barrels", path: source.path, line: 1, text });
    }
    for (const statement of parse(source).statements)
      if (ts.isExportDeclaration(statement) && statement.moduleSpecifier !== undefined) {
        const text = "re-exports; import from the declaring file, re-export in src/index.ts only";
        findings.push(findingAt("barrels", source, statement, text));
      }
  }
  return findings;
}

/** Which file imports which, by relative paths. */
export function importGraph(
  sources: readonly SourceText[],
): ReadonlyMap<string, readonly string[]> {
  const known = new Set(sources.map((source) => source.path));
  return new Map(
    sources.map((source) => [
      source.path,
      moduleReferences(source)
        .filter(({ specifier }) => specifier.startsWith("."))
        .map(({ specifier }) => resolveRelative(source.path, specifier))
        .filter((target) => known.has(target)),
    ]),
  );
}

/** No file reaches itself through its imports; types count. */
export function checkCycles(sources: readonly SourceText[]): readonly Finding[] {
  const graph = importGraph(sources);
  const done = new Set<string>();
  const findings: Finding[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) {
      const cycle = [...trail.slice(start), path].join(" -> ");
      const text = `imports itself: ${cycle}; move what both need into a file that both import`;
      findings.push({ check: "cycles", path, line: 1, text });
      return;
    }
    if (done.has(path)) return;
    for (const target of graph.get(path) ?? []) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return findings;
}

/** The verifier shares no code with the writer: what checks a log never reaches what appends to it. */
export function checkVerifier(sources: readonly SourceText[]): readonly Finding[] {
  const graph = importGraph(sources);
  const isVerifier = (path: string) => /^packages\/.*\/verif[a-z]*(-[a-z-]+)?\.ts$/.test(path);
  const isWriter = (path: string) => /\/(writer(-[a-z-]+)?|seal\/seal)\.ts$/.test(path);
  const findings: Finding[] = [];
  for (const start of graph.keys()) {
    if (!isVerifier(start)) continue;
    const seen = new Set<string>([start]);
    for (const path of seen)
      for (const target of graph.get(path) ?? []) {
        if (isWriter(target)) {
          const text = `reaches the writer (${path} imports ${target}); share only formats and proofs`;
          findings.push({ check: "verifier", path: start, line: 1, text });
        }
        seen.add(target);
      }
  }
  return findings;
}
