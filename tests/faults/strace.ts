/**
 * Everything that a process writes to files, seen from outside of it with strace: also temporary files that
 * were deleted before they had a name anyone could look for. Pipes, sockets and devices are not files.
 * Writes through memory maps are not seen; look into the files that remain with {@link findInFolder}.
 */
import { spawnSync } from "node:child_process";
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runChild, type ChildResult } from "./child.ts";
import { withScratch, type Available } from "./native.ts";

/** One call that took bytes for a file. */
export interface FileWrite {
  readonly path: string;
  /** The file had no name any more. */
  readonly deleted: boolean;
  readonly data: Buffer;
}

/** A marker found in clear: which one, and in which file. */
export interface PlaintextHit {
  readonly marker: string;
  readonly path: string;
}

export interface TracedRun extends ChildResult {
  readonly writes: readonly FileWrite[];
  /** Files written, created, renamed or deleted, sorted. */
  readonly paths: readonly string[];
  /** Markers that appear in any written bytes, also across two writes to the same file. */
  findPlaintext(markers: readonly string[]): readonly PlaintextHit[];
}

const STRING_BYTES_MAX = 64 * 1_048_576;
const WRITES = "write,writev,pwrite64,pwritev,pwritev2";
const NAMES = "open,openat,creat,rename,renameat,renameat2,unlink,unlinkat,link,linkat";
/** Ways to put bytes into a file that strace does not show. Their use is an error of the trace. */
const BLIND = "sendfile,copy_file_range,splice,io_uring_setup";

/** Whether strace is installed and may trace. */
export function straceAvailable(): Available<true> {
  if (process.platform !== "linux") return { ok: false, reason: "strace needs Linux" };
  const probe = spawnSync("strace", [
    "-qq",
    "-f",
    "--seccomp-bpf",
    "-o",
    join(tmpdir(), `holdfast-strace-probe-${process.pid}`),
    "true",
  ]);
  if (probe.error !== undefined) return { ok: false, reason: "strace is not installed" };
  if (probe.status !== 0)
    return { ok: false, reason: `strace may not trace: ${probe.stderr.toString()}` };
  return { ok: true, value: true };
}

/** Runs a Node child to its end under strace. Throws when the trace cannot be read completely. */
export function runTraced(options: {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}): Promise<TracedRun> {
  return withScratch("strace", async (folder) => {
    const output = join(folder, "trace");
    const flags = ["-f", "--seccomp-bpf", "-qq", "-xx", "-y", "-s", String(STRING_BYTES_MAX)];
    const trace = ["-e", `trace=${WRITES},${NAMES},${BLIND}`, "-e", "signal=none", "-o", output];
    const result = await runChild({
      argv: options.argv,
      env: { ...options.env, UV_USE_IO_URING: "0" },
      wrapper: ["strace", ...flags, ...trace],
    });
    const { writes, paths } = parseTrace(readFileSync(output));
    return { ...result, writes, paths, findPlaintext: (markers) => searchWrites(writes, markers) };
  });
}

interface Trace {
  readonly writes: readonly FileWrite[];
  readonly paths: readonly string[];
}

