import { readFileSync } from "node:fs";
import type { Finding, LintNote } from "../gate/index.ts";

/** What a check found at a version. */
export interface CheckResult extends LintNote {
  /** The finding, where the result is about compatibility. */
  readonly finding: Finding | null;
  readonly file: string | null;
}

/**
 * Findings as SARIF 2.1.0, which code review tools show beside the lines.
 * Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
 */
export function sarif(results: readonly CheckResult[]): object {
  const rules = [...new Set(results.map(({ rule }) => rule))].sort();
  return {
    $schema: "https://json.schemastore.org/sarif-2.1.0.json",
    version: "2.1.0",
    runs: [
      {
        tool: {
          driver: { name: "tributary", rules: rules.map((id) => ({ id, shortDescription: { text: `schema: ${id}` } })) },
        },
        results: results.map(({ rule, severity, message, hint, finding, file, path, subject, version }) => ({
          ruleId: rule,
          level: severity,
          message: { text: textOf({ message, hint, finding }) },
          locations: [
            {
              physicalLocation: {
                artifactLocation: { uri: (file ?? (version === 0 ? subject : `${subject}/v${version}`)).replaceAll("\\", "/") },
                region: { startLine: lineOf(file, path) },
              },
              logicalLocations: [{ fullyQualifiedName: `${subject}${version === 0 ? "" : `@${version}`}${path}` }],
            },
          ],
        })),
      },
    ],
  };
}

function textOf({ message, hint, finding }: Pick<CheckResult, "message" | "hint" | "finding">): string {
  if (finding === null) return `${message}. ${hint}`;
  const { direction, against, counterexample } = finding;
  const who =
    direction === "backward"
      ? `This version cannot read what version ${against} writes`
      : `Version ${against} cannot read what this version writes`;
  const example =
    counterexample === null
      ? "No example could be made."
      : `For example ${JSON.stringify(counterexample.document)}: ${counterexample.problem}.`;
  return `${who}: ${message}. ${example} ${hint}`;
}

/** The line of a JSON pointer's target in a text, counted from 1: that of the last of its names that is found in order. */
function lineOf(file: string | null, pointer: string): number {
  if (file === null) return 1;
  const text = readFileSync(file, "utf8");
  let at = 0;
  for (const part of pointer.split("/").slice(1)) {
    const next = text.indexOf(JSON.stringify(part.replaceAll("~1", "/").replaceAll("~0", "~")), at);
    if (next >= 0) at = next;
  }
  return text.slice(0, at).split("\n").length;
}
