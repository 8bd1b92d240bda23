/**
 * Line charts as SVG: a title, two axes with ticks, a line with a marker and a name for each series. Pure: the same
 * chart is the same text. Lines differ by colour and by marker; colours follow the reader's scheme, light or dark,
 * on a background of their own, so that the chart can be read wherever it is embedded.
 */

/** One line of a chart. */
export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** What is drawn. */
export interface Chart {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
}

const width = 760;
const height = 420;
const frame = { left: 72, right: 24, top: 48, bottom: 56 } as const;
const inner = {
  width: width - frame.left - frame.right,
  height: height - frame.top - frame.bottom,
} as const;
/** Told apart without colours, too: each has a marker of its own. */
const markers = ["circle", "square", "triangle", "diamond"] as const;
const markersEach = 8;

interface Scheme {
  readonly back: string;
  readonly ink: string;
  readonly grid: string;
  readonly lines: readonly string[];
}

// Okabe and Ito's palette, which people with any colour vision tell apart; lighter in the dark.
const light: Scheme = {
  back: "#ffffff",
  ink: "#1f2328",
  grid: "#d8dee4",
  lines: ["#0072b2", "#b34700", "#007a5a", "#9b4d83"],
};
const dark: Scheme = {
  back: "#0d1117",
  ink: "#e6edf3",
  grid: "#30363d",
  lines: ["#56b4e9", "#e69f00", "#2fc79a", "#e08fc0"],
};

/** Plain rules without variables: viewers that know little of CSS show the light scheme. */
function rulesOf({ back, ink, grid, lines }: Scheme): string {
  const series = lines.map((hue, at) => `.s${at} { stroke: ${hue}; } .m${at} { fill: ${hue}; }`);
  return [
    `.back { fill: ${back}; } text { fill: ${ink}; } .grid { stroke: ${grid}; }`,
    ...series,
  ].join("\n");
}

const style = `
text { font: 13px system-ui, sans-serif; } .title { font-size: 16px; font-weight: 600; }
.grid { stroke-width: 1; } .line { fill: none; stroke-width: 2; }
${rulesOf(light)}
@media (prefers-color-scheme: dark) {
${rulesOf(dark)}
}
`;

