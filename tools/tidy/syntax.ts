/** Questions that several checks ask of one parsed file. */
import ts from "typescript";
import type { Finding, SourceText } from "../project.ts";

const parsed = new WeakMap<SourceText, ts.SourceFile>();

/** Syntax tree of one file, parsed once. */
export function parse(source: SourceText): ts.SourceFile {
  let tree = parsed.get(source);
  if (tree === undefined) {
    tree = ts.createSourceFile(source.path, source.text, ts.ScriptTarget.ES2024, true);
    parsed.set(source, tree);
  }
  return tree;
}

/** Line of a node, from 1. */
export function lineOf(tree: ts.SourceFile, node: ts.Node): number {
  return tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1;
}

/** Last line of a node, from 1. */
export function endLineOf(tree: ts.SourceFile, node: ts.Node): number {
  return tree.getLineAndCharacterOfPosition(node.getEnd()).line + 1;
}

/** Every node below `node`, itself first. */
export function* nodesOf(node: ts.Node): Generator<ts.Node> {
  yield node;
  const children: ts.Node[] = [];
  ts.forEachChild(node, (child) => {
    children.push(child);
  });
  for (const child of children) yield* nodesOf(child);
}

/** A finding at a node of a file. */
export function findingAt(check: string, source: SourceText, node: ts.Node, text: string): Finding {
  return { check, path: source.path, line: lineOf(parse(source), node), text };
}

/** One import or re-export of a module. */
export interface ModuleReference {
  readonly specifier: string;
  readonly line: number;
  /** Erased before the program runs. */
  readonly typeOnly: boolean;
}

function specifierOf(node: ts.Node): { text: string; typeOnly: boolean } | undefined {
  if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier))
    return {
      text: node.moduleSpecifier.text,
      typeOnly: node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword,
    };
  if (
    ts.isExportDeclaration(node) &&
    node.moduleSpecifier !== undefined &&
    ts.isStringLiteral(node.moduleSpecifier)
  )
    return { text: node.moduleSpecifier.text, typeOnly: node.isTypeOnly };
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
    const { literal } = node.argument;
    return ts.isStringLiteral(literal) ? { text: literal.text, typeOnly: true } : undefined;
  }
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    const [argument] = node.arguments;
    if (argument !== undefined && ts.isStringLiteralLike(argument))
      return { text: argument.text, typeOnly: false };
  }
  return undefined;
}

/** Every module that a file names: static, type-only, re-exported and dynamic. */
export function moduleReferences(source: SourceText): readonly ModuleReference[] {
  const tree = parse(source);
  const references: ModuleReference[] = [];
  for (const node of nodesOf(tree)) {
    const specifier = specifierOf(node);
    if (specifier !== undefined)
      references.push({
        specifier: specifier.text,
        line: lineOf(tree, node),
        typeOnly: specifier.typeOnly,
      });
  }
  return references;
}

/** Path from the root that a relative specifier means. */
export function resolveRelative(from: string, specifier: string): string {
  const parts = from.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

function bindsName(name: ts.BindingName, wanted: string): boolean {
  if (ts.isIdentifier(name)) return name.text === wanted;
  return name.elements.some(
    (element) => ts.isBindingElement(element) && bindsName(element.name, wanted),
  );
}

function listBinds(list: ts.VariableDeclarationList, wanted: string): boolean {
  return list.declarations.some((declaration) => bindsName(declaration.name, wanted));
}

function importBinds(statement: ts.ImportDeclaration, wanted: string): boolean {
  const clause = statement.importClause;
  if (clause?.name?.text === wanted) return true;
  const named = clause?.namedBindings;
  if (named === undefined) return false;
  if (ts.isNamespaceImport(named)) return named.name.text === wanted;
  return named.elements.some((element) => element.name.text === wanted);
}

function statementBinds(statement: ts.Statement, wanted: string): boolean {
  if (ts.isVariableStatement(statement)) return listBinds(statement.declarationList, wanted);
  if (ts.isFunctionDeclaration(statement) || ts.isClassDeclaration(statement))
    return statement.name?.text === wanted;
  return ts.isImportDeclaration(statement) && importBinds(statement, wanted);
}

function scopeBinds(scope: ts.Node, wanted: string): boolean {
  if (ts.isSourceFile(scope) || ts.isBlock(scope) || ts.isCaseOrDefaultClause(scope))
    return scope.statements.some((statement) => statementBinds(statement, wanted));
  if (ts.isFunctionLike(scope))
    return scope.parameters.some((parameter) => bindsName(parameter.name, wanted));
  if (ts.isForStatement(scope) || ts.isForOfStatement(scope) || ts.isForInStatement(scope)) {
    const { initializer } = scope;
    return (
      initializer !== undefined &&
      ts.isVariableDeclarationList(initializer) &&
      listBinds(initializer, wanted)
    );
  }
  return false;
}

/** Does this identifier read a binding that no enclosing scope of the file declares: a global? */
export function readsGlobal(node: ts.Identifier): boolean {
  if (!isExpressionReference(node)) return false;
  for (let scope: ts.Node | undefined = node.parent; scope !== undefined; scope = scope.parent)
    if (scopeBinds(scope, node.text)) return false;
  return true;
}

function isExpressionReference(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isQualifiedName(parent)) return parent.left === node;
  if (ts.isShorthandPropertyAssignment(parent)) return true;
  if (ts.isTypeReferenceNode(parent) || ts.isImportSpecifier(parent)) return false;
  if (ts.isBindingElement(parent) || ts.isVariableDeclaration(parent) || ts.isParameter(parent))
    return parent.initializer === node;
  if (ts.isExportSpecifier(parent) || ts.isLabeledStatement(parent)) return false;
  if (ts.isPropertyAssignment(parent) || ts.isPropertyDeclaration(parent))
    return parent.initializer === node;
  return (
    !(
      ts.isTypeElement(parent) ||
      ts.isMethodDeclaration(parent) ||
      ts.isFunctionLike(parent) ||
      ts.isClassDeclaration(parent) ||
      ts.isInterfaceDeclaration(parent) ||
      ts.isTypeAliasDeclaration(parent) ||
      ts.isNamedTupleMember(parent) ||
      ts.isImportClause(parent) ||
      ts.isNamespaceImport(parent)
    ) ||
    (ts.isArrowFunction(parent) && parent.body === node)
  );
}
