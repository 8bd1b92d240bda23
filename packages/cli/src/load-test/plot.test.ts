import { execFileSync } from "node:child_process";
import { writeFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Chart, lineChart } from "./plot.ts";

const chart: Chart = {
  title: "Latency & <rate>",
  x: "share, percent",
  y: "milliseconds",
  series: [
    {
      name: 'first "one"',
      points: [
        [0, 1],
        [50, 2],
        [100, 40],
      ],
    },
    { name: "second", points: [[0, 10]] },
  ],
};

/** Every tag closed in order, attributes quoted, no bare `&` or `<`: what XML asks of such a text. */
function wellFormed(xml: string): boolean {
  const open: string[] = [];
  const token =
    /<\?xml [^?]*\?>|<(\/?)([A-Za-z]+)((?:\s+[A-Za-z][\w-]*="[^"<&]*")*)\s*(\/?)>|[^<&]+|&(?:amp|lt|gt|quot|apos);/y;
  for (let at = 0; at < xml.length; at = token.lastIndex) {
    token.lastIndex = at;
    const [, closes, name, , alone] = token.exec(xml) ?? [];
    if (token.lastIndex === 0) return false;
    if (name === undefined || alone === "/") continue;
    if (closes !== "/") open.push(name);
    else if (open.pop() !== name) return false;
  }
  return open.length === 0;
}

/** Places that a reader would see: all inside the picture. */
function coordinates(svg: string): readonly number[] {
  return [...svg.matchAll(/(?:points="([^"]*)"| c?[xy]="([^"]*)")/g)].flatMap(([, many, one]) =>
    (many ?? one ?? "")
      .split(/[ ,]/)
      .filter((text) => text !== "")
      .map(Number),
  );
}

function hasXmllint(): boolean {
  try {
    execFileSync("xmllint", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

describe("line chart", () => {
  it("is XML that says what it shows, with its texts escaped", () => {
    const svg = lineChart(chart);
    expect(wellFormed(svg)).toBe(true);
    expect(wellFormed(svg.replace("</text>", ""))).toBe(false);
    expect(wellFormed(`${svg}&nbsp;`)).toBe(false);
    expect(svg).toContain('<title id="t">Latency &amp; &lt;rate&gt;</title>');
    expect(svg).toContain("first &quot;one&quot;");
    expect(svg.match(/<polyline /g)).toHaveLength(2);
  });

  it.skipIf(!hasXmllint())("is XML for xmllint, too", () => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-plot-"));
    try {
      writeFileSync(join(folder, "a.svg"), lineChart(chart));
      execFileSync("xmllint", ["--noout", join(folder, "a.svg")]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("is the same text for the same chart, with ink and ground of both schemes", () => {
    expect(lineChart(chart)).toBe(lineChart(chart));
    const [light = "", dark = ""] = lineChart(chart).split("prefers-color-scheme: dark");
    for (const scheme of [light, dark]) {
      const of = (rule: string): string =>
        new RegExp(`${rule} \\{ (?:fill|stroke): (#[0-9a-f]{6});`).exec(scheme)?.[1] ?? "";
      expect(contrast(of("text"), of("\\.back"))).toBeGreaterThan(7);
      for (const at of [0, 1, 2, 3]) {
        expect(contrast(of(`\\.s${at}`), of("\\.back"))).toBeGreaterThan(3);
        expect(of(`\\.m${at}`)).toBe(of(`\\.s${at}`));
      }
    }
  });

  it("keeps any numbers and any words inside the picture", () => {
    const number = fc.oneof(
      fc.double({ min: -1e9, max: 1e9 }),
      fc.constantFrom(0, 1e-9, Number.NaN),
    );
    const series = fc.record({
      name: fc.string({ unit: "binary" }),
      points: fc.array(fc.tuple(number, number), { maxLength: 40 }),
    });
    const any = fc.record({
      title: fc.string({ unit: "binary" }),
      x: fc.string(),
      y: fc.string(),
      series: fc.array(series, { maxLength: 6 }),
    });
    fc.assert(
      fc.property(any, (drawn) => {
        const svg = lineChart(drawn);
        expect(wellFormed(svg)).toBe(true);
        expect(coordinates(svg).filter((place) => !(place >= 0 && place <= 760))).toEqual([]);
      }),
    );
  });
});

/** Contrast of WCAG 2.2: 3 for graphics, 7 for text at its best level. */
function contrast(one: string, other: string): number {
  const [bright = 0, dim = 0] = [luminance(one), luminance(other)].toSorted((a, b) => b - a);
  return (bright + 0.05) / (dim + 0.05);
}

function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const share = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
