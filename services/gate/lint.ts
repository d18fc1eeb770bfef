import { isJsonObject, type JsonObject, type JsonValue, messageOf } from "../core/index.ts";
import { type Casters, route } from "./casters.ts";
import { checkCompatibility } from "./compatibility.ts";
import { avscType, compile } from "./compiled.ts";
import { viewOf, walk } from "./json/document.ts";
import { oracle } from "./json/validator.ts";
import { membersOf, type SchemaStore, type SchemaVersion, unfitForEvents } from "./schema.ts";

/** Something about a schema that is wrong, or will trouble somebody. */
export interface LintNote {
  readonly subject: string;
  readonly version: number;
  readonly severity: "error" | "warning";
  readonly rule: string;
  readonly path: string;
  readonly message: string;
  readonly hint: string;
}

/** Looks at a schema by itself. */
export function lintSchema(schema: SchemaVersion): LintNote[] {
  const { subject, version, annotations, model } = schema;
  const out: LintNote[] = [];
  const note = (severity: LintNote["severity"], rule: string, path: string, message: string, hint: string): void => {
    out.push({ subject, version, severity, rule, path, message, hint });
  };
  const members = membersOf(schema);
  const isEvents = annotations.events.length > 0;
  if (isEvents) {
    const unfit = unfitForEvents(schema);
    if (unfit !== null) note("error", "unfit-for-events", "", unfit, "Change it, or leave out tributary.events.");
    if (annotations.title === undefined)
      note("warning", "title", "/tributary", "it has no title", "Say in tributary.title what people call it.");
    if (annotations.personal === undefined)
      note(
        "warning",
        "personal",
        "/tributary",
        "it does not say which members hold personal data",
        'List them in tributary.personal; "personal": [] says that there are none.',
      );
  }
  const named: [string, string | undefined][] = [
    ["key", annotations.key],
    ["occurredOn", annotations.occurredOn],
    ...(annotations.personal ?? []).map((name): [string, string] => ["personal", name]),
  ];
  for (const [rule, name] of named) {
    if (name !== undefined && !members.includes(name))
      note(
        "error",
        "annotation",
        `/tributary/${rule}`,
        `${name} is none of its members`,
        `It has ${members.join(", ") || "none"}.`,
      );
  }
  if (model.kind === "avro" && !isEvents) return out;
  if (model.kind === "avro") {
    try {
      avscType(model.parts);
    } catch (error) {
      note(
        "error",
        "ambiguous",
        "",
        `values cannot be written with it: ${messageOf(error).slice(0, 200)}`,
        "JSON must be able to tell a union's branches apart.",
      );
    }
    return out;
  }
  const ask = oracle();
  for (const view of walk(viewOf(model.document))) {
    if (typeof view.schema === "boolean" || view.schema.default === undefined) continue;
    if (!ask(view, view.schema.default))
      note(
        "error",
        "default",
        `${view.path}/default`,
        "the default does not fit the schema it stands in",
        "Readers fill it in: make it fit.",
      );
  }
  const root = model.document.root as JsonValue;
  if (isEvents && isJsonObject(root) && root.additionalProperties === undefined && root.unevaluatedProperties === undefined) {
    note(
      "warning",
      "open",
      "/additionalProperties",
      "it takes members that it does not name, so that no member can be added later without breaking it",
      'Write "additionalProperties": false.',
    );
  }
  if (isEvents && isJsonObject(root) && root.type !== "object")
    note("warning", "type", "/type", "it does not say that the data is an object", 'Write "type": "object".');
  return out;
}

/** Looks at a subject's declared casters: each must make, of whatever its version allows, something that fits. */
export function lintCasters(store: SchemaStore, casters: Casters, subject: string): LintNote[] {
  const versions = store.versions(subject);
  const out: LintNote[] = [];
  for (const { from, to } of casters.pairs(subject)) {
    const [writer, reader] = [versions[from - 1], versions[to - 1]];
    const note = (message: string): void => {
      out.push({
        subject,
        version: to,
        severity: "error",
        rule: "caster",
        path: `v${from}-to-v${to}`,
        message,
        hint: "Correct the caster, or the version in its name.",
      });
    };
    if (writer === undefined || reader === undefined) {
      note(`it leads from version ${from} to ${to}, and there are ${versions.length}`);
      continue;
    }
    try {
      compile(reader);
    } catch (error) {
      note(messageOf(error));
      continue;
    }
    if (route(casters, subject, from, to) === null) continue;
    const level = from < to ? "BACKWARD" : "FORWARD";
    const [candidate, earlier] = from < to ? [reader, writer] : [writer, reader];
    for (const finding of checkCompatibility(candidate, [earlier], level, casters)) {
      if (finding.rule !== "caster") continue;
      const example =
        finding.counterexample === null
          ? ""
          : `: of ${JSON.stringify(finding.counterexample.document)} it makes something else (${finding.counterexample.problem})`;
      note(`${finding.message}${example}`);
    }
  }
  return out;
}

/** The members that one version has and the other has not, or has otherwise; for people. */
export function memberChanges(
  before: SchemaVersion,
  after: SchemaVersion,
): { readonly member: string; readonly change: "added" | "removed" | "changed" }[] {
  const of = ({ model }: SchemaVersion): Map<string, string> => {
    const out = new Map<string, string>();
    if (model.kind === "avro") {
      const own = model.parts.at(-1) as { fields?: { name: string }[] };
      for (const field of own.fields ?? []) out.set(field.name, JSON.stringify(field));
    } else if (isJsonObject(model.document.root as JsonValue)) {
      const root = model.document.root as JsonObject;
      const required = new Set((root.required ?? []) as string[]);
      for (const [name, schema] of Object.entries((root.properties ?? {}) as JsonObject))
        out.set(name, JSON.stringify([schema, required.has(name)]));
    }
    return out;
  };
  const [old, now] = [of(before), of(after)];
  return [...new Set([...old.keys(), ...now.keys()])].flatMap((member) => {
    const change = !old.has(member)
      ? "added"
      : !now.has(member)
        ? "removed"
        : old.get(member) === now.get(member)
          ? null
          : "changed";
    return change === null ? [] : [{ member, change } as const];
  });
}
