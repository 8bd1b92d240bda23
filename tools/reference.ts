/**
 * The reference of the command and of the error codes: docs/reference/cli.md from the program's own options,
 * docs/reference/errors.md from the table of codes. `npm run docs` rewrites both; the test beside this file
 * fails when they differ.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ErrorCode, errorCodes } from "@holdfast/core";
import { createProgram, exitCodes } from "holdfast";
import { readText, root } from "./project.ts";

type Program = ReturnType<typeof createProgram>;

/** One page of the reference. */
export interface Page {
  readonly path: string;
  readonly text: string;
}

const written = "Written by `npm run docs`; a test fails when this page and the program differ.";

const exitMeanings: Readonly<Record<keyof typeof exitCodes, string>> = {
  ok: "done",
  checkFailed: "a check failed: `verify` found a problem, or `demo` a broken promise",
  usage: "the command line is wrong",
  refused: "refused with a code of [errors.md](errors.md)",
  bug: "a bug of this software, or a Node that is too old",
};

function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function optionRows(command: Program): readonly (readonly string[])[] {
  return command.options.map(({ flags, description, mandatory, defaultValue, argChoices }) => [
    `\`${flags}\``,
    [
      description,
      ...(mandatory ? ["needed"] : []),
      ...(argChoices === undefined ? [] : [`one of ${argChoices.join(", ")}`]),
      ...(defaultValue === undefined ? [] : [`default: ${String(defaultValue)}`]),
    ].join("; "),
  ]);
}

function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

/** A command and those below it that do something, with their full names. */
function sections(command: Program, above: string): readonly string[] {
  const name = `${above} ${command.name()}`;
  if (command.commands.length > 0) return command.commands.flatMap((one) => sections(one, name));
  const words = command.registeredArguments.map((argument) => {
    const shown = argument.variadic ? `${argument.name()}...` : argument.name();
    return argument.required ? ` <${shown}>` : ` [${shown}]`;
  });
  const options = optionRows(command);
  return [
    `## ${name}`,
    `${capital(command.description())}.`,
    `\`${name}${words.join("")}${options.length > 0 ? " [options]" : ""}\``,
    ...(options.length > 0 ? [tableOf(["Option", "Meaning"], options)] : []),
  ];
}

/** docs/reference/cli.md. */
export function cliPage(program: Program): string {
  return `${[
    "# The command `holdfast`",
    written,
    'In this workspace: `npx holdfast`. With `--json` a command writes one object, or one object a line (NDJSON), on standard output and nothing else there; a refusal is one object `{"error":{code,message,action,details}}` on standard error. The passphrase comes from `--passphrase-file`, else from `HOLDFAST_PASSPHRASE`, else from a prompt. `HOLDFAST_STATE` names the state folder (high-water marks, registered keyring copies); default: the XDG state folder.',
    "## Exit codes",
    tableOf(
      ["Code", "Meaning"],
      Object.entries(exitCodes).map(([name, code]) => [
        String(code),
        exitMeanings[name as keyof typeof exitCodes],
      ]),
    ),
    "## Options of every command",
    tableOf(["Option", "Meaning"], optionRows(program)),
    ...program.commands.flatMap((command) => sections(command, program.name())),
  ].join("\n\n")}\n`;
}

const errorsPath = "packages/core/src/std/errors.ts";

/** The file of the codes, with the tables that it spreads in their places. */
export function errorsSource(): string {
  const source = readText(errorsPath);
  return source.replaceAll(/^ {2}\.\.\.(\w+),$/gm, (spread, name: string) => {
    const from = new RegExp(`import \\{ ${name} \\} from "\\./([\\w-]+\\.ts)"`).exec(source)?.[1];
    return from === undefined ? spread : readText(`packages/core/src/std/${from}`);
  });
}

/** Headings of the table of codes, from its comments, each with its codes in order. */
export function groupsOf(source: string): readonly (readonly [string, readonly ErrorCode[]])[] {
  const groups: [string, ErrorCode[]][] = [];
  for (const line of source.split("\n")) {
    const heading = /^ {2}\/\/ (.+)$/.exec(line)?.[1];
    if (heading !== undefined) groups.push([heading, []]);
    const code = /^ {2}([a-z][a-z0-9_]*): \{$/.exec(line)?.[1];
    if (code !== undefined && Object.hasOwn(errorCodes, code))
      groups.at(-1)?.[1].push(code as ErrorCode);
  }
  return groups;
}

/** docs/reference/errors.md. */
export function errorsPage(source: string): string {
  const groups = groupsOf(source).flatMap(([heading, codes]) => [
    `## ${heading}`,
    tableOf(
      ["Code", "Meaning", "What to do"],
      codes.map((code) => [`\`${code}\``, errorCodes[code].meaning, errorCodes[code].action]),
    ),
  ]);
  return `${[
    "# Error codes",
    written,
    "A `HoldfastError` carries one of these codes and `details`: identifiers, counts, offsets and paths, never content. Codes are never renamed or reused.",
    ...groups,
  ].join("\n\n")}\n`;
}

/** Both pages as they have to be. */
export function referencePages(): readonly Page[] {
  return [
    { path: "docs/reference/cli.md", text: cliPage(createProgram()) },
    {
      path: "docs/reference/errors.md",
      text: errorsPage(errorsSource()),
    },
  ];
}

if (import.meta.main)
  for (const { path, text } of referencePages()) writeFileSync(join(root, path), text, "utf8");
