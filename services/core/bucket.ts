/**
 * A bucket: all entities of one type whose row has the same values in the columns that its view names as its scope. What a site may hold is a set of buckets, and
 * which buckets an entity is in is decided when an event is written, by the hub that folds it.
 */
import type { BucketId } from "./ids.ts";
import { canonicalize } from "./json.ts";
import { QUARANTINE_ENTITY } from "./release.ts";
import { sha256 } from "./sha256.ts";

/** A value of a scope column, as JSON: days are texts, decimals are texts. */
export type ScopeValue = string | number | boolean | null;

export interface Bucket {
  readonly entityType: string;
  /** What the values are called: the columns of the view's `scopeBy`. Left out where no view gives them: then there are no values, or it is the quarantine of a site. */
  readonly columns?: readonly string[];
  /** In the order of the columns; empty for entities whose view names none. */
  readonly values: readonly ScopeValue[];
}

const ID = /^[0-9a-f]{32}$/;
export const isBucketId = (text: string): text is BucketId => ID.test(text);

/**
 * The id of a bucket. The names of its columns are part of it: where a view's scope is changed, all its buckets are others, so nobody takes a village for the district of the same name. A bucket without
 * columns is named by its values alone.
 */
export const bucketIdOf = ({ entityType, columns = [], values }: Bucket): BucketId =>
  sha256(`tributary bucket\n${canonicalize([entityType, ...(columns.length === 0 ? [] : [columns]), ...values])}`).slice(
    0,
    32,
  ) as BucketId;

/** The bucket of a site's quarantined events, which only that site gets. `site`: `org.site`. The entities in it are named `<origin>/<seq>`. */
export const quarantineBucket = (site: string): Bucket => ({ entityType: QUARANTINE_ENTITY, values: [site] });

/** Whether a bucket's values are of these columns. */
export const isOfColumns = ({ columns = [] }: Bucket, of: readonly string[]): boolean =>
  columns.length === of.length && columns.every((name, i) => name === of[i]);

export const isSameBucket = (a: Bucket, b: Bucket): boolean =>
  a.entityType === b.entityType &&
  isOfColumns(a, b.columns ?? []) &&
  a.values.length === b.values.length &&
  a.values.every((value, i) => value === b.values[i]);
