import { isJsonObject, type JsonObject, type JsonValue, messageOf } from "../core/index.ts";
import type { Casters } from "./casters.ts";
import { checkCompatibility } from "./compatibility.ts";
import { avscType, compile } from "./compiled.ts";
import { type Document, viewOf, walk } from "./json/document.ts";
import { isClosedAsWhole } from "./json/reading.ts";
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

/** What a rule has to say; whose it is follows from the schema that is looked at. */
type Remark = Omit<LintNote, "subject" | "version">;
const error = (remark: Omit<Remark, "severity">): Remark => ({ severity: "error", ...remark });
const warning = (remark: Omit<Remark, "severity">): Remark => ({ severity: "warning", ...remark });

/** Looks at a schema by itself. */
export function lintSchema(schema: SchemaVersion): LintNote[] {
  const { subject, version, annotations, model } = schema;
  const isEvents = annotations.events.length > 0;
  const remarks = [
    ...(isEvents ? onEvents(schema) : []),
    ...onAnnotations(schema),
    ...(model.kind === "avro" ? (isEvents ? onAvro(model.parts) : []) : onDefaults(model.document)),
    ...(model.kind === "json" && isEvents ? onOpenness(model.document) : []),
  ];
  return remarks.map((remark) => ({ subject, version, ...remark }));
}

function onEvents(schema: SchemaVersion): Remark[] {
  const out: Remark[] = [];
  const { title, personal } = schema.annotations;
  const unfit = unfitForEvents(schema);
  if (unfit !== null)
    out.push(error({ rule: "unfit-for-events", path: "", message: unfit, hint: "Change it, or leave out tributary.events." }));
  if (title === undefined)
    out.push(
      warning({
        rule: "title",
        path: "/tributary",
        message: "it has no title",
        hint: "Say in tributary.title what people call it.",
      }),
    );
  if (personal === undefined)
    out.push(
      warning({
        rule: "personal",
        path: "/tributary",
        message: "it does not say which members hold personal data",
        hint: 'List them in tributary.personal; "personal": [] says that there are none.',
      }),
    );
  return out;
}

/** Members that the annotations name must be there. */
function onAnnotations(schema: SchemaVersion): Remark[] {
  const { key, occurredOn, personal = [] } = schema.annotations;
  const members = membersOf(schema);
  const named: [string, string | undefined][] = [
    ["key", key],
    ["occurredOn", occurredOn],
    ...personal.map((name): [string, string] => ["personal", name]),
  ];
  return named
    .filter(([, name]) => name !== undefined && !members.includes(name))
    .map(([rule, name]) =>
      error({
        rule: "annotation",
        path: `/tributary/${rule}`,
        message: `${name} is not one of its members`,
        hint: `It has ${members.join(", ") || "none"}.`,
      }),
    );
}

function onAvro(parts: readonly JsonValue[]): Remark[] {
  try {
    avscType(parts);
    return [];
  } catch (thrown) {
    return [
      error({
        rule: "ambiguous",
        path: "",
        message: `values cannot be written with it: ${messageOf(thrown).slice(0, 200)}`,
        hint: "JSON must be able to tell a union's branches apart.",
      }),
    ];
  }
}

function onDefaults(document: Document): Remark[] {
  const out: Remark[] = [];
  const ask = oracle();
  for (const view of walk(viewOf(document))) {
    if (typeof view.schema === "boolean" || view.schema.default === undefined || ask(view, view.schema.default)) continue;
    out.push(
      error({
        rule: "default",
        path: `${view.path}/default`,
        message: "the default does not fit the schema it stands in",
        hint: "Readers fill it in: make it fit.",
      }),
    );
  }
  return out;
}

function onOpenness({ root }: Document): Remark[] {
  const out: Remark[] = [];
  if (typeof root === "boolean") return out;
  if (root.additionalProperties === undefined && root.unevaluatedProperties === undefined && !isClosedAsWhole(root))
    out.push(
      warning({
        rule: "open",
        path: "/additionalProperties",
        message: "it takes members that it does not name, so that no member can be added later without breaking it",
        hint: 'Write "additionalProperties": false.',
      }),
    );
  if (root.type !== "object")
    out.push(
      warning({
        rule: "type",
        path: "/type",
        message: "it does not say that the data is an object",
        hint: 'Write "type": "object".',
      }),
    );
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
