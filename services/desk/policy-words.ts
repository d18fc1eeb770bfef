/** What is wrong with a policy as it was written, in words. */
import type { z } from "zod";

type Issue = z.core.$ZodIssue;

/** Whom a policy is for can be said in two ways, so no single member can be named. */
const FOR = 'must be "everyone", or lists of names like { "sites": ["juba"], "orgs": [], "roles": ["nurse"], "hubs": [] }';

/** Each member that is wrong, with what it must be. */
export const wrongMembers = ({ issues }: z.ZodError): string[] =>
  issues.map((issue) => {
    const { path } = issue;
    return `${path.length === 0 ? "the policy" : path.join(".")} ${path.length === 1 && path[0] === "for" ? FOR : wordsOf(issue)}`;
  });

function wordsOf(issue: Issue): string {
  switch (issue.code) {
    case "unrecognized_keys":
      return `has no member ${issue.keys.join(", ")}`;
    case "invalid_type":
      return issue.message.endsWith("received undefined") ? "is missing" : `must be ${NAMES[issue.expected] ?? issue.expected}`;
    case "invalid_union":
      return "must be a text, a number, true, false or null, or a list of these";
    case "invalid_value":
      return `must be one of ${issue.values.map((value) => JSON.stringify(value)).join(", ")}`;
    case "too_big":
      return `must be at most ${issue.maximum}${UNITS[issue.origin] ?? ""}`;
    case "too_small":
      return `must be at least ${issue.minimum}${UNITS[issue.origin] ?? ""}`;
    default:
      return issue.message;
  }
}

const NAMES: Readonly<Record<string, string>> = {
  object: "an object",
  record: "an object",
  array: "a list",
  string: "a text",
  int: "a whole number",
  number: "a number",
  boolean: "true or false",
};
const UNITS: Readonly<Record<string, string>> = { string: " characters", array: " items" };
