import type { JsonValue, OriginId } from "../../core/index.ts";
import type { Crdt } from "../crdt.ts";
import { byText, refuseProblem } from "./dots.ts";

/**
 * `sum`: the exact sum as decimal text; `seen`: each origin with the seqs of its writes, as differences (`[3, 1, 5]` is 3, 4, 9).
 * One small number a write; the sum takes at most about 650 digits, since every double is a decimal between 1e308 and 5e-324.
 */
interface State {
  readonly sum: string;
  readonly seen: readonly (readonly [OriginId, readonly number[]])[];
}

/**
 * Adds up numbers: each write is a difference, which may be negative or fractional. Decimals are added as decimals, so that 0.1 and 0.2 make 0.3
 * and the order of addition cannot show. A sum beyond what a number can hold reads as the largest number.
 */
export const counter: Crdt = {
  name: "counter",
  version: 1,
  columns: ["integer", "number", "decimal"],
  problem: (value) => (typeof value === "number" && Number.isFinite(value) ? null : "a counter takes a number to add"),
  join(state, { by, value }) {
    refuseProblem("counter", this.problem(value));
    const { sum, seen } = (state ?? { sum: "0", seen: [] }) as unknown as State;
    const at = seen.findIndex(([origin]) => origin === by.origin);
    const steps = withSeq(at < 0 ? [] : seen[at]![1], by.seq);
    if (steps === null) return state!;
    const others = seen.filter((_, i) => i !== at);
    const next: State = {
      sum: addDecimals(sum, String(value as number)),
      seen: [...others, [by.origin, steps] as const].sort(([a], [b]) => byText(a, b)),
    };
    return next as unknown as JsonValue;
  },
  read(state) {
    const sum = Number((state as unknown as State).sum);
    return Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, sum));
  },
};

/** The steps with one more seq; `null` when it is there. */
function withSeq(steps: readonly number[], seq: number): number[] | null {
  let before = 0;
  let i = 0;
  for (; i < steps.length; i++) {
    const here = before + steps[i]!;
    if (here === seq) return null;
    if (here > seq) break;
    before = here;
  }
  const after = i < steps.length ? [steps[i]! - (seq - before), ...steps.slice(i + 1)] : [];
  return [...steps.slice(0, i), seq - before, ...after];
}

interface Decimal {
  readonly digits: bigint;
  /** How many of the digits are decimals. */
  readonly scale: number;
}

/** Reads decimal text, or a number's shortest text: `-1.5`, `1e+21`, `5e-324`. */
function parseDecimal(text: string): Decimal {
  const [mantissa, exponent = "0"] = text.split("e") as [string, string?];
  const point = mantissa.indexOf(".");
  const decimals = point < 0 ? 0 : mantissa.length - point - 1;
  const scale = decimals - Number(exponent);
  const digits = BigInt(mantissa.replace(".", ""));
  return scale < 0 ? { digits: digits * 10n ** BigInt(-scale), scale: 0 } : { digits, scale };
}

/** The sum of two decimals, written without an exponent and without needless zeros. */
function addDecimals(a: string, b: string): string {
  const [x, y] = [parseDecimal(a), parseDecimal(b)];
  const scale = Math.max(x.scale, y.scale);
  const sum = x.digits * 10n ** BigInt(scale - x.scale) + y.digits * 10n ** BigInt(scale - y.scale);
  const size = (sum < 0n ? -sum : sum).toString().padStart(scale + 1, "0");
  const whole = size.slice(0, size.length - scale);
  const decimals = size.slice(size.length - scale).replace(/0+$/, "");
  return `${sum < 0n ? "-" : ""}${whole}${decimals === "" ? "" : `.${decimals}`}`;
}
