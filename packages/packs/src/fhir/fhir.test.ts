import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRegistry, isHoldfastError } from "@holdfast/core";
import { describe, expect, test } from "vitest";
import { readBundle } from "./bundle.ts";
import { fhirEvents, fhirEventTypes } from "./events.ts";
import { decide, groups } from "./import.ts";
import { effectiveTime } from "./projection.ts";
import { canonicalJsonText, compactJsonText, sameJsonText } from "./text.ts";

const shared =
  process.env["HOLDFAST_SHARED"] ?? new URL("../../../../../shared", import.meta.url).pathname;
const folder = `${shared}/data/fhir`;

function bundle(...entry: readonly unknown[]): string {
  return JSON.stringify({ resourceType: "Bundle", type: "collection", entry });
}

function refusal(text: string): { readonly code: string; readonly path: unknown } | undefined {
  try {
    readBundle(text);
    return undefined;
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return { code: error.code, path: error.details["path"] };
  }
}

const observation = (fields: object): object => {
  return { resourceType: "Observation", id: "o1", status: "final", code: { text: "x" }, ...fields };
};

describe("event types", () => {
  test("there is one for each of the 146 R4 resource types", () => {
    expect(new Set(fhirEventTypes).size).toBe(146);
    expect(createRegistry(fhirEvents).types.get("fhir.Observation")?.encoding).toBe("text");
  });
});

describe("a bundle", () => {
  test("gives each resource with its original text", () => {
    const text = `{"resourceType":"Bundle","entry":[ {"resource": {"resourceType":"Observation",
      "id":"o1","status":"final","code":{"text":"x"},"valueQuantity":{"value":5.10}} } ]}`;
    const [first] = readBundle(text);
    expect(first?.text).toMatch(/^\{"resourceType":"Observation",[^]*5\.10\}\}$/);
    expect(first?.stream).toBe("fhir/Observation/o1");
    expect(first?.scope).toBe("reference");
  });

  test("is refused with a code and a path", () => {
    const cases: readonly (readonly [string, string, string])[] = [
      ["[]", "fhir_bundle_invalid", ""],
      ["{", "json_malformed", ""],
      [JSON.stringify({ resourceType: "Patient" }), "fhir_bundle_invalid", "/resourceType"],
      [JSON.stringify({ resourceType: "Bundle", entry: {} }), "fhir_bundle_invalid", "/entry"],
      [bundle(1), "fhir_bundle_invalid", "/entry/0"],
      [bundle({}), "fhir_bundle_invalid", "/entry/0/resource"],
      [bundle({ resource: {} }), "fhir_bundle_invalid", "/entry/0/resource/resourceType"],
      [
        bundle({ resource: { resourceType: "Horse", id: "1" } }),
        "fhir_resource_type_unknown",
        "/entry/0/resource/resourceType",
      ],
      [
        bundle({ resource: { resourceType: "Patient" } }),
        "fhir_resource_invalid",
        "/entry/0/resource/id",
      ],
      [
        bundle({ resource: { resourceType: "Patient", id: "a b" } }),
        "fhir_resource_invalid",
        "/entry/0/resource/id",
      ],
      [bundle({ request: { method: "DELETE" } }), "fhir_unsupported", "/entry/0/request/method"],
      [
        bundle({ resource: observation({ status: "fine" }) }),
        "payload_invalid",
        "/entry/0/resource/status",
      ],
      [
        bundle({ resource: observation({ valueInteger: 1, valueString: "a" }) }),
        "payload_invalid",
        "/entry/0/resource/value[x]",
      ],
      [
        bundle({ resource: { resourceType: "Immunization", id: "i", status: "completed" } }),
        "payload_invalid",
        "/entry/0/resource/vaccineCode",
      ],
      [
        '{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Basic","id":"1","x":-0}}]}',
        "json_unsafe_number",
        "/entry/0/resource/x",
      ],
    ];
    for (const [text, code, path] of cases) {
      expect({ text, code: refusal(text)?.code }).toEqual({ text, code });
      if (code !== "json_malformed")
        expect({ text, path: refusal(text)?.path }).toEqual({ text, path });
    }
  });

  test("passes what R4 allows beyond the typed fields", () => {
    const resource = observation({
      valueQuantity: { value: 1, extension: [{ url: "x" }] },
      other: [1],
    });
    expect(readBundle(bundle({ resource }))[0]?.value).toEqual(resource);
  });
});

