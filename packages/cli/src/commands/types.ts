import { type EventType, HoldfastError } from "@holdfast/core";
import { eventExamples, fhirEventTypes, payloadFields } from "@holdfast/packs";
import { Command } from "commander";
import { type Output, table } from "../output.ts";
import { registry } from "../store.ts";
import { contextOf } from "./options.ts";

const fhirTypes: ReadonlySet<string> = new Set(fhirEventTypes);

const meanings = {
  exclusive: "two events recorded on one stream at the same time are a conflict",
  independent: "events recorded on one stream at the same time do not conflict",
} as const;

/** `holdfast types [TYPE]`: what can be appended. Needs no store. */
export function typesCommand(): Command {
  return new Command("types")
    .description("event types that can be appended; with a name, its fields and an example")
    .argument("[type]", "name of an event type")
    .action(async (name: string | undefined, _, command: Command) => {
      const { output } = contextOf(command);
      if (name === undefined) return listTypes(output);
      const type = registry.types.get(name);
      if (type === undefined)
        throw new HoldfastError("event_type_unknown", { type: name.slice(0, 128) });
      return showType(type, output);
    });
}

async function listTypes(output: Output): Promise<void> {
  const types = [...registry.types.values()];
  for (const type of types) await output.row(rowOf(type));
  const cells = types
    .filter(({ type }) => !fhirTypes.has(type))
    .map((type) => [
      type.type,
      type.version,
      type.concurrency,
      payloadFields(type)
        .map(({ name, required }) => (required ? name : `[${name}]`))
        .join(" "),
    ]);
  await output.say(
    table(["type", "version", "concurrency", "fields, optional in brackets"], cells),
  );
  await output.say(
    `\n${fhirTypes.size} types more, fhir.Account to fhir.VisionPrescription, take a FHIR R4 resource as it is;`,
  );
  await output.say(
    "holdfast import fhir records whole bundles. holdfast types TYPE shows one type.",
  );
}

async function showType(type: EventType, output: Output): Promise<void> {
  await output.row(rowOf(type));
  await output.say(`${type.type}, schema version ${type.version}`);
  await output.say(`${type.concurrency}: ${meanings[type.concurrency]}\n`);
  const fields = payloadFields(type).map((field) => [
    field.name,
    field.nullable ? `${field.type} or null` : field.type,
    field.bounds,
    field.required ? "required" : "",
    field.default === undefined ? "" : JSON.stringify(field.default),
  ]);
  if (fhirTypes.has(type.type)) await output.say("The payload is the resource, as FHIR R4 has it.");
  if (fields.length > 0)
    await output.say(table(["field", "type", "bounds", "", "default"], fields, 120));
  else await output.say("The payload has no fields of its own.");
  const example = exampleOf(type);
  if (example === undefined) return;
  const data = JSON.stringify(example).replaceAll("'", String.raw`'\''`);
  await output.say(
    `\nExample:\n  holdfast append --type ${type.type} --stream STREAM --scope SUBJECT --actor ACTOR \\\n    --data '${data}'`,
  );
  await output.say(
    "To correct or withdraw an event: --op amend or --op retract, with --ref LEAF and --why CODE.",
  );
}

function rowOf(type: EventType): Readonly<Record<string, unknown>> {
  return {
    type: type.type,
    version: type.version,
    concurrency: type.concurrency,
    encoding: type.encoding,
    sections: type.sections,
    fields: payloadFields(type),
    example: exampleOf(type) ?? null,
  };
}

/** A payload that the type accepts; none for the FHIR types whose required elements differ. */
function exampleOf(type: EventType): unknown {
  return eventExamples[type.type]?.current;
}
