/**
 * The model reference: fields, types, nullability, defaults, examples and evolution of every model, from the
 * schemas of the domain packs, the tables of the store and the types of core. `npm run docs` rewrites
 * docs/reference/models.md; the test beside this file fails when they differ.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createRegistry, type EventType, schema as storeSchema } from "@holdfast/core";
import {
  diaryEvents,
  eventExamples,
  fhirEvents,
  homeEvents,
  legacyEvents,
  packProjections,
  payloadFields,
  vitalSigns,
} from "@holdfast/packs";
import ts from "typescript";
import { rowExamples } from "./models/examples.ts";
import { readText, root } from "./project.ts";

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function json(value: unknown): string {
  return `\`\`\`json\n${JSON.stringify(value, null, 2)}\n\`\`\``;
}

function domainPage(type: EventType): string {
  const section = (field: string): string =>
    Object.entries(type.sections).find(([, fields]) => fields.includes(field))?.[0] ?? "content";
  const fields = payloadFields(type).map((field) => [
    `\`${field.name}\``,
    field.type,
    field.nullable ? "yes" : "no",
    field.required ? "required" : "optional",
    field.default === undefined ? "" : `\`${JSON.stringify(field.default)}\``,
    field.bounds,
    section(field.name),
  ]);
  const head = ["field", "type", "null", "given", "default", "bounds", "section"];
  const { current = {}, former = {} } = eventExamples[type.type] ?? {};
  const registry = createRegistry([type]);
  const facts = `Schema version ${type.version}, ${type.concurrency}, conflicts settled by: ${strategyName(type.strategy)}.`;
  const evolution = Object.entries(former).flatMap(([version, old]) => [
    `Version ${version} was:`,
    json(old),
    `An upcaster lifts it when it is read:`,
    json(registry.read(type.type, Number(version), old).payload),
  ]);
  return [
    `### ${type.type}`,
    facts,
    fields.length === 0 ? "No fields." : table(head, fields),
    json(current),
    ...evolution,
  ].join("\n\n");
}

/** One column of a table of the store. */
export interface Column {
  readonly name: string;
  readonly type: string;
  readonly nullable: boolean;
  readonly rule: string;
}

/** Columns of a table, from the DDL of the store. */
export function columnsOf(tableName: string): readonly Column[] {
  const body = new RegExp(`CREATE TABLE ${tableName} \\(\\n([\\s\\S]*?)\\n\\) STRICT`).exec(
    storeSchema,
  );
  return (body?.[1] ?? "").split("\n").flatMap((line) => {
    const found = /^ {2}([a-z_]+) (TEXT|INTEGER|BLOB|REAL)(.*?),?$/.exec(line);
    if (found === null) return [];
    const [, name = "", type = "", rest = ""] = found;
    const nullable = !/NOT NULL|PRIMARY KEY/.test(rest);
    return [{ name, type, nullable, rule: rest.replace("NOT NULL", "").trim() }];
  });
}

function columnTable(name: string): string {
  return table(
    ["column", "SQLite", "null", "rule"],
    columnsOf(name).map((column) => [
      `\`${column.name}\``,
      column.type,
      column.nullable ? "yes" : "no",
      column.rule,
    ]),
  );
}

/** Members of an exported interface or object type: name, type, optional, what its comment says. */
export function membersOf(path: string, name: string): readonly (readonly string[])[] {
  const tree = ts.createSourceFile(path, readText(path), ts.ScriptTarget.ES2024, true);
  const found = tree.statements.find(
    (one): one is ts.InterfaceDeclaration | ts.TypeAliasDeclaration =>
      (ts.isInterfaceDeclaration(one) || ts.isTypeAliasDeclaration(one)) && one.name.text === name,
  );
  if (found === undefined) throw new Error(`${path} declares no ${name}`);
  const shape = ts.isInterfaceDeclaration(found) ? found : found.type;
  if (!ts.isInterfaceDeclaration(shape) && !ts.isTypeLiteralNode(shape))
    throw new Error(`${path}: ${name} has no members`);
  return shape.members.filter(ts.isPropertySignature).map((member) => {
    const comment = ts.getJSDocCommentsAndTags(member).map(({ comment }) => comment ?? "");
    return [
      `\`${member.name.getText()}\``,
      `\`${(member.type?.getText() ?? "").replace(/\s+/g, " ")}\``,
      member.questionToken === undefined ? "no" : "yes",
      comment.join(" ").replace(/\s+/g, " "),
    ];
  });
}

const core = "packages/core/src";

/** Models of core that are types: title, what it is, file, name, and the headings of the extended types. */
export const typeModels = [
  ["Draft", "An event before it is sealed.", `${core}/event/event.ts`, "Draft"],
  ["Header", "The sealed part of an event, JCS.", `${core}/event/event.ts`, "Header"],
  ["Event on the wire", "An event as JSON.", `${core}/event/wire.ts`, "WireEvent"],
  [
    "Commit note",
    "What one transaction appends is covered by one signed note.",
    `${core}/seal/sealed-event.ts`,
    "CommitNote",
  ],
  ["High-water mark", "Kept outside the store's folder.", `${core}/store/mark.ts`, "Mark"],
  ["Keyring header", "First line of a keyring file.", `${core}/keys/record.ts`, "HeaderRecord"],
  ["Keyring provider", "A key provider of the store.", `${core}/keys/record.ts`, "ProviderLine"],
  ["Keyring epoch", "Wraps of the epoch key.", `${core}/keys/record.ts`, "EpochRecord"],
  [
    "Keyring data key",
    "The key of one scope's section.",
    `${core}/keys/record.ts`,
    "DataKeyRecord",
  ],
  ["Keyring signing key", "Of one incarnation.", `${core}/keys/record.ts`, "SigningRecord"],
  ["Keyring HPKE key", "Grants are wrapped to it.", `${core}/keys/record.ts`, "HpkeRecord"],
] as const;

