/**
 * A hub for programs in TypeScript. In come an address and a token; out come typed rows, cases and decisions. It needs `fetch` alone and no other package: it runs in browsers and in Node.
 */
export type {
  Case,
  CaseDetails,
  CaseNote,
  CaseNoted,
  CaseState,
  Cases,
  CasesArguments,
  ChangeInput,
  Choice,
  Decided,
  Decision,
  Decisions,
  Entity,
  EntityInput,
  EventInput,
  Examined,
  Explanation,
  HeldEvent,
  History,
  HistoryArguments,
  InvolvedEvent,
  Me,
  ParkedAt,
  Problem,
  Quarantine,
  QuarantineArguments,
  QuarantinedEvent,
  QuarantineState,
  RegisterNow,
  RegisterStory,
  Released,
  ReleaseQuarantinedArguments,
  Right,
  SchemaRefInput,
  Standing,
  StandingValue,
  Step,
  Unfolded,
  Version,
  WrittenEvent,
} from "./answers.ts";
export { type Chosen, client, type HubClient, type HubQuarantine } from "./client.ts";
export { HubError } from "./error.ts";
export type { JsonObject, JsonValue } from "./json.ts";
export type { CasesTold, FollowOptions, RowsTold, Stood, Synced, SyncsTold } from "./live.ts";
export type { Asking, RequestOptions, Token } from "./request.ts";
export type {
  AnyEventOf,
  AnyHubTypes,
  ColumnCondition,
  ColumnKind,
  ColumnName,
  ColumnsOf,
  ColumnValues,
  EventName,
  EventOf,
  HubTypes,
  RowOf,
  ViewName,
  Where,
} from "./types.ts";
export type { HubView, LiveQuestion, Moment, Page, RowQuestion, RowsQuestion } from "./view.ts";
