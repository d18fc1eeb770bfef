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
import { type HeldBucket, MAX_BUCKETS, summaryText } from "./protocol/index.ts";

/** Who asks, by name. Which roles a site has, the hub's events say, never the site. */
export type Caller =
  | { readonly kind: "site"; readonly org: string; readonly site: string }
  | { readonly kind: "hub"; readonly org: string };

/** So many holders are remembered, each with the digest of what it may hold. */
const MAX_HOLDERS = 10_000;
/** So many buckets stand in the lists that are remembered, in all. Beyond, lists are forgotten, and made again when they are needed. */
const MAX_LISTED = 2_000_000;
/** Of so many changed buckets it is looked whether a holder's are among them; of more, its summary is made again at once. */
const FEW_CHANGED = 100;

/** What a holder may hold, as of a seal. */
export interface Held {
  /** The holder's name. */
  readonly holder: string;
  /** The digest of its list. */
  readonly digest: string;
  /** Its buckets, in the order in which they are served. */
  list(): readonly HeldBucket[];
  find(bucket: BucketId): HeldBucket | undefined;
  /** The ends of its buckets, in their order. */
  ends(): readonly string[];
  /** The digest of the ends, as a replica that stands at all of them computes it. */
  summary(): string;
}

/** What comes down by grants, by entity type. */
type Grants = ReadonlyMap<string, readonly PolicyGrant[]>;

/** What grants give of the known buckets. Holders with the same grants share it, so a thousand sites that may hold the same take little more memory than one. */
interface Given {
  readonly grants: Grants;
  /** In the order in which buckets are served. */
  buckets: readonly HeldBucket[];
  /** So many of the known buckets were looked at. */
  seen: number;
  /** Each list has another number. */
  version: number;
}

