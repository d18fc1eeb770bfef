import { isTributaryError, TributaryError } from "../../core/index.ts";
import { type Casters, NO_CASTERS } from "../casters.ts";
import { checkCompatibility, type Finding, type Level } from "../compatibility.ts";
import { loadCasters } from "../files/casters.ts";
import { lintSchema } from "../lint.ts";
import { type Reference, type SchemaText, type SchemaVersion, schemaVersion } from "../schema.ts";

/** A version as it goes to a thread and is made there again. */
export interface VersionText extends SchemaText {
  readonly subject: string;
  readonly version: number;
}

/** What is to be found out of a text that somebody wants to register, or asks about. */
export interface Question {
  readonly candidate: VersionText;
  /** The subject's earlier versions, in ascending order. */
  readonly earlier: readonly VersionText[];
  /** What all of these refer to, each after what it refers to itself. */
  readonly referred: readonly VersionText[];
  readonly level: Level;
  /** Whether it is looked at by itself as well: its defaults, and what it says of itself. */
  readonly examines: boolean;
  readonly castersDir: string | null;
}

export type Answer =
  | { readonly kind: "refused"; readonly message: string; readonly hint: string }
  | { readonly kind: "compared"; readonly findings: readonly Finding[] };

/** Makes a schema of a text, looks at it by itself, and compares it with the earlier versions: all that may take long. */
export async function examine(question: Question, onComparing: () => void = () => {}): Promise<Answer> {
  const made = new Map<string, SchemaVersion>();
  const lookUp = ({ subject, version }: Reference): SchemaVersion | undefined => made.get(`${subject}@${version}`);
  const make = (given: VersionText, trusted: boolean): SchemaVersion => {
    const { subject, version, kind, text, references } = given;
    const schema = schemaVersion(subject, version, { kind, text, references }, lookUp, { trusted });
    made.set(`${subject}@${version}`, schema);
    return schema;
  };
  for (const each of question.referred) make(each, true);
  let candidate: SchemaVersion;
  try {
    candidate = make(question.candidate, false);
    if (question.examines) refuseErrors(candidate);
  } catch (error) {
    if (!isTributaryError(error) || error.code !== "schema-malformed") throw error;
    return { kind: "refused", message: error.message, hint: error.hint };
  }
  onComparing();
  const earlier = question.earlier.map((each) => make(each, true));
  const casters: Casters = question.castersDir === null ? NO_CASTERS : await loadCasters(question.castersDir);
  const findings = checkCompatibility(candidate, earlier, question.level, casters);
  return { kind: "compared", findings: JSON.parse(JSON.stringify(findings)) as Finding[] };
}

/** Throws `schema-malformed` for what is wrong with a schema by itself: a default that does not fit … */
function refuseErrors(schema: SchemaVersion): void {
  const note = lintSchema(schema).find(({ severity }) => severity === "error");
  if (note === undefined) return;
  throw new TributaryError(
    "schema-malformed",
    `${schema.subject} version ${schema.version}${note.path === "" ? "" : ` at ${note.path}`}: ${note.message}`,
    note.hint,
  );
}

/** What goes between the thread and who asks it. */
export type FromThread =
  | { readonly kind: "comparing" }
  | { readonly kind: "answer"; readonly answer: Answer }
  | { readonly kind: "failed"; readonly code: string | null; readonly message: string; readonly hint: string };
