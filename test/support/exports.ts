import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parseSync } from "vite";

/** A node of the syntax tree, as far as it is used here. */
interface Node {
  readonly type: string;
  readonly [member: string]: unknown;
}

const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
const nodesIn = (value: unknown): Node[] => (Array.isArray(value) ? value : [value]).filter(isNode);
const nameIn = (value: unknown): string | null => (isNode(value) && typeof value.name === "string" ? value.name : null);

/** What a module declares, and what it has from other modules. */
interface Module {
  readonly declared: ReadonlyMap<string, Node>;
  /** By the name here: the file that it comes from, and its name there. */
  readonly taken: ReadonlyMap<string, readonly [file: string, name: string]>;
  readonly exported: readonly string[];
}

const modules = new Map<string, Module>();

function moduleOf(file: string): Module {
  const known = modules.get(file);
  if (known !== undefined) return known;
  const { program, errors } = parseSync(file, readFileSync(file, "utf8"));
  if (errors[0] !== undefined) throw new Error(`${file}: ${errors[0].message}`);
  const declared = new Map<string, Node>();
  const taken = new Map<string, readonly [string, string]>();
  const exported: string[] = [];
  for (const statement of nodesIn(program.body)) {
    const from = isNode(statement.source) && typeof statement.source.value === "string" ? statement.source.value : null;
    const target = from?.startsWith(".") ? resolve(dirname(file), from) : null;
    for (const each of nodesIn(statement.specifiers)) {
      const [there, here] = [nameIn(each.imported) ?? nameIn(each.local), nameIn(each.exported) ?? nameIn(each.local)];
      if (there === null || here === null) continue;
      if (statement.type === "ExportNamedDeclaration") exported.push(here);
      if (target !== null) taken.set(here, [target, there]);
    }
    const declaration = isNode(statement.declaration) ? statement.declaration : statement;
    for (const each of declaration.type === "VariableDeclaration" ? nodesIn(declaration.declarations) : [declaration]) {
      const name = nameIn(each.id);
      if (name === null) continue;
      declared.set(name, each);
      if (declaration !== statement) exported.push(name);
    }
  }
  const module = { declared, taken, exported };
  modules.set(file, module);
  return module;
}

/** Where a name of a module is declared; `null`: in another package, or in the language. */
function homeOf(file: string, name: string): readonly [file: string, name: string] | null {
  const module = moduleOf(file);
  const from = module.taken.get(name);
  if (from !== undefined) return homeOf(...from);
  return module.declared.has(name) ? [file, name] : null;
}

/** The types that a declaration's signature names, and those whose members it takes over. Bodies, values and private members are not part of it. */
function namedBy(declaration: Node): { readonly named: ReadonlySet<string>; readonly extended: ReadonlySet<string> } {
  const named = new Set<string>();
  const extended = new Set<string>();
  const parameters = new Set<string>();
  const visit = (node: Node): void => {
    if (node.type === "BlockStatement" || node.accessibility === "private") return;
    if (node.type === "TSTypeParameter") parameters.add(nameIn(node.name) ?? String(node.name));
    const name = node.type === "TSTypeReference" ? nameIn(node.typeName) : null;
    if (name !== null) named.add(name);
    const base = node.type === "TSInterfaceHeritage" ? nameIn(node.expression) : null;
    if (base !== null) extended.add(base);
    for (const [member, value] of Object.entries(node)) {
      const isValue = member === "body" ? node.type === "ArrowFunctionExpression" : member === "init" || member === "value";
      for (const child of nodesIn(value)) if (!isValue || child.type.endsWith("FunctionExpression")) visit(child);
    }
  };
  visit(declaration);
  return { named: new Set([...named].filter((name) => !parameters.has(name))), extended };
}

/**
 * Types of this repository that the signatures of a module's exports name, and that the module does not export. An interface that another one extends need not be
 * exported, nor a type that is private to its file: what these name counts instead.
 */
export function unexportedTypes(file: string): string[] {
  const homes = moduleOf(file)
    .exported.map((name) => homeOf(file, name))
    .filter((home) => home !== null);
  const exported = new Set(homes.map(String));
  const missing = new Set<string>();
  const seen = new Set<string>();
  const look = ([where, name]: readonly [file: string, name: string], by: string): void => {
    const declaration = moduleOf(where).declared.get(name);
    if (declaration === undefined || seen.has(`${where},${name}`)) return;
    seen.add(`${where},${name}`);
    const { named, extended } = namedBy(declaration);
    for (const each of [...named, ...extended]) {
      const found = homeOf(where, each);
      if (found === null || exported.has(String(found))) continue;
      const isPrivate = !moduleOf(found[0]).exported.includes(found[1]);
      if (isPrivate || extended.has(each)) look(found, by);
      else missing.add(`${each}, named by ${by}`);
    }
  };
  for (const home of homes) look(home, home[1]);
  return [...missing].sort();
}