/** What is remembered of a holder: nothing that grows with the number of its buckets. */
interface Remembered {
  readonly policies: readonly Policy[];
  readonly roles: readonly string[];
  /** By what the list is found that its grants give. */
  readonly key: string;
  readonly grants: Grants;
  /** What it may hold besides. */
  readonly open: readonly HeldBucket[];
  /** So many of the known buckets are in the digest, as far as it is given them, and by this list. */
  seen: number;
  version: number;
  digest: string;
  isCut: boolean;
  summary: { readonly seal: number; readonly digest: string; readonly text: string } | null;
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

function downward(grants: readonly PolicyGrant[]): Grants {
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

/** Types of which holders get by no policy what they get anyway. */
const NOT_GIVEN = new Set([...OPEN_ENTITIES, QUARANTINE_ENTITY]);

/**
 * What holders may hold, by the policies, the sites' roles and the buckets that are known. `scopes`: the scope columns of each entity type that has a view. Where several policies give a bucket, the first priority
 * counts, and events are sent unless all give states only. A holder that would have too many buckets has the first ones, and `say` is told.
 */
export function holdings(
  scopes: ReadonlyMap<string, readonly string[]>,
  say: (event: Record<string, unknown>) => void = () => {},
) {
  const remembered = new Map<string, Remembered>();
  const lists = listsOver(scopes);
  let life = 0;

  const remember = (known: Known, caller: Caller): Remembered => {
    const name = nameOf(caller);
    const before = remembered.get(name);
    const { policies } = known;
    const roles = rolesOf(known, caller);
    if (before?.policies === policies && areSame(before.roles, roles)) return before;
    const holder: Holder = caller.kind === "site" ? { ...caller, roles } : caller;
    const grants = downward(grantsOf(known.policies, holder));
    const key = sha256Hex(JSON.stringify([...grants]));
    const now = { policies, roles, key, grants: lists.sharing(key, grants), open: before?.open ?? openTo(caller) };
    const fresh: Remembered = { ...now, seen: -1, version: 0, digest: "", isCut: false, summary: null };
    remembered.delete(name);
    if (remembered.size >= MAX_HOLDERS) remembered.delete(remembered.keys().next().value!);
    remembered.set(name, fresh);
    return fresh;
  };
  /** Makes the digest anew where buckets have become known that the holder is given. */
  const bringOn = (own: Remembered, known: Known, name: string): void => {
    if (own.seen >= known.buckets.length) return;
    const { buckets, version, seen } = lists.of(own, known);
    own.seen = seen;
    if (own.version === version) return;
    const all = [...own.open, ...buckets];
    own.isCut = all.length > MAX_BUCKETS;
    if (own.isCut) say({ event: "holding-too-large", holder: name, buckets: all.length, sent: MAX_BUCKETS });
    const said = all.slice(0, MAX_BUCKETS).map(({ bucket, priority, statesOnly }) => [bucket, priority, statesOnly]);
    [own.version, own.digest] = [version, sha256Hex(canonicalize(said))];
  };

  return {
    of(known: Known, holder: Caller): Held {
      if (known.life !== life) {
        life = known.life;
        remembered.clear();
        lists.clear();
      }
      const own = remember(known, holder);
      const name = nameOf(holder);
      bringOn(own, known, name);
      const { digest } = own;
      const list = (): readonly HeldBucket[] => [...own.open, ...lists.of(own, known).buckets].slice(0, MAX_BUCKETS);
      const find = (id: BucketId): HeldBucket | undefined => {
        const open = own.open.find(({ bucket }) => bucket === id);
        if (open !== undefined) return open;
        if (own.isCut) return list().find(({ bucket }) => bucket === id);
        const of = known.heads.get(id)?.of;
        return of === undefined ? undefined : lists.given(own.grants, { id, bucket: of });
      };
      const ends = (): string[] => list().map(({ bucket }) => known.heads.get(bucket)?.end ?? "");
      return { holder: name, digest, list, find, ends, summary: () => summaryOf(own, known, { find, ends }) };
    },
  };
}

/** A summary is made again when one of the holder's buckets has changed. */
function summaryOf(own: Remembered, known: Known, { find, ends }: Pick<Held, "find" | "ends">): string {
  const { digest, summary } = own;
  const { number: seal } = known.seal;
  const before = summary?.digest === digest ? summary : null;
  if (before?.seal === seal) return before.text;
  const changed = before !== null && before.seal < seal ? known.changedAfter(before.seal) : null;
  const isSame = changed !== null && changed.length <= FEW_CHANGED && changed.every((bucket) => find(bucket) === undefined);
  const text = isSame && before !== null ? before.text : sha256Hex(summaryText(digest, ends()));
  if (before === null || before.seal < seal) own.summary = { seal, digest, text };
  return text;
}

/** The lists of what grants give, as far as they are remembered. */
function listsOver(scopes: ReadonlyMap<string, readonly string[]>) {
  const lists = new Map<string, Given>();
  /** Lists share what is said of a bucket. */
  const shared = new Map<string, HeldBucket>();
  let [listed, versions] = [0, 0];

  const given = (grants: Grants, { id, bucket }: KnownBucket): HeldBucket | undefined => {
    const columns = NOT_GIVEN.has(bucket.entityType) ? undefined : scopes.get(bucket.entityType);
    // Buckets of other columns are left over from before the scope was changed: nobody is in them any more.
    if (columns === undefined || !isOfColumns(bucket, columns)) return undefined;
    const covering = (grants.get(bucket.entityType) ?? []).filter((grant) => coversBucket(grant, bucket));
    if (covering.length === 0) return undefined;
    const priority = Math.min(...covering.map((grant) => grant.priority));
    const statesOnly = covering.every((grant) => grant.statesOnly);
    const name = `${id} ${priority} ${statesOnly}`;
    let held = shared.get(name);
    if (held === undefined) {
      held = { bucket: id, entityType: bucket.entityType, values: bucket.values, priority, statesOnly };
      shared.set(name, held);
    }
    return held;
  };
  /** Forgets the lists that were made first, until the others are not too many. */
  const bound = (but: string): void => {
    for (const [key, { buckets }] of lists) {
      if (listed <= MAX_LISTED) return;
      if (key === but) continue;
      lists.delete(key);
      listed -= buckets.length;
    }
  };
  return {
    given,
    /** The same grants as others have who have the same list. */
    sharing: (key: string, grants: Grants): Grants => lists.get(key)?.grants ?? grants,
    /** What grants give of all buckets that are known. */
    of({ key, grants }: Pick<Remembered, "key" | "grants">, known: Known): Given {
      const list = lists.get(key) ?? { grants, buckets: [], seen: 0, version: ++versions };
      lists.set(key, list);
      if (list.seen >= known.buckets.length) return list;
      const fresh = known.buckets.slice(list.seen).flatMap((each) => given(grants, each) ?? []);
      list.seen = known.buckets.length;
      if (fresh.length === 0) return list;
      list.buckets = [...list.buckets, ...fresh].sort(inOrder);
      list.version = ++versions;
      listed += fresh.length;
      bound(key);
      return list;
    },
    clear(): void {
      lists.clear();
      shared.clear();
      listed = 0;
    },
  };
}
