import {
  type Bucket,
  type BucketId,
  bucketIdOf,
  canonicalize,
  coversBucket,
  grantsOf,
  type Holder,
  isOfColumns,
  OPEN_ENTITIES,
  type Policy,
  type PolicyGrant,
  QUARANTINE_ENTITY,
} from "../core/index.ts";
import { sha256Hex } from "../core/node.ts";
import type { Known, KnownBucket } from "./known.ts";
import { type HeldBucket, type Holding, MAX_BUCKETS, summaryText } from "./protocol/index.ts";

/** Who asks, by name. Which roles a site has, the hub's events say, never the site. */
export type Caller =
  | { readonly kind: "site"; readonly org: string; readonly site: string }
  | { readonly kind: "hub"; readonly org: string };

/** So many holders are remembered, each with what it may hold. */
const MAX_HOLDERS = 10_000;
/** Earlier holdings of one holder that are remembered: a replica that comes with one deletes what is not given any more, and owes a word about it. */
const MAX_EARLIER = 2;

/** What a holder may hold, as of a seal. */
export interface Held {
  readonly holding: Holding;
  /** By bucket. */
  find(bucket: BucketId): HeldBucket | undefined;
  /** The ends of its buckets, in their order. */
  ends(known: Known): readonly string[];
  /** What the holder might hold before, by the digest of that holding; the last few. */
  readonly earlier: ReadonlyMap<string, readonly BucketId[]>;
  /** The buckets of an earlier holding that are not in this one; none where it is not remembered. */
  lostSince(digest: string): readonly BucketId[];
  /** The digest of the ends, as a replica that stands at all of them computes it. */
  summary(known: Known): string;
}

interface Remembered extends Held {
  readonly life: number;
  readonly policies: readonly Policy[];
  readonly roles: readonly string[];
  readonly grants: ReadonlyMap<string, readonly PolicyGrant[]>;
  /** So many of the known buckets were looked at. */
  seen: number;
}

/** Without its roles: when these change, what the holder might hold before is still known, and what it has to delete. */
const nameOf = (caller: Caller): string => (caller.kind === "hub" ? `hub ${caller.org}` : `${caller.org}.${caller.site}`);

const NO_ROLES: readonly string[] = [];
const rolesOf = ({ roles }: Known, caller: Caller): readonly string[] =>
  (caller.kind === "site" ? roles.get(nameOf(caller)) : undefined) ?? NO_ROLES;
const areSame = (a: readonly string[], b: readonly string[]): boolean =>
  a === b || (a.length === b.length && a.every((role, i) => role === b[i]));

/** What everybody may hold: what is needed to read all the rest, and what one's own site has in quarantine. */
function openTo(holder: Caller): HeldBucket[] {
  const open: Bucket[] = OPEN_ENTITIES.map((entityType) => ({ entityType, values: [] }));
  if (holder.kind === "site") open.push({ entityType: QUARANTINE_ENTITY, values: [`${holder.org}.${holder.site}`] });
  return open.map((bucket) => ({ bucket: bucketIdOf(bucket), ...bucket, priority: 0, statesOnly: false }));
}

/** What comes down by grants, by entity type. */
function downward(grants: readonly PolicyGrant[]): ReadonlyMap<string, readonly PolicyGrant[]> {
  const out = new Map<string, PolicyGrant[]>();
  for (const grant of grants) {
    if (grant.direction === "up") continue;
    const of = out.get(grant.entityType) ?? [];
    out.set(grant.entityType, of);
    of.push(grant);
  }
  return out;
}

const inOrder = (a: HeldBucket, b: HeldBucket): number =>
  a.priority - b.priority ||
  (a.entityType < b.entityType ? -1 : a.entityType > b.entityType ? 1 : 0) ||
  (a.bucket < b.bucket ? -1 : a.bucket > b.bucket ? 1 : 0);

/**
 * What holders may hold, by the policies, the sites' roles and the buckets that are known. `scopes`: the scope columns of each entity type that has a view. Where several policies give a bucket, the first priority
 * counts, and events are sent unless all give states only. A holder that would have too many buckets has the first ones, and `say` is told.
 */
