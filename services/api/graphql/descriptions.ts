/** What forms say of the members that views' columns are named after. */
import { isJsonObject, type JsonObject, type JsonValue } from "../../core/index.ts";
import type { Gate, SchemaVersion } from "../../gate/index.ts";

/** Descriptions by entity type, and there by member. */
export type Descriptions = ReadonlyMap<string, { readonly title: string | null; readonly members: ReadonlyMap<string, string> }>;

/** What the newest forms say: descriptions, allowed values, and which members hold personal data. */
export function describedBy(gate: Pick<Gate, "subjects">): Descriptions {
  const out = new Map<string, { title: string | null; members: Map<string, string> }>();
  for (const schema of gate.subjects()) {
    const { entity, title = null } = schema.annotations;
    if (entity === null) continue;
    const of = out.get(entity) ?? { title: null, members: new Map() };
    out.set(entity, of);
    of.title ??= title;
    for (const [name, words] of membersOf(schema)) if (words !== "" && !of.members.has(name)) of.members.set(name, words);
  }
  return out;
}

function membersOf({ kind, text, annotations: { personal = [] } }: SchemaVersion): readonly (readonly [string, string])[] {
  const parsed: unknown = JSON.parse(text);
  if (!isJsonObject(parsed)) return [];
  const said = kind === "json" ? jsonMembers(parsed) : avroMembers(parsed);
  return said.map(([name, words]) => [name, [...words, ...(personal.includes(name) ? ["Personal data."] : [])].join(" ")]);
}

type Said = readonly (readonly [name: string, sentences: readonly string[]])[];

const jsonMembers = ({ properties }: JsonObject): Said =>
  isJsonObject(properties)
    ? Object.entries(properties).map(([name, member]) => [
        name,
        isJsonObject(member) ? [...sentence(member.description), ...oneOf(member.enum)] : [],
      ])
    : [];

function avroMembers({ fields }: JsonObject): Said {
  if (!Array.isArray(fields)) return [];
  const members: readonly JsonValue[] = fields;
  return members
    .filter(isJsonObject)
    .map(({ name, doc, type }) => [String(name), [...sentence(doc), ...oneOf(isJsonObject(type) ? type.symbols : undefined)]]);
}

const sentence = (text: JsonValue | undefined): readonly string[] =>
  typeof text === "string" && text.trim() !== "" ? [/[.!?]$/.test(text.trim()) ? text.trim() : `${text.trim()}.`] : [];

const oneOf = (values: JsonValue | undefined): readonly string[] =>
  Array.isArray(values) && values.length > 0
    ? [
        `One of ${values
          .filter((value) => value !== null)
          .map((value) => (typeof value === "string" ? value : JSON.stringify(value)))
          .join(", ")}.`,
      ]
    : [];
