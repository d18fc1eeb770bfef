import { wholeRange } from "../facts/gather.ts";
import type { Type } from "../facts/types.ts";
import { isMultiple } from "../multiples.ts";
import type { JsonMismatch, Location } from "./proof.ts";

/** `types`: the types of the writer that the reader takes. */
export function ofNumbers({ facts: { number }, schema, no }: Location, types: ReadonlySet<Type>): JsonMismatch[] {
  const out: JsonMismatch[] = [];
  const wholeOnly = !types.has("fraction");
  const whole = wholeRange(number);
  const [low, high] = wholeOnly
    ? [
        { at: whole.low, open: false },
        { at: whole.high, open: false },
      ]
    : [number.min, number.max];
  const [lowest, highest] = [low.at, high.at];
  const n = (keyword: string): number => schema[keyword] as number;
  if (n("minimum") !== undefined && lowest < n("minimum")) out.push(no("minimum", `numbers below ${n("minimum")} were allowed`));
  if (n("maximum") !== undefined && highest > n("maximum")) out.push(no("maximum", `numbers above ${n("maximum")} were allowed`));
  if (n("exclusiveMinimum") !== undefined && (lowest < n("exclusiveMinimum") || (lowest === n("exclusiveMinimum") && !low.open)))
    out.push(no("exclusiveMinimum", `numbers not above ${n("exclusiveMinimum")} were allowed`));
  if (
    n("exclusiveMaximum") !== undefined &&
    (highest > n("exclusiveMaximum") || (highest === n("exclusiveMaximum") && !high.open))
  )
    out.push(no("exclusiveMaximum", `numbers not below ${n("exclusiveMaximum")} were allowed`));
  const step = n("multipleOf");
  if (step !== undefined) {
    const given = wholeOnly ? [1, ...number.multiples] : number.multiples;
    if (!given.some((multiple) => isMultiple(multiple, step)))
      out.push(no("multipleOf", `numbers that are not multiples of ${step} were allowed`));
  }
  return out;
}

export function ofStrings({ facts: { string }, schema, no }: Location): JsonMismatch[] {
  const out: JsonMismatch[] = [];
  if (string.minLength < ((schema.minLength as number) ?? 0))
    out.push(no("minLength", `texts shorter than ${String(schema.minLength)} were allowed`));
  if (string.maxLength > ((schema.maxLength as number) ?? Infinity))
    out.push(no("maxLength", `texts longer than ${String(schema.maxLength)} were allowed`));
  if (typeof schema.pattern === "string" && !string.patterns.includes(schema.pattern))
    out.push(no("pattern", `texts that do not match ${schema.pattern} may have been allowed`));
  if (typeof schema.format === "string" && !string.formats.includes(schema.format))
    out.push(no("format", `texts that are not a valid ${schema.format} may have been allowed`));
  for (const keyword of ["contentEncoding", "contentMediaType"]) {
    if (schema[keyword] !== undefined && !string.contents.includes(`${keyword}=${String(schema[keyword])}`))
      out.push(no(keyword, `texts were not said to be ${String(schema[keyword])}, and readers would decode them wrongly`));
  }
  return out;
}
