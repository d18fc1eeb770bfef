/** A hub as a program asks it: rows of views, how they came to be, cases and what is decided about them, quarantine, and events. In comes an address with a token; nothing else is kept. */
import type {
  Calls,
  CaseDetails,
  CaseNoted,
  Cases,
  CasesArguments,
  Decided,
  Decisions,
  Entity,
  Examined,
  Explanation,
  History,
  HistoryArguments,
  Me,
  Quarantine,
  QuarantineArguments,
  RegisterNow,
  Released,
  ReleaseQuarantinedArguments,
  WrittenEvent,
} from "./answers.ts";
import { DOCUMENTS } from "./documents.ts";
import type { JsonValue } from "./json.ts";
import { type CasesTold, type Followed, type FollowOptions, follow, type SyncsTold } from "./live.ts";
import { type Asking, asker, endpointOf, keepToken, type RequestOptions } from "./request.ts";
import type { AnyEventOf, AnyHubTypes, HubTypes, ViewName } from "./types.ts";
import { type FollowRows, type HubView, viewsOf } from "./view.ts";

/** What is decided: one of the values that stand side by side, by the code that picks it, or another value. */
export type Chosen = (
  | { readonly pick: string; readonly value?: undefined }
  | { readonly value: JsonValue; readonly pick?: undefined }
) & {
  readonly note?: string | undefined;
};

export interface HubClient<T extends HubTypes = AnyHubTypes> {
  /** Rows of a view. */
  view<V extends ViewName<T>>(name: V): HubView<T, V>;
  /** Who one is to the hub, and what one may. */
  me(options?: Asking): Promise<Me>;

  /** The versions that a row had, the newest first, in pages: `next` is given back as `after`. */
  history(entity: Entity, question?: Omit<HistoryArguments, "entity"> & Asking): Promise<History>;
  /** Decisions on an entity, in the order of the log. */
  decisions(entity: Entity, options?: Asking): Promise<Decisions>;
  /** How an entity's row came to be what it is: of all registers, or the one that holds a field; in all views that show it, or one. */
  explain(
    entity: Entity,
    question?: { readonly field?: string | undefined; readonly view?: string | undefined } & Asking,
  ): Promise<readonly Explanation[]>;

  /** The first thousand cases, oldest first. */
  cases(question?: CasesArguments & Asking): Promise<Cases>;
  /** A case with its values, events and notes; `null`: there is none that is shown to whoever asks. */
  case(id: string, options?: Asking): Promise<CaseDetails | null>;
  /** The values of any register, to pick from. */
  register(entity: Entity, register: string, options?: Asking): Promise<RegisterNow>;
  /** Decides the conflict that a case is about. It stands in the log when the call returns, and in the views soon after. */
  decide(id: string, chosen: Chosen, options?: Asking): Promise<Decided>;
  /** Decides a register of an entity, with or without a case. */
  decideRegister(entity: Entity, register: string, chosen: Chosen, options?: Asking): Promise<Decided>;
  /** Gives a case to a person; `null` takes it back. */
  assign(id: string, to: string | null, options?: { readonly note?: string | undefined } & Asking): Promise<CaseNoted>;
  /** Leaves a violated invariant or a fork as it is, for a reason. */
  accept(id: string, note: string, options?: Asking): Promise<CaseNoted>;
  comment(id: string, text: string, options?: Asking): Promise<CaseNoted>;

  /** Cases that are opened, changed or closed, as it happens; see `live` of a view. */
  casesChanged(options?: FollowOptions): AsyncIterable<CasesTold>;
  /** Only that cases are opened. */
  conflictsOpened(options?: FollowOptions): AsyncIterable<CasesTold>;
  /** That all views show what a device has sent. */
  syncsCompleted(options?: FollowOptions): AsyncIterable<SyncsTold>;

  readonly quarantine: HubQuarantine;

  /**
   * Appends events in the name of whoever has the token, 500 at most. They stand in the log when the call returns, and in the views soon after. Sent once: where the answer is lost
   * (`backend-unreachable`), look at the rows before you append again.
   */
  append(events: AnyEventOf<T> | readonly AnyEventOf<T>[], options?: Asking): Promise<readonly WrittenEvent[]>;

  /** Asks or writes by a document of your own; returns its `data`. Any error of the answer is thrown. A document with a mutation is sent once. */
  query<A = Readonly<Record<string, unknown>>>(document: string, variables?: object, options?: Asking): Promise<A>;
}

