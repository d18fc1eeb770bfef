/** Entities as people name them on a command line: `beneficiary/NBO-000017`, or type and id as two words. */
import { type EntityRef, TributaryError } from "../core/index.ts";

/** Splits `beneficiary/NBO-000017`; an id may hold slashes. Throws `usage`. */
export function entityNamed(text: string): EntityRef {
  const slash = text.indexOf("/");
  if (slash >= 1 && slash < text.length - 1) return { type: text.slice(0, slash), id: text.slice(slash + 1) };
  throw new TributaryError(
    "usage",
    `${JSON.stringify(text)} is not an entity`,
    "Write it as type/id, for example beneficiary/NBO-000017.",
  );
}

/** The entity at the beginning of a command's words, as `type/id`, and the words after it. Throws `usage` where there is no entity. */
export function entityIn(
  words: readonly string[],
  usage: string,
  maxAfter = 0,
): { readonly entity: string; readonly rest: readonly string[] } {
  const [first, second, ...after] = words;
  if (first === undefined || first === "") throw new TributaryError("usage", "the entity is missing", `Use: ${usage}`);
  const isWhole = first.includes("/");
  if (!isWhole && (second === undefined || second === ""))
    throw new TributaryError(
      "usage",
      `the entity's id is missing: ${first} is a type`,
      `Write TYPE/ID, for example ${first}/NBO-000017. Use: ${usage}`,
    );
  const rest = isWhole ? words.slice(1) : after;
  const extra = rest[maxAfter];
  if (extra !== undefined) throw new TributaryError("usage", `${extra} is one argument too many`, `Use: ${usage}`);
  const { type, id } = entityNamed(isWhole ? first : `${first}/${second}`);
  return { entity: `${type}/${id}`, rest };
}