/** Reads the output of `strace -f -qq -xx -y`. Every string is in hexadecimal, so a line is a call. */
function parseTrace(trace: Buffer): Trace {
  const writes: FileWrite[] = [];
  const paths = new Set<string>();
  for (let start = 0; start < trace.length;) {
    const newline = trace.indexOf(10, start);
    const end = newline < 0 ? trace.length : newline;
    // Arguments that go into the kernel are printed at entry, also when the call is `<unfinished ...>`.
    const line = trace.toString("latin1", start, end).replace(/^\d+ +/, "");
    start = end + 1;
    const call = /^(\w+)\(/.exec(line)?.[1];
    if (call === undefined) continue;
    if (WRITES.split(",").includes(call)) {
      const write = parseWrite(line);
      if (write === undefined) continue;
      writes.push(write);
      paths.add(write.path);
    } else if (BLIND.split(",").includes(call)) {
      // libuv makes a ring for epoll in any case; only one with a polling thread could take file calls.
      if (call === "io_uring_setup" && !line.includes("IORING_SETUP_SQPOLL")) continue;
      if (!/= -1 E/.test(line)) throw new Error(`the trace cannot show what ${call} wrote`);
    } else if (!call.startsWith("open") || /O_CREAT|O_TRUNC/.test(line)) {
      for (const quoted of line.matchAll(/"((?:\\x..)*)"/g))
        paths.add(decode(quoted[1] ?? "").toString());
    }
  }
  return { writes, paths: [...paths].sort() };
}

function parseWrite(line: string): FileWrite | undefined {
  const target = /^\w+\(\d+<((?:\\x..|[^>\\])*)>(\(deleted\))?/.exec(line);
  if (target === null) throw new Error("a write in the trace names no file");
  const path = decode(target[1] ?? "").toString();
  if (!path.startsWith("/") || path.startsWith("/dev/pts") || path === "/dev/null")
    return undefined;
  const parts: Buffer[] = [];
  // Not one regular expression over the line: a write may have megabytes.
  for (let open = line.indexOf('"'); open >= 0;) {
    const close = line.indexOf('"', open + 1);
    if (line.startsWith("...", close + 1))
      throw new Error("a write is longer than the trace keeps");
    parts.push(decode(line.slice(open + 1, close)));
    open = line.indexOf('"', close + 1);
  }
  return { path, deleted: target[2] !== undefined, data: Buffer.concat(parts) };
}

/** `\x68\xc3` to bytes. Text that is not escaped stays as it is. */
function decode(text: string): Buffer {
  if (!text.includes("\\x")) return Buffer.from(text, "latin1");
  return Buffer.from(text.replaceAll("\\x", ""), "hex");
}

function searchWrites(
  writes: readonly FileWrite[],
  markers: readonly string[],
): readonly PlaintextHit[] {
  const search = createSearch(markers);
  const tails = new Map<string, Buffer>();
  const hits = new Map<string, PlaintextHit>();
  for (const { path, data } of writes) {
    const joined = Buffer.concat([tails.get(path) ?? Buffer.alloc(0), data]);
    for (const marker of search.find(joined)) hits.set(`${marker}\0${path}`, { marker, path });
    tails.set(path, Buffer.from(joined.subarray(Math.max(0, joined.length - search.longest + 1))));
  }
  return [...hits.values()];
}

/** Markers in the files that lie below `folder` now. */
export function findInFolder(folder: string, markers: readonly string[]): readonly PlaintextHit[] {
  const search = createSearch(markers);
  const hits: PlaintextHit[] = [];
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const path = join(folder, name);
    if (!lstatSync(path).isFile()) continue;
    for (const marker of search.find(readFileSync(path))) hits.push({ marker, path });
  }
  return hits;
}

/**
 * Many markers (UTF-8) in one pass: a bitmap of their first three bytes turns most positions away.
 */
function createSearch(markers: readonly string[]): {
  readonly longest: number;
  find(data: Buffer): ReadonlySet<string>;
} {
  const byStart = new Map<number, { readonly marker: string; readonly bytes: Buffer }[]>();
  const starts = new Uint8Array(2 ** 24);
  let longest = 0;
  for (const marker of markers) {
    const bytes = Buffer.from(marker, "utf8");
    if (bytes.length < 4)
      throw new Error("a marker of fewer than four bytes would be found by chance");
    longest = Math.max(longest, bytes.length);
    const start = bytes.readUIntBE(0, 3);
    starts[start] = 1;
    byStart.set(start, [...(byStart.get(start) ?? []), { marker, bytes }]);
  }
  return {
    longest,
    find(data) {
      const found = new Set<string>();
      let start = 0;
      for (let at = 0; at < data.length; at += 1) {
        start = ((start << 8) | (data[at] as number)) & 0xffffff;
        if (starts[start] !== 1 || at < 2) continue;
        for (const { marker, bytes } of byStart.get(start) ?? []) {
          if (data.subarray(at - 2, at - 2 + bytes.length).equals(bytes)) found.add(marker);
        }
      }
      return found;
    },
  };
}