export function holdings(
  scopes: ReadonlyMap<string, readonly string[]>,
  say: (event: Record<string, unknown>) => void = () => {},
) {
  const remembered = new Map<string, Remembered>();
  /** Holders share what is said of a bucket. */
  let shared = new Map<string, HeldBucket>();
  let life = 0;

  const given = (grants: Remembered["grants"], { id, bucket }: KnownBucket): HeldBucket[] => {
    const columns = scopes.get(bucket.entityType);
    // Buckets of other columns are left over from before the scope was changed: nobody is in them any more.
    if (columns === undefined || !isOfColumns(bucket, columns)) return [];
    const covering = (grants.get(bucket.entityType) ?? []).filter((grant) => coversBucket(grant, bucket));
    if (covering.length === 0) return [];
    const priority = Math.min(...covering.map((grant) => grant.priority));
    const statesOnly = covering.every((grant) => grant.statesOnly);
    const name = `${id} ${priority} ${statesOnly}`;
    let held = shared.get(name);
    if (held === undefined) {
      held = { bucket: id, entityType: bucket.entityType, values: bucket.values, priority, statesOnly };
      shared.set(name, held);
    }
    return [held];
  };
  const isBySame = (before: Remembered, known: Known, caller: Caller): boolean =>
    before.life === known.life && before.policies === known.policies && areSame(before.roles, rolesOf(known, caller));
  const make = (known: Known, caller: Caller, before: Remembered | undefined): Remembered => {
    const roles = rolesOf(known, caller);
    const holder: Holder = caller.kind === "site" ? { ...caller, roles } : caller;
    const goesOn = before !== undefined && isBySame(before, known, caller);
    const grants = goesOn ? before.grants : downward(grantsOf(known.policies, holder));
    const fresh = known.buckets.slice(goesOn ? before.seen : 0).flatMap((each) => given(grants, each));
    const seen = known.buckets.length;
    if (goesOn && fresh.length === 0) {
      before.seen = seen;
      return before;
    }
    const open = openTo(holder);
    const isOpen = new Set(open.map(({ bucket }) => bucket));
    const rest = goesOn ? before.holding.buckets.slice(open.length) : [];
    const all = [...open, ...[...rest, ...fresh].filter(({ bucket }) => !isOpen.has(bucket)).sort(inOrder)];
    if (all.length > MAX_BUCKETS)
      say({ event: "holding-too-large", holder: nameOf(holder), buckets: all.length, sent: MAX_BUCKETS });
    const now = heldOf(all.slice(0, MAX_BUCKETS), before);
    return { ...now, life: known.life, policies: known.policies, roles, grants, seen };
  };

  return {
    of(known: Known, holder: Caller): Held {
      if (known.life !== life) {
        [life, shared] = [known.life, new Map()];
        remembered.clear();
      }
      const name = nameOf(holder);
      const before = remembered.get(name);
      if (before !== undefined && isBySame(before, known, holder) && before.seen >= known.buckets.length) return before;
      const made = make(known, holder, before);
      remembered.delete(name);
      if (remembered.size >= MAX_HOLDERS) remembered.delete(remembered.keys().next().value!);
      remembered.set(name, made);
      return made;
    },
  };
}

/** `before`: what the holder might hold before, if that is remembered. */
function heldOf(buckets: readonly HeldBucket[], before: Held | undefined): Held {
  const digest = sha256Hex(canonicalize(buckets.map(({ bucket, priority, statesOnly }) => [bucket, priority, statesOnly])));
  let byId: ReadonlyMap<BucketId, HeldBucket> | null = null;
  let as: Known | null = null;
  let summary = "";
  const earlier = new Map(before === undefined ? [] : [...before.earlier].slice(-(MAX_EARLIER - 1)));
  if (before !== undefined)
    earlier.set(
      before.holding.digest,
      before.holding.buckets.map(({ bucket }) => bucket),
    );
  const ends = (known: Known): string[] => buckets.map(({ bucket }) => known.heads.get(bucket)?.end ?? "");
  return {
    holding: { digest, buckets },
    find(bucket) {
      byId ??= new Map(buckets.map((held) => [held.bucket, held]));
      return byId.get(bucket);
    },
    ends,
    earlier,
    lostSince(of) {
      const ids = new Set(buckets.map(({ bucket }) => bucket));
      return (earlier.get(of) ?? []).filter((bucket) => !ids.has(bucket));
    },
    summary(known) {
      if (as !== known) [as, summary] = [known, sha256Hex(summaryText(digest, ends(known)))];
      return summary;
    },
  };
}
