import { type Command, CommanderError } from "commander";
import { describe, expect, it } from "vitest";
import { allCommands, createProgram } from "./program.ts";

function pathOf(command: Command): string {
  const { parent } = command;
  return parent?.parent ? `${pathOf(parent)} ${command.name()}` : command.name();
}

/** What the command of that path is given: its arguments, then all its options. */
async function given(path: string, ...words: readonly string[]): Promise<readonly unknown[]> {
  const program = createProgram();
  const all = allCommands(program);
  for (const each of all) each.configureOutput({ writeErr: () => undefined });
  const command = all.find((each) => pathOf(each) === path) as Command;
  let taken: readonly unknown[] = [];
  command.action((...parts: readonly unknown[]) => {
    taken = [...parts.slice(0, -2), command.optsWithGlobals()];
  });
  await program.parseAsync([...path.split(" "), ...words], { from: "user" });
  return taken;
}

// -V and -h are options of every command, and a second dash begins a long one.
const ids = [
  "-abcdefghijklmnopqrstg",
  "-VZcdefghijklmnopqrstg",
  "-hZcdefghijklmnopqrstg",
  "--Zcdefghijklmnopqrstg",
  "-VhZcdefghijklmnopqrstuvwxyz0123456789ABCD8",
];

describe.each(ids)("an id that begins with a dash: %s", (id) => {
  it.each(["show", "history", "outbox show", "outbox redrive", "outbox archive"])(
    "is the argument of %s",
    async (path) => {
      expect(await given(path, id, "--json")).toEqual([
        id,
        expect.objectContaining({ json: true }),
      ]);
      expect(await given(path, "--store", "s", id)).toMatchObject([id, { store: "s" }]);
      expect(await given(path, "--", id)).toMatchObject([id, {}]);
    },
  );

  it("stands anywhere among options, and is the value of one", async () => {
    const revoke = (...words: readonly string[]) => given("devices revoke", ...words);
    expect(await revoke(id, "--why", "lost")).toMatchObject([id, { why: "lost" }]);
    expect(await revoke("--why", "lost", id, "--json")).toMatchObject([id, { json: true }]);
    expect(await revoke("--why", id, "abc")).toMatchObject(["abc", { why: id }]);
    expect(await given("log", "--actor", id)).toMatchObject([{ actor: id }]);
  });
});

it.each(["-abc", "--no-such-option", "-abcdefghijklmnopqrstu", "--abcdefghijklmnopqrstuvw"])(
  "%s is an option, and not known",
  async (word) => {
    await expect(given("show", word)).rejects.toBeInstanceOf(CommanderError);
  },
);
