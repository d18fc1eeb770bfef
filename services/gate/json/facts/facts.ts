import type { JsonValue } from "../../../core/index.ts";
import type { View } from "../document.ts";
import type { Type } from "./types.ts";

export interface Facts {
  readonly types: ReadonlySet<Type>;
  /** All values there are, where they are few; `null`: too many to list. */
  readonly values: readonly JsonValue[] | null;
  readonly number: { readonly min: Bound; readonly max: Bound; readonly multiples: readonly number[] };
  readonly string: {
    readonly minLength: number;
    readonly maxLength: number;
    readonly patterns: readonly string[];
    readonly formats: readonly string[];
    /** contentEncoding and contentMediaType, as `keyword=value`. */
    readonly contents: readonly string[];
  };
  readonly array: {
    readonly minItems: number;
    readonly maxItems: number;
    readonly unique: boolean;
    /** How many items at the front have schemas of their own. */
    readonly positions: number;
    readonly contains: readonly { readonly view: View; readonly min: number; readonly max: number }[];
  };
  readonly object: {
    readonly minProperties: number;
    readonly maxProperties: number;
    readonly required: ReadonlySet<string>;
    readonly names: ReadonlySet<string>;
    readonly patterns: ReadonlySet<string>;
    readonly propertyNames: readonly View[];
    readonly dependentRequired: ReadonlyMap<string, readonly string[]>;
  };
}

export interface Bound {
  readonly at: number;
  readonly open: boolean;
}
