/** The log that recorder.c writes, decoded. Record layout: header of recorder.c. */

/** What happened, in order. Paths are absolute; `inode` joins changes with the file that was opened. */
export type LogRecord =
  | {
      readonly type: "open";
      readonly path: string;
      readonly inode: number;
      readonly created: boolean;
      readonly truncated: boolean;
      readonly directory: boolean;
    }
  | {
      readonly type: "write";
      readonly inode: number;
      readonly offset: number;
      readonly data: Uint8Array;
    }
  | { readonly type: "truncate"; readonly inode: number; readonly size: number }
  | { readonly type: "sync"; readonly inode: number; readonly failed: boolean }
  | { readonly type: "close"; readonly inode: number }
  | { readonly type: "rename"; readonly from: string; readonly to: string }
  | { readonly type: "link"; readonly from: string; readonly to: string }
  | { readonly type: "unlink"; readonly path: string }
  | { readonly type: "mkdir"; readonly path: string; readonly inode: number }
  | { readonly type: "rmdir"; readonly path: string }
  | { readonly type: "ack"; readonly text: string };

const HEADER_BYTES = 40;

/**
 * Decodes a log. Throws when the workload did something that the model does not know (recorded as `?`): the
 * states would be wrong. A torn record at the end, left by a killed process, is dropped.
 */
export function decodeLog(log: Buffer): readonly LogRecord[] {
  const records: LogRecord[] = [];
  let at = 0;
  while (at + HEADER_BYTES <= log.length) {
    const sizes = [log.readUInt32LE(at + 24), log.readUInt32LE(at + 28), log.readUInt32LE(at + 32)];
    const [pathSize, path2Size, dataSize] = sizes as [number, number, number];
    const end = at + HEADER_BYTES + pathSize + path2Size + dataSize;
    if (end > log.length) break;
    const body = at + HEADER_BYTES;
    const path = log.toString("utf8", body, body + pathSize);
    const path2 = log.toString("utf8", body + pathSize, body + pathSize + path2Size);
    records.push(decodeRecord(log, at, path, path2, log.subarray(end - dataSize, end)));
    at = end;
  }
  return records;
}

function decodeRecord(
  log: Buffer,
  at: number,
  path: string,
  path2: string,
  data: Buffer,
): LogRecord {
  const type = String.fromCharCode(log.readUInt32LE(at));
  const flags = log.readUInt32LE(at + 4);
  const inode = Number(log.readBigUInt64LE(at + 8));
  const offset = Number(log.readBigUInt64LE(at + 16));
  switch (type) {
    case "O": {
      const created = (flags & 1) !== 0;
      const truncated = (flags & 2) !== 0;
      return { type: "open", path, inode, created, truncated, directory: (flags & 4) !== 0 };
    }
    case "W":
      return { type: "write", inode, offset, data };
    case "T":
      return { type: "truncate", inode, size: offset };
    case "S":
    case "F":
      return { type: "sync", inode, failed: type === "F" };
    case "C":
      return { type: "close", inode };
    case "R":
      return { type: "rename", from: path, to: path2 };
    case "L":
      return { type: "link", from: path, to: path2 };
    case "U":
      return { type: "unlink", path };
    case "M":
      return { type: "mkdir", path, inode };
    case "X":
      return { type: "rmdir", path };
    case "A":
      return { type: "ack", text: data.toString("utf8") };
    default:
      throw new Error(`the workload did what the power-loss model does not know: ${type} ${path}`);
  }
}
