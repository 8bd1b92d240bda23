import { expect, it } from "vitest";
import { createProgram } from "../program.ts";
import { UsageError } from "../store.ts";

it.each([
  [[], "Say what to rotate"],
  [["--epoch", "--data"], "Say what to rotate"],
  [["--epoch", "--scope", "a"], "--scope goes with --data"],
  [["--signing", "--destroy-former"], "--destroy-former goes with --data"],
  [["--provider", "--new-passphrase-file", "a"], "--new-passphrase-file goes with --passphrase"],
])("keys rotate %j is refused", async (words, says) => {
  const program = createProgram().parseAsync(["keys", "rotate", ...words], { from: "user" });
  const error: unknown = await program.then(
    () => "nothing was thrown",
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(UsageError);
  expect(String(error)).toContain(says);
});
