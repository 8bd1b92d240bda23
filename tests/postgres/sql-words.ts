/** What of SQL a text uses, as words: kinds of nodes of PostgreSQL's own parser, functions, types, options. */
import { parse } from "libpg-query";

/** Words of the nodes whose fields matter too: `FuncCall pg_notify`, `TypeName text`, `JoinExpr lateral`. */
const details: Readonly<Record<string, (fields: Fields) => readonly string[]>> = {
  AlterTableCmd: ({ subtype }) => [String(subtype)],
  A_Expr: ({ kind, name }) => [`${String(kind)} ${lastName(name)}`],
  BoolExpr: ({ boolop }) => [String(boolop)],
  CollateClause: ({ collname }) => [lastName(collname)],
  Constraint: ({ contype }) => [String(contype)],
  FuncCall: ({ funcname }) => [lastName(funcname)],
  JoinExpr: ({ jointype }) => [String(jointype)],
  LockingClause: ({ strength }) => [String(strength)],
  NullTest: ({ nulltesttype }) => [String(nulltesttype)],
  OnConflictClause: ({ action }) => [String(action)],
  PartitionSpec: ({ strategy }) => [String(strategy)],
  RangeFunction: ({ ordinality }) => (ordinality === true ? ["ordinality"] : []),
  // Our own tables are one word; those of the system are each one.
  RangeVar: ({ schemaname, relname }) => (schemaname === "holdfast" ? [] : [String(relname)]),
  RangeSubselect: ({ lateral }) => (lateral === true ? ["lateral"] : []),
  SQLValueFunction: ({ op }) => [String(op)],
  SubLink: ({ subLinkType }) => [String(subLinkType)],
  TransactionStmt: ({ kind }) => [String(kind)],
  TypeName: ({ names }) => [lastName(names)],
  VariableSetStmt: ({ kind, is_local: local }) => [
    `${String(kind)}${local === true ? " local" : ""}`,
  ],
};

type Fields = Readonly<Record<string, unknown>>;

/** Fields that the parser gives without a node of their own. */
const inner: Readonly<Record<string, string>> = {
  collClause: "CollateClause",
  onConflictClause: "OnConflictClause",
  partbound: "PartitionBound",
  partspec: "PartitionSpec",
  typeName: "TypeName",
  withClause: "WithClause",
};

function lastName(names: unknown): string {
  const last = (names as readonly { readonly String?: { readonly sval?: string } }[]).at(-1);
  return last?.String?.sval ?? "";
}

/** The words that these statements use. */
export async function wordsOf(sql: string): Promise<ReadonlySet<string>> {
  const words = new Set<string>();
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) for (const one of value) visit(one);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return;
    for (const [key, fields] of Object.entries(value as Fields)) {
      const node = inner[key] ?? (/^[A-Z]/.test(key) ? key : undefined);
      if (node !== undefined) add(words, node, fields as Fields);
      visit(fields);
    }
  };
  visit((await parse(sql)).stmts);
  return words;
}

function add(words: Set<string>, node: string, fields: Fields): void {
  const more = details[node]?.(fields) ?? [];
  if (more.length === 0) words.add(node);
  for (const detail of more) words.add(`${node} ${detail}`);
}
