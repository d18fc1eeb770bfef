import { canonicalize, isJsonObject, type JsonValue } from "../../core/index.ts";
import { PRIMITIVES } from "./model.ts";
import { normalAvro } from "./normal.ts";

/**
 * An Avro schema's text with what it refers to written out where it is first named, so that it stands alone. `parts`: the schemas that it refers to, each after what it
 * refers to itself, and the schema last.
 */
export function resolvedAvro(parts: readonly JsonValue[]): string {
  const defined = new Map<string, JsonValue>();
  for (const part of parts.slice(0, -1)) define(normalAvro(part));
  const written = new Set<string>();
  return canonicalize(resolved(normalAvro(parts.at(-1) ?? null), ""));

  function define(node: JsonValue | undefined): void {
    if (Array.isArray(node)) for (const each of node) define(each as JsonValue);
    if (!isJsonObject(node)) return;
    if (typeof node.name === "string" && typeof node.type === "string") defined.set(node.name, node);
    for (const inner of [node.type, node.items, node.values]) define(inner);
    if (Array.isArray(node.fields)) for (const field of node.fields) if (isJsonObject(field)) define(field.type);
  }

  function resolved(node: JsonValue | undefined, namespace: string): JsonValue {
    if (typeof node === "string") return named(node, namespace);
    if (Array.isArray(node)) return node.map((branch: JsonValue) => resolved(branch, namespace));
    if (!isJsonObject(node)) return node ?? null;
    const { type, name } = node;
    if (type === "array") return { ...node, items: resolved(node.items, namespace) };
    if (type === "map") return { ...node, values: resolved(node.values, namespace) };
    if (type !== "record" && type !== "error" && type !== "enum" && type !== "fixed")
      return { ...node, type: resolved(type, namespace) };
    written.add(String(name));
    if (!Array.isArray(node.fields)) return node;
    const within = spaceOf(String(name));
    const fields = node.fields.map((field: JsonValue) =>
      isJsonObject(field) ? { ...field, type: resolved(field.type, within) } : field,
    );
    return { ...node, fields };
  }

  function named(name: string, namespace: string): JsonValue {
    if (PRIMITIVES.some((primitive) => primitive === name)) return name;
    const full = name.includes(".") || namespace === "" ? name : `${namespace}.${name}`;
    const known = [full, name].find((each) => defined.has(each) && !written.has(each));
    return known === undefined ? name : resolved(defined.get(known), "");
  }
}

const spaceOf = (name: string): string => (name.includes(".") ? name.slice(0, name.lastIndexOf(".")) : "");
