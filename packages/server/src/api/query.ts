/** Parameters of addresses: closed, each once, of one form; anything else is refused by name. */
import { HoldfastError } from "@holdfast/core";
import type { Parameter, Route } from "./routes.ts";

const forms: Readonly<Record<Parameter, RegExp>> = {
  count: /^(?:0|[1-9][0-9]{0,15})$/,
  log: /^[A-Za-z0-9._:/[\]-]{1,512}$/,
  stream: /^[A-Za-z0-9_-]{22}$/,
};

/** Throws `query_parameter_invalid` {parameter}: the route's own name, or `unknown`. */
export function readQuery(route: Route, search: string): Readonly<Record<string, number | string>> {
  const given = new URLSearchParams(search);
  const known = route.query ?? {};
  for (const name of given.keys()) if (!Object.hasOwn(known, name)) throw invalid("unknown");
  const out: Record<string, number | string> = {};
  for (const [name, form] of Object.entries(known)) {
    const [value, ...more] = given.getAll(name);
    if (value === undefined && route.optional?.includes(name) === true) continue;
    if (value === undefined || more.length > 0 || !forms[form].test(value)) throw invalid(name);
    out[name] = form === "count" ? numberOf(name, value) : value;
  }
  return out;
}

function numberOf(name: string, value: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw invalid(name);
  return number;
}

function invalid(parameter: string): HoldfastError {
  return new HoldfastError("query_parameter_invalid", { parameter });
}
