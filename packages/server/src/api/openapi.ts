/** The OpenAPI 3.1 document: made of the routes and of the schemas that the codec itself reads by. */
import { type JsonSchema, messageSchemas, protocolVersion } from "@holdfast/core";
import { type Parameter, type Route, routes } from "./routes.ts";

const parameterSchemas: Readonly<Record<Parameter, JsonSchema>> = {
  count: { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
  log: { type: "string", pattern: "^[A-Za-z0-9._:/[\\]-]{1,512}$" },
  stream: { type: "string", pattern: "^[A-Za-z0-9_-]{22}$" },
};

const tokenRequest: JsonSchema = {
  type: "object",
  properties: {
    grant_type: { type: "string", const: "client_credentials" },
    client_assertion_type: {
      type: "string",
      const: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    },
    client_assertion: { type: "string" },
  },
  required: ["grant_type", "client_assertion_type", "client_assertion"],
};

const refusal = {
  description: "Refused: code, meaning and what to do",
  content: { "application/json": { schema: { $ref: "#/components/schemas/ErrorAnswer" } } },
} as const;

const isBinary = (type: string): boolean => type.startsWith("application/vnd.holdfast.");

/** Binary messages name the schema of their control part; JSON Schema cannot say the rest. */
function contentOf(type: string, schema: string): JsonSchema {
  const reference = { $ref: `#/components/schemas/${schema}` };
  return isBinary(type)
    ? { [type]: { schema: { contentMediaType: type }, "x-holdfast-control": reference } }
    : { [type]: { schema: reference } };
}

function operationOf(route: Route): JsonSchema {
  const { name, summary, token, body, query, optional, answer, socket } = route;
  const parameters = Object.entries(query ?? {}).map(([parameter, form]) => ({
    name: parameter,
    in: "query",
    required: optional?.includes(parameter) !== true,
    schema: parameterSchemas[form],
  }));
  const success =
    answer === undefined
      ? { "204": { description: "Done" } }
      : { "200": { description: summary, content: contentOf(answer.type, answer.schema) } };
  // OpenAPI 3.1 has no words for WebSockets: the answer to an upgrade, and what its messages are.
  const upgraded =
    socket === undefined
      ? {}
      : {
          "101": {
            description: `Upgraded to a WebSocket, subprotocol ${socket.subprotocol}`,
            "x-holdfast-message": { $ref: `#/components/schemas/${socket.message}` },
          },
        };
  return {
    operationId: name,
    summary,
    ...(token ? { security: [{ bearer: [] }] } : {}),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: contentOf(body.type, body.schema) } }),
    responses: { ...success, ...upgraded, default: refusal },
  };
}

/** The document that `/openapi.json` serves. */
export function openApiDocument(): JsonSchema {
  const paths: Record<string, Record<string, JsonSchema>> = {};
  for (const route of routes) (paths[route.path] ??= {})[route.method] = operationOf(route);
  return {
    openapi: "3.1.0",
    info: {
      title: "Holdfast sync protocol",
      version: `v${protocolVersion}`,
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    paths,
    components: {
      securitySchemes: { bearer: { type: "http", scheme: "bearer", bearerFormat: "JWT" } },
      schemas: { ...messageSchemas, TokenRequest: tokenRequest },
    },
  };
}
