import { isJsonObject, type JsonValue } from "../../core/index.ts";
import { PRIMITIVES } from "./model.ts";

/**
 * An Avro schema's text without what may be written in several ways: full names in place of namespaces, a type's name in place of an object that holds
 * nothing else. Whatever it says stays: documentation, defaults, aliases, logical types. `parsed` is a schema that `parseAvro` takes.
 */
export function normalAvro(parsed: JsonValue): JsonValue {
  const defined = new Set<string>();
  return normal(parsed, "");

  function normal(node: JsonValue | undefined, namespace: string): JsonValue {
    if (typeof node === "string") return nameIn(node, namespace);
    if (Array.isArray(node)) return node.map((branch: JsonValue) => normal(branch, namespace));
    if (!isJsonObject(node)) return node ?? null;
    const { type, ...rest } = node;
    if (type === "array") return { ...node, items: normal(node.items, namespace) };
    if (type === "map") return { ...node, values: normal(node.values, namespace) };
    if (type === "record" || type === "error" || type === "enum" || type === "fixed") return named(node, namespace);
    const inner = normal(type, namespace);
    return Object.keys(rest).length === 0 ? inner : { ...rest, type: inner };
  }

  function nameIn(name: string, namespace: string): string {
    const full = name.includes(".") || namespace === "" ? name : `${namespace}.${name}`;
    return !PRIMITIVES.some((primitive) => primitive === name) && defined.has(full) ? full : name;
  }

  function named({ namespace: own, ...node }: Readonly<Record<string, JsonValue>>, namespace: string): JsonValue {
    const within = typeof own === "string" ? own : namespace;
    const given = String(node.name);
    const name = given.includes(".") || within === "" ? given : `${within}.${given}`;
    const space = name.includes(".") ? name.slice(0, name.lastIndexOf(".")) : "";
    defined.add(name);
    const out: Record<string, JsonValue> = { ...node, name };
    if (Array.isArray(node.aliases))
      out.aliases = node.aliases.map((alias: JsonValue) =>
        typeof alias !== "string" || alias.includes(".") || space === "" ? alias : `${space}.${alias}`,
      );
    if (Array.isArray(node.fields))
      out.fields = node.fields.map((field: JsonValue) =>
        isJsonObject(field) ? { ...field, type: normal(field.type, space) } : field,
      );
    return out;
  }
}
