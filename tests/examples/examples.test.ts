/** The example applications run as a person would run them, end with 0 and say what they promise. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));
const exampleMsMax = 280_000;

function runExample(name: string): { readonly status: number | null; readonly output: string } {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--conditions=@holdfast/source", `examples/${name}/main.ts`],
    { cwd: root, encoding: "utf8", timeout: exampleMsMax },
  );
  return { status, output: `${stdout}${stderr}` };
}

const promises: Readonly<Record<string, readonly string[]>> = {
  diary: [
    "Offline: five nosebleeds are recorded",
    "2026-03-11  20 min  pouring          retracted, revision 2",
    "screen: 5 entries",
    "screen: 2026-03-02 is amended, 25 min",
    "screen: 2026-03-11 is retracted",
    "nosebleed/2 create  35 min",
    "nosebleed/2 amend   25 min because: The kitchen clock was not set.",
    "before the correction: 35 min",
    "2026-W10  ### 3, on average 14 min",
    "told of a conflict, nothing is recorded",
    "dripping_quickly amended, revision 3",
    "10 entries wait for a connection",
  ],
  "home-monitoring": [
    "temperature        37 Cel         normal",
    "glucose            5.495 mmol/L   normal",
    "refused: the room is there already",
    "refused: no such device is in use",
    "Cuff stands in room/2, online, battery 81 %",
    "Critical now: heart_rate, oxygen_saturation",
    "By level: ",
    'profile:  {"name":"Ada Example","language":"de","height_cm":168}',
    "sessions still open: 0",
    "all as recorded",
  ],
};

describe("example applications", () => {
  it("are all listed here", () => {
    const there = readdirSync(`${root}examples`).filter((name) =>
      existsSync(`${root}examples/${name}/main.ts`),
    );
    expect(there.toSorted()).toEqual(Object.keys(promises).toSorted());
  });

  it.each(Object.entries(promises))("%s runs and explains itself", (name, lines) => {
    const { status, output } = runExample(name);
    expect({ status, output: status === 0 ? "" : output }).toEqual({ status: 0, output: "" });
    for (const line of lines) expect(output).toContain(line);
  });
});