describe("the scope of a resource", () => {
  const patient = {
    fullUrl: "urn:uuid:11",
    resource: { resourceType: "Patient", id: "p1", identifier: [{ system: "s", value: "v" }] },
  };
  const scopeOf = (resource: object): string | undefined =>
    readBundle(bundle(patient, { fullUrl: "urn:uuid:22", resource })).at(-1)?.scope;

  test("follows the Patient compartment", () => {
    const to = (reference: string) => ({ subject: { reference } });
    expect(readBundle(bundle(patient))[0]?.scope).toBe("Patient/p1");
    expect(scopeOf(observation(to("urn:uuid:11")))).toBe("Patient/p1");
    expect(scopeOf(observation(to("Patient/p1")))).toBe("Patient/p1");
    expect(scopeOf(observation(to("https://a.example/fhir/Patient/p9/_history/3")))).toBe(
      "Patient/p9",
    );
    expect(scopeOf(observation(to("urn:uuid:99")))).toBe("Patient/99");
    expect(scopeOf(observation(to("Group/g")))).toBe("reference");
    expect(scopeOf(observation(to("Patient?identifier=s|v")))).toBe("Patient/p1");
    expect(
      scopeOf(
        observation({ subject: { type: "Patient", identifier: { system: "s", value: "v" } } }),
      ),
    ).toBe("Patient/p1");
    expect(
      scopeOf({ resourceType: "Coverage", id: "c", beneficiary: { reference: "Patient/p2" } }),
    ).toBe("Patient/p2");
    expect(
      scopeOf(observation({ contained: [{ resourceType: "Patient", id: "x" }], ...to("#x") })),
    ).toBe("fhir/Observation/o1");
  });

  test("is the reference scope for what is about nobody or about several", () => {
    const member = (id: string) => ({ entity: { reference: `Patient/${id}` } });
    expect(scopeOf({ resourceType: "Organization", id: "o" })).toBe("reference");
    expect(scopeOf({ resourceType: "Group", id: "g", member: [member("a")] })).toBe("Patient/a");
    expect(scopeOf({ resourceType: "Group", id: "g", member: [member("a"), member("b")] })).toBe(
      "reference",
    );
  });
});

describe("a repeat", () => {
  const decided = (now: object, before: object) =>
    decide({ text: JSON.stringify(now), value: now as never }, { text: JSON.stringify(before) });

  test("is told from a change by content to the last digit", () => {
    expect(sameJsonText('{"a":1.0,"b":"\\u0041"}', '{ "b" : "A", "a" : 1.0 }')).toBe(true);
    expect(sameJsonText('{"a":1.0}', '{"a":1.00}')).toBe(false);
    expect(sameJsonText("[0.12345678901234567890]", "[0.12345678901234567891]")).toBe(false);
    expect(sameJsonText("[1,2]", "[2,1]")).toBe(false);
    expect(canonicalJsonText('{"b":[],"a":{"d":null,"c":"x\\ny"}}')).toBe(
      '{"a":{"c":"x\\ny","d":null},"b":[]}',
    );
    expect(compactJsonText('{ "a" : [ 1.10 , "b c" ] }')).toBe('{"a":[1.10,"b c"]}');
  });

  test("of an older version is a duplicate, of the same or a newer one a change", () => {
    const at = (versionId: string, x: number) => ({ meta: { versionId }, x });
    const on = (lastUpdated: string, x: number) => ({ meta: { lastUpdated }, x });
    expect(decided(at("9", 1), at("10", 2))).toBe("duplicate");
    expect(decided(at("10", 1), at("9", 2))).toBe("amend");
    expect(decided(at("9", 1), at("9", 2))).toBe("amend");
    expect(decided(at("a", 1), at("b", 2))).toBe("amend");
    expect(decided(on("2020-01-01T00:00:00Z", 1), on("2020-01-01T00:00:00.001Z", 2))).toBe(
      "duplicate",
    );
    expect(decided({ x: 1 }, { x: 2 })).toBe("amend");
    expect(decide({ text: "{}", value: {} }, undefined)).toBe("create");
  });

  test("within one bundle is compared after the first", () => {
    const twice = readBundle(
      bundle(
        { resource: observation({}) },
        { resource: observation({ issued: "2020-01-01T00:00:00Z" }) },
      ),
    );
    expect(groups(twice).map((group) => group.length)).toEqual([1, 1]);
  });
});

test("the effective time is the most telling one", () => {
  expect(effectiveTime({ issued: "b", effectivePeriod: { start: "a" } })).toBe("a");
  expect(effectiveTime({ birthDate: "1970" })).toBe("1970");
  expect(effectiveTime({})).toBe(null);
});

describe.skipIf(!existsSync(folder))(
  "synthetic patients (skipped where ../shared is absent)",
  () => {
    test("are read whole, in scopes of their own", () => {
      const files = readdirSync(folder).filter((name) => name.endsWith(".json"));
      expect(files.length).toBeGreaterThan(0);
      for (const name of files) {
        const text = readFileSync(`${folder}/${name}`, "utf8");
        const parsed = JSON.parse(text) as {
          readonly entry: readonly { readonly resource: object }[];
        };
        const resources = readBundle(text);
        expect(resources.map(({ value }) => value)).toEqual(
          parsed.entry.map(({ resource }) => resource),
        );
        const patient = resources.find(({ resourceType }) => resourceType === "Patient");
        const scopes = new Set(resources.map(({ scope }) => scope));
        expect(scopes).toEqual(new Set([patient?.scope, "reference"]));
        for (const { resourceType, scope } of resources) {
          expect(scope === "reference").toBe(
            ["Organization", "Practitioner"].includes(resourceType),
          );
        }
      }
    });
  },
);
