/** What is followed: each field of the schema's third root, with what it tells. The right is asked when somebody begins, and again and again while they follow. */
import { type GraphQLSchema, isObjectType } from "graphql";
import { isTributaryError, type JsonValue, positionToText, type Right, type Viewer } from "../../core/index.ts";
import { mustMay } from "../../http/index.ts";
import type { View } from "../../merge/engine.ts";
import type { CasesTold, Live, RowsTold, SyncsTold } from "../live.ts";
import { conditionsOf, type PageArgs } from "./answers-views.ts";
import { toldError } from "./errors.ts";
import type { Asking } from "./hub.ts";
import { rightOf } from "./rights.ts";

export const FOLLOWED = "Subscription";

interface FollowArgs {
  readonly where?: PageArgs["where"];
  readonly from?: string | null;
}
interface Following {
  readonly viewer: () => Promise<Viewer | null>;
  readonly from?: string;
}
/** Follows something for somebody. What comes is what the field shows. */
type Follow = (live: Live, args: FollowArgs, following: Following) => AsyncIterable<object>;

/** The last thing that comes where following has failed. */
class Failed {
  readonly error: unknown;
  constructor(error: unknown) {
    this.error = error;
  }
}

const rowsOf = (told: RowsTold) => ({
  kind: told.kind,
  resume: told.resume,
  rows: told.kind === "rows" ? told.rows.map(({ id, values }): Readonly<Record<string, JsonValue>> => ({ id, ...values })) : [],
  gone: told.kind === "rows" ? told.gone : [],
});
const casesOf = (told: CasesTold) => ({ kind: told.kind, resume: told.resume, cases: told.kind === "cases" ? told.cases : [] });
const syncsOf = (told: SyncsTold) => ({
  kind: told.kind,
  resume: told.resume,
  syncs: told.kind === "syncs" ? told.syncs.map((each) => ({ ...each, position: positionToText(each.position) })) : [],
});

/** Each thing that comes, as the field shows it. Whoever leaves early leaves what is followed as well. */
const shown = <T>(of: AsyncIterable<T>, show: (each: T) => object): AsyncIterable<object> => ({
  [Symbol.asyncIterator]() {
    const from = of[Symbol.asyncIterator]();
    let isOver = false;
    return {
      async next() {
        if (isOver) return { done: true, value: undefined };
        try {
          const { done, value } = await from.next();
          return done === true ? { done, value: undefined } : { done: false, value: show(value) };
        } catch (error) {
          isOver = true;
          return { done: false, value: new Failed(error) };
        }
      },
      async return() {
        isOver = true;
        await from.return?.();
        return { done: true, value: undefined };
      },
    };
  },
});

function followOf(name: string, views: readonly View[]): Follow | undefined {
  if (name === "casesChanged") return (live, _, following) => shown(live.casesChanged(following), casesOf);
  if (name === "conflictsOpened") return (live, _, following) => shown(live.conflictsOpened(following), casesOf);
  if (name === "syncsCompleted") return (live, _, following) => shown(live.syncsCompleted(following), syncsOf);
  const view = views.find((each) => each.name === name);
  if (view === undefined) return undefined;
  return (live, { where }, following) =>
    shown(live.changes({ view: name, where: conditionsOf(view, where), ...following }), rowsOf);
}

/** Who follows, as of now; `null`: somebody who may not any more. */
const whoFollows = ({ principal, again }: Asking, right: Right | null): Following["viewer"] =>
  async function viewer() {
    if (again === undefined) return principal.viewer;
    try {
      const who = await again();
      if (right !== null) mustMay(who, right);
      return who.viewer;
    } catch (error) {
      // The machine's failures say nothing of who it is: the live queries ask once more.
      if (isTributaryError(error) && error.status < 500) return null;
      throw error;
    }
  };

/** Gives each field that is followed its right and what it tells. Throws for a field that lacks one of the two. */
export function guardFollowed(schema: GraphQLSchema, views: readonly View[]): void {
  const type = schema.getType(FOLLOWED);
  if (!isObjectType(type)) return;
  for (const field of Object.values(type.getFields())) {
    const right = rightOf(FOLLOWED, field.name);
    const follow = followOf(field.name, views);
    if (right === undefined) throw new Error(`invariant broken: ${FOLLOWED}.${field.name} has no line in the table of rights`);
    if (follow === undefined) throw new Error(`invariant broken: nothing answers ${FOLLOWED}.${field.name}`);
    field.subscribe = (_source, args: FollowArgs, asking: Asking) => {
      if (right !== null) mustMay(asking.principal, right);
      const { from } = args;
      return follow(asking.hub.live, args, { viewer: whoFollows(asking, right), ...(from == null ? {} : { from }) });
    };
    field.resolve = (source: unknown, _args: unknown, { hub }: Asking) => {
      if (source instanceof Failed) throw toldError(source.error, hub.say);
      return source;
    };
  }
}