/** The chart as a document of its own. Series beyond the fourth begin with the first colour again. */
export function lineChart(chart: Chart): string {
  const points = chart.series.flatMap((series) => series.points);
  const x = scaleOf(points.map(([value]) => value));
  const y = scaleOf(points.map(([, value]) => value));
  const placeX = (value: number): number => frame.left + x.share(value) * inner.width;
  const placeY = (value: number): number => frame.top + (1 - y.share(value)) * inner.height;
  const parts = [
    `<rect class="back" width="${width}" height="${height}"/>`,
    `<text class="title" x="${frame.left}" y="26">${escaped(chart.title)}</text>`,
    ...y.ticks.map((tick) => horizontal(placeY(tick), y.text(tick))),
    ...x.ticks.map((tick) => vertical(placeX(tick), x.text(tick))),
    `<text x="${frame.left + inner.width / 2}" y="${height - 14}" text-anchor="middle">${escaped(chart.x)}</text>`,
    `<text transform="translate(18 ${frame.top + inner.height / 2}) rotate(-90)" text-anchor="middle">${escaped(chart.y)}</text>`,
    ...chart.series.map((series, at) => drawn(series, at, placeX, placeY)),
    ...chart.series.map((series, at) => legend(series.name, at)),
  ];
  const described = chart.series.map(({ name }) => name).join(", ");
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="t d">`,
    `<title id="t">${escaped(chart.title)}</title>`,
    `<desc id="d">${escaped(`${chart.y} over ${chart.x}: ${described}`)}</desc>`,
    `<style>${style}</style>`,
    ...parts,
    "</svg>\n",
  ].join("\n");
}

interface Scale {
  readonly ticks: readonly number[];
  /** 0 at the first tick, 1 at the last. */
  share(value: number): number;
  text(tick: number): string;
}

const ticksAbout = 6;

/** From 0, or the round number below the least, to the round number above the most, in steps of 1, 2 or 5. */
function scaleOf(values: readonly number[]): Scale {
  const known = values.filter(Number.isFinite);
  const most = Math.max(0, ...known);
  const least = Math.min(0, ...known);
  // Less than this is drawn as nothing: no step divides it.
  const span = most - least > 1e-12 ? most - least : 1;
  const raw = span / ticksAbout;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5, 10].find((each) => each * power >= raw) ?? 10) * power;
  const from = Math.floor(least / step) * step;
  const count = Math.max(1, Math.ceil((most - from) / step - 1e-9));
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = Array.from({ length: count + 1 }, (_, at) => from + at * step);
  return {
    ticks,
    share: (value) => (value - from) / (count * step),
    text: (tick) => grouped(tick.toFixed(digits)),
  };
}

function grouped(text: string): string {
  return text.replaceAll(/\B(?=(\d{3})+(?!\d))(?<!\.\d*)/g, ",");
}

function horizontal(y: number, text: string): string {
  const at = rounded(y);
  return [
    `<line class="grid" x1="${frame.left}" x2="${frame.left + inner.width}" y1="${at}" y2="${at}"/>`,
    `<text x="${frame.left - 8}" y="${at}" text-anchor="end" dominant-baseline="middle">${text}</text>`,
  ].join("\n");
}

function vertical(x: number, text: string): string {
  const at = rounded(x);
  const foot = frame.top + inner.height;
  return [
    `<line class="grid" x1="${at}" x2="${at}" y1="${frame.top}" y2="${foot}"/>`,
    `<text x="${at}" y="${foot + 18}" text-anchor="middle">${text}</text>`,
  ].join("\n");
}

function drawn(
  { points }: Series,
  at: number,
  placeX: (value: number) => number,
  placeY: (value: number) => number,
): string {
  const known = points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
  const placed = known.map(([x, y]) => [rounded(placeX(x)), rounded(placeY(y))] as const);
  const colour = at % markers.length;
  const every = Math.max(1, Math.floor(placed.length / markersEach));
  const marked = placed.filter((_, index) => index % every === 0 || index === placed.length - 1);
  return [
    `<polyline class="line s${colour}" points="${placed.map(([x, y]) => `${x},${y}`).join(" ")}"/>`,
    ...marked.map(([x, y]) => marker(colour, x, y)),
  ].join("\n");
}

/** Names stand at the top left, where a chart that grows to the right is empty. */
function legend(name: string, at: number): string {
  const y = frame.top + 16 + at * 20;
  const x = frame.left + 16;
  return [
    marker(at % markers.length, x, y),
    `<text x="${x + 12}" y="${y}" dominant-baseline="middle">${escaped(name)}</text>`,
  ].join("\n");
}

function marker(colour: number, x: number, y: number): string {
  const point = `class="m${colour}"`;
  switch (markers[colour]) {
    case "square":
      return `<rect ${point} x="${rounded(x - 3.5)}" y="${rounded(y - 3.5)}" width="7" height="7"/>`;
    case "triangle":
      return `<path ${point} d="M${x} ${rounded(y - 4.5)}l4.5 8h-9z"/>`;
    case "diamond":
      return `<path ${point} d="M${x} ${rounded(y - 5)}l4 5l-4 5l-4 -5z"/>`;
    default:
      return `<circle ${point} cx="${x}" cy="${y}" r="4"/>`;
  }
}

function rounded(value: number): number {
  return Number(value.toFixed(2));
}

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&apos;",
};

/** Text of XML 1.0: its special characters as entities, what it cannot hold left out. */
function escaped(text: string): string {
  return text
    .toWellFormed()
    .replaceAll(/[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/gu, "")
    .replaceAll(/[&<>"']/g, (character) => entities[character] ?? "");
}