/** Events that did not fit. */
export interface HubQuarantine {
  /** In the order of the log, in pages: `next` is given back as `after`. */
  list(question?: QuarantineArguments & Asking): Promise<Quarantine>;
  /** One (ORIGIN/SEQ), looked at again. */
  look(event: string, options?: Asking): Promise<Examined>;
  /** Releases events that fit now, as they are or mended. */
  release(events: readonly string[], how?: Omit<ReleaseQuarantinedArguments, "events"> & Asking): Promise<Released>;
  /** Rejects events for good. Returns their names. */
  reject(events: readonly string[], reason: string, options?: Asking): Promise<readonly string[]>;
}

/**
 * A hub at an address, asked with a token. Nothing is sent before the first question. A read that the hub cannot answer just now (`backend-unreachable`, `too-many-requests`) is sent once more,
 * after the time that the hub names; a write is sent once. All calls throw `HubError`.
 *
 *   const hub = client<Tributary>("https://hub.example.org", { token });
 *   const { rows } = await hub.view("beneficiaries").rows({ where: { village: { eq: "Gumbo" } }, first: 20 });
 *
 * @param url - The address of the hub's HTTP door.
 */
export function client<T extends HubTypes = AnyHubTypes>(url: string, options: RequestOptions): HubClient<T> {
  const ask = asker(url, options);
  const [endpoint, tokens] = [endpointOf(url), keepToken(options.token)];
  const live: FollowRows = (followed, following) => follow(endpoint, tokens, followed, following);
  const followCases = (field: string, following: FollowOptions = {}): AsyncIterable<CasesTold> =>
    live(followed(field, `cases { ${CASE_FIELDS} }`), following);
  const answer = async <N extends keyof Calls>(name: N, args: object, signal: AbortSignal | undefined): Promise<Calls[N][1]> => {
    const document = DOCUMENTS[name];
    const data = await ask(document, args, { isWrite: document.startsWith("mutation"), signal });
    // A test holds the documents and these types to the hub's schema, and the hub holds its answers to it.
    return (data as { readonly [M in N]: Calls[M][1] })[name];
  };
  const call = <N extends keyof Calls>(name: N, args: Calls[N][0], signal: AbortSignal | undefined): Promise<Calls[N][1]> =>
    answer(name, args, signal);
  return {
    view: viewsOf<T>(ask, live),
    casesChanged: (following) => followCases("casesChanged", following),
    conflictsOpened: (following) => followCases("conflictsOpened", following),
    syncsCompleted: (following = {}) =>
      live<SyncsTold>(followed("syncsCompleted", "syncs { origin org site device through position }"), following),
    me: ({ signal } = {}) => call("me", {}, signal),
    history: (entity, { signal, ...question } = {}) => call("history", { entity, ...question }, signal),
    decisions: (entity, { signal } = {}) => call("decisions", { entity }, signal),
    explain: (entity, { signal, ...question } = {}) => call("explain", { entity, ...question }, signal),
    cases: ({ signal, ...question } = {}) => call("cases", question, signal),
    case: (id, { signal } = {}) => call("case", { id }, signal),
    register: (entity, register, { signal } = {}) => call("register", { entity, register }, signal),
    decide: (id, chosen, { signal } = {}) => call("decideCase", { case: id, ...chosen }, signal),
    decideRegister: (entity, register, chosen, { signal } = {}) =>
      call("decideRegister", { entity, register, ...chosen }, signal),
    assign: (id, to, { signal, note } = {}) => call("assignCase", { case: id, to, note }, signal),
    accept: (id, note, { signal } = {}) => call("acceptCase", { case: id, note }, signal),
    comment: (id, text, { signal } = {}) => call("commentCase", { case: id, text }, signal),
    quarantine: {
      list: ({ signal, ...question } = {}) => call("quarantine", question, signal),
      look: (event, { signal } = {}) => call("quarantined", { event }, signal),
      release: (events, { signal, ...how } = {}) => call("releaseQuarantined", { events, ...how }, signal),
      reject: (events, reason, { signal } = {}) => call("rejectQuarantined", { events, reason }, signal),
    },
    append: async (events, { signal } = {}) => {
      // Typed by the project's own forms, which no type of the schema knows.
      const appended = await answer("append", { events: isList(events) ? events : [events] }, signal);
      return appended.events;
    },
    async query<A>(document: string, variables: object = {}, { signal }: Asking = {}) {
      // A read that only names the word is sent once as well: no harm.
      const data = await ask(document, variables, { isWrite: /\bmutation\b/.test(document), signal });
      return data as A;
    },
  };
}

const followed = (field: string, parts: string): Followed => ({
  document: `subscription live($from: String) { told: ${field}(from: $from) { kind resume ${parts} } }`,
  variables: {},
});

/** All that is known of a case. */
const CASE_FIELDS =
  "id state kind view entityType subject rule says about mark openedAt assignee acceptedBy acceptedNote acceptedAt";

const isList = <E>(events: E | readonly E[]): events is readonly E[] => Array.isArray(events);
