import { createHash } from "node:crypto";
import { isJsonObject, type JsonObject, type JsonValue } from "../core/index.ts";
import type { Target } from "./settings.ts";

/** A digest's text lists this many notices. Its count covers all. */
const MAX_LISTED = 50;
const MAX_SUBJECT_CHARS = 200;
const MAX_LINE_CHARS = 1_000;
/** The texts that every HTTP server takes as a header's value. */
const PLAIN_HEADER = /^[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?$/;

/** A row of the outbox, as far as it is told. */
export interface Notice {
  readonly key: string;
  readonly subject: string;
  readonly body: JsonValue;
  /** When the notice was written, ISO 8601. */
  readonly createdAt: string;
}

/** What is sent, in the form of every way: a line and a text for people, a document for programs. */
export interface Message {
  /** The same whenever the same message is sent again; fit for a header. */
  readonly key: string;
  readonly subject: string;
  readonly text: string;
  readonly document: JsonObject;
}

/** One notice as a message. */
export function messageOf(notice: Notice, { includeValues }: Target): Message {
  const told = tellable(notice, includeValues);
  return {
    key: headerKey(notice.key),
    subject: line(notice.subject, MAX_SUBJECT_CHARS),
    text: textOf(notice),
    document: documentOf(told),
  };
}

/** All notices of a period as one message. Its key follows from the set, so the same set is the same message. */
export function digestOf(notices: readonly Notice[], { includeValues }: Target): Message {
  const keys = notices.map(({ key }) => key).sort();
  return {
    key: `digest:${sha256(JSON.stringify(keys))}`,
    subject: line(digestSubject(notices), MAX_SUBJECT_CHARS),
    text: digestText(notices),
    document: { digest: notices.map((notice) => documentOf(tellable(notice, includeValues))) },
  };
}

/** A message that shows whether a target can be reached; it is about no case. */
export const testMessage = (target: Target, now: Date, nonce: string): Message =>
  messageOf(
    {
      key: `test/${target.name}/${nonce}`,
      subject: "A test of Tributary's notifications",
      body: { kind: "test", text: `If you read this, the target ${target.name} works. There is nothing to do.` },
      createdAt: now.toISOString(),
    },
    target,
  );

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

const headerKey = (key: string): string => (PLAIN_HEADER.test(key) ? key : `sha256:${sha256(key)}`);

const tellable = (notice: Notice, includeValues: boolean): Notice =>
  includeValues ? notice : { ...notice, body: withoutValues(notice.body) };

/** Removes field values, which are personal data. They are in members named `values` and nowhere else. */
function withoutValues(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(withoutValues);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => name !== "values")
      .map(([name, member]) => [name, withoutValues(member)]),
  );
}

const documentOf = (notice: Notice): JsonObject => ({
  key: notice.key,
  subject: notice.subject,
  text: textOf(notice),
  createdAt: notice.createdAt,
  body: notice.body,
});

/** One line: whatever could end a header's line, hide text or turn its direction becomes a space. */
const line = (text: string, maxChars = MAX_LINE_CHARS): string => {
  const flat = text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu, " ")
    .trim();
  const chars = [...flat];
  return chars.length <= maxChars ? flat : `${chars.slice(0, maxChars - 1).join("")}…`;
};

const memberOf = (body: JsonValue, name: string): string | null => {
  const value = isJsonObject(body) ? body[name] : undefined;
  if (typeof value === "string") return line(value);
  if (typeof value === "number") return String(value);
  return isJsonObject(value) && typeof value.type === "string" && typeof value.id === "string"
    ? line(`${value.type}/${value.id}`)
    : null;
};

/** Names come from the field. A name that a shell would not read as one word is quoted, because the command is made for pasting. */
const word = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

const lookAt = (body: JsonValue): string | null => {
  const name = memberOf(body, "case");
  return name === null ? null : `tributary case show ${word(name)}`;
};

const FACTS = [
  ["Case", "case"],
  ["View", "view"],
  ["About", "entity"],
  ["Field", "register"],
  ["Invariant", "invariant"],
  ["Rule", "rule"],
  ["Log position", "position"],
] as const;

function textOf({ subject, body }: Notice): string {
  const facts = FACTS.flatMap(([title, name]) => {
    const value = memberOf(body, name);
    return value === null ? [] : [`${title}: ${value}`];
  });
  const command = lookAt(body);
  const parts = [
    line(subject),
    memberOf(body, "text"),
    facts.join("\n"),
    command === null ? null : `Look at it:\n\n    ${command}`,
  ];
  return `${parts.filter((part) => part !== null && part !== "").join("\n\n")}\n`;
}

const viewOf = ({ body }: Notice): string => memberOf(body, "view") ?? "other";
const ruleOf = ({ body }: Notice): string => memberOf(body, "rule") ?? memberOf(body, "invariant") ?? "no rule";

/** Groups by name, the largest first. */
const grouped = (
  notices: readonly Notice[],
  name: (notice: Notice) => string,
): readonly (readonly [string, readonly Notice[]])[] =>
  [...Map.groupBy(notices, name)].sort(([a, x], [b, y]) => y.length - x.length || (a < b ? -1 : 1));

const counted = (count: number): string => (count === 1 ? "1 notice" : `${count} notices`);

const digestSubject = (notices: readonly Notice[]): string =>
  `${counted(notices.length)}: ${grouped(notices, viewOf)
    .map(([view, { length }]) => `${view} ${length}`)
    .join(", ")}`;

function digestText(notices: readonly Notice[]): string {
  let left = MAX_LISTED;
  const groups = grouped(notices, (notice) => `${viewOf(notice)}, ${ruleOf(notice)}`).map(([name, members]) => {
    const listed = members.slice(0, left);
    left -= listed.length;
    return [`${name}: ${members.length}`, ...listed.map(digestLine)].join("\n");
  });
  const unlisted = notices.length - (MAX_LISTED - left);
  const times = notices.map(({ createdAt }) => createdAt).sort();
  const parts = [
    `${counted(notices.length)} from ${times[0]} to ${times.at(-1)}.`,
    ...groups,
    ...(unlisted === 0 ? [] : [`And ${unlisted} more that are counted above but not listed.`]),
  ];
  return `${parts.join("\n\n")}\n`;
}

const digestLine = ({ subject, body }: Notice): string => {
  const command = lookAt(body);
  return `  - ${line(subject, MAX_SUBJECT_CHARS)}${command === null ? "" : `\n      ${command}`}`;
};