const typeMap: readonly (readonly string[])[] = [
  ["string", "string", "TEXT", "string, code"],
  ["number", "number", "REAL", "decimal"],
  ["number (safe integer)", "number", "INTEGER", "integer"],
  ["boolean", "true, false", "INTEGER 0, 1", "boolean"],
  ["string (instant, with offset)", "ISO 8601 string", "TEXT, UTC with milliseconds", "dateTime"],
  [
    "number (recordedAt and the like)",
    "ISO 8601 UTC with milliseconds",
    "INTEGER, UTC ms",
    "instant",
  ],
  ["string (calendar day)", "`YYYY-MM-DD`", "TEXT", "date"],
  ["null", "null", "NULL", "element left out"],
  ["undefined", "field left out", "NULL", "element left out"],
  ["union of literals", "string", "TEXT with CHECK", "code"],
  ["readonly T[]", "array", "in the state, JSON TEXT", "repeated element"],
  ["object", "object", "in the state, JSON TEXT", "BackboneElement"],
  ["Uint8Array", "base64 or base64url string", "BLOB", "base64Binary"],
];

function vitalSignTable(): string {
  const rows = Object.entries(vitalSigns).map(([kind, { loinc, components, unit }]) => [
    kind,
    components === undefined ? loinc : `${loinc} (${components.value}, ${components.diastolic})`,
    unit,
    components === undefined ? "Observation.valueQuantity" : "Observation.component.valueQuantity",
  ]);
  return table(["kind", "LOINC", "UCUM", "FHIR R4"], rows);
}

function readModelTable(): string {
  const rows = packProjections.map(({ name, version, columns, types }) => [
    `\`${name}\``,
    String(version),
    Object.entries(columns)
      .map(([column, type]) => `${column} ${type}`)
      .join(", "),
    types.length > 12 ? `${types.length} types` : types.join(", "),
  ]);
  return table(["read model", "version", "columns", "folds"], rows);
}

function systemPages(): readonly string[] {
  const rows = rowExamples.map(({ title, table: name, says, row }) =>
    [`### ${title}`, `${says} Table \`${name}\`.`, columnTable(name), json(row)].join("\n\n"),
  );
  const tables = ["events", "frames", "commits", "streams"].map((name) =>
    [`### Table \`${name}\``, columnTable(name)].join("\n\n"),
  );
  const types = typeModels.map(([title, says, path, name]) =>
    [
      `### ${title}`,
      `${says} [${name}](../../${path})`,
      table(["field", "TypeScript", "optional", "meaning"], membersOf(path, name)),
    ].join("\n\n"),
  );
  return [...types, ...tables, ...rows];
}

/** The whole page. */
export function renderModels(): string {
  const part = (title: string, types: readonly EventType[]): string =>
    [`## ${title}`, ...types.map(domainPage)].join("\n\n");
  return `${[
    "# Models",
    "Written by `npm run docs` from the schemas; a test fails when they differ, and another records every example in a store and reads it back.",
    'Names are snake_case on the wire and in payloads, camelCase in code. In a payload a field that is not known is null or left out, as its table says; "given: optional" with a default means that the recorded payload has the field. Outside payloads what is absent is left out, never null. Field order means nothing.',
    "A payload shape changes by a new schema version with an upcaster from the one before; recorded bytes never change. A new optional field with a default needs no new version. An event of an unknown type or a newer version is kept and forwarded, and projections skip it.",
    "## Types",
    table(["TypeScript", "JSON", "SQLite", "FHIR R4"], typeMap),
    "### Vital signs",
    vitalSignTable(),
    part("Diary", diaryEvents),
    part("Home monitoring", homeEvents),
    part("Outboxes taken over", legacyEvents),
    `## FHIR\n\n${fhirEvents.length} event types, \`fhir.<resource type>\`: the content is the resource's own JSON text, kept byte for byte. Fields are those of FHIR R4.`,
    `## Read models\n\n${readModelTable()}`,
    "## System models",
    "An *audit event* is an event of a system type with the operation `access`, `key` or `admin`: the header below, its plain fields in `pub`. No such type is recorded yet; the operations are reserved. A *grant* is JCS text of its own, with worked examples in [grant.json](../../spec/vectors/grant.json); the keyring file is described in [keyring.md](../../spec/keyring.md).",
    ...systemPages(),
  ].join("\n\n")}\n`;
}

/** Where the page lies. */
export const modelsPath = "docs/reference/models.md";

if (import.meta.main) writeFileSync(join(root, modelsPath), renderModels(), "utf8");

/** Name of a conflict strategy, custom or ours. */
function strategyName(strategy: EventType["strategy"]): string {
  return typeof strategy === "string" ? strategy : strategy.name;
}
