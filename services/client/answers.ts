/** What a hub answers and takes. Made of the hub's own schema; when that has changed, `vitest run test/client/answers.unit.spec.ts -u` makes it again. */
import type { JsonValue } from "./json.ts";

/** One person or site, as a token proves it. */
export interface Me {
  readonly kind: string;
  readonly issuer: string;
  readonly subject: string;
  readonly org: string;
  readonly roles: readonly string[];
  readonly rights: readonly Right[];
  /** The organisations whose rows are shown; null: all. */
  readonly sees: readonly string[] | null;
  readonly expiresAt: string;
}

export interface Right {
  readonly right: string;
  readonly words: string;
}

/** The versions that a row had, the newest first. */
export interface History {
  readonly view: string;
  readonly versions: readonly Version[];
  /** For the next page; null: there are no more. */
  readonly next: string | null;
}

export interface Version {
  readonly position: string;
  readonly recordedAt: string;
  readonly deleted: boolean;
  readonly values: JsonValue;
}

/** An entity, by its type and id. */
export interface EntityInput {
  readonly type: string;
  readonly id: string;
}

export interface HistoryArguments {
  readonly entity: EntityInput;
  readonly view?: string | null | undefined;
  readonly first?: number | null | undefined;
  readonly after?: string | null | undefined;
}

export interface Decisions {
  readonly decisions: readonly Decision[];
  /** Decisions that stood before the entity was folded again, or its view was built again. */
  readonly superseded: readonly Decision[];
  readonly through: string | null;
}

/** What a rule decided about values that stood side by side. */
export interface Decision {
  readonly view: string;
  readonly entity: string;
  readonly register: string;
  readonly position: string;
  readonly rule: string;
  readonly ruleVersion: number;
  readonly reason: string;
  /** What the row showed. */
  readonly value: JsonValue;
  readonly winner: StandingValue;
  readonly losers: readonly StandingValue[];
  /** Whether a person was to decide. */
  readonly isOpen: boolean;
  /** The position of the event that ended the decision; null: it stands. */
  readonly settledPosition: string | null;
  readonly knownFrom: string | null;
  readonly supersededAt: string | null;
}

export interface StandingValue {
  readonly value: JsonValue;
  /** Who wrote it: origin, seq, hlc, actor, clockWrong, position. */
  readonly by: JsonValue;
}

export interface DecisionsArguments {
  readonly entity: EntityInput;
}

/** How a row came to be what it is, in one view. */
export interface Explanation {
  readonly entity: string;
  readonly view: string;
  /** The live view was built by another declaration than the one that this story follows. */
  readonly builtOtherwise: boolean;
  readonly parked: ParkedAt | null;
  readonly deleted: boolean;
  readonly registers: readonly RegisterStory[];
  readonly unfolded: readonly Unfolded[];
}

export interface ParkedAt {
  readonly view: string | null;
  readonly event: string;
  readonly error: string;
}

export interface RegisterStory {
  readonly register: string;
  readonly columns: readonly string[];
  readonly rule: string;
  readonly value: JsonValue;
  readonly withheld: boolean | null;
  readonly steps: readonly Step[];
  /** What stands side by side at present; null: nothing is contested. */
  readonly decision: Standing | null;
  readonly leftOut: readonly string[];
}

export interface Step {
  readonly position: string | null;
  readonly event: string;
  readonly type: string;
  readonly actor: string;
  readonly org: string;
  readonly site: string;
  readonly occurredAt: string;
  readonly recordedAt: string | null;
  readonly clockWrong: boolean;
  readonly notes: readonly string[];
  readonly value: JsonValue;
  readonly withheld: boolean | null;
  /** Writes whose values it replaced, because its author had seen them. */
  readonly replaces: readonly string[];
  readonly cannotReplace: readonly string[];
  readonly seenBy: readonly string[];
  readonly stands: boolean;
  /** Writes that stand beside it: neither author had seen the other's. */
  readonly beside: readonly string[];
  readonly decision: Standing | null;
}

/** What a rule says of values that stand side by side. */
export interface Standing {
  readonly register: string;
  readonly rule: string;
  readonly ruleVersion: number;
  readonly reason: string;
  readonly value: JsonValue;
  readonly winner: StandingValue;
  readonly losers: readonly StandingValue[];
  readonly isOpen: boolean;
}

export interface Unfolded {
  readonly event: string;
  readonly type: string;
  readonly error: string;
}

export interface ExplainArguments {
  readonly entity: EntityInput;
  readonly field?: string | null | undefined;
  readonly view?: string | null | undefined;
}

export interface Cases {
  readonly cases: readonly Case[];
  /** The position up to which no case is missing. */
  readonly through: string | null;
}

/** A conflict, a broken invariant or a fork that waits for a person. */
export interface Case {
  readonly id: string;
  readonly state: CaseState;
  readonly kind: string;
  readonly view: string;
  readonly entityType: string;
  /** The entity, or the key that entities share. */
  readonly subject: string;
  /** The register or the invariant. */
  readonly rule: string;
  readonly says: string;
  readonly about: JsonValue;
  readonly mark: string;
  readonly openedAt: string;
  readonly assignee: string | null;
  readonly acceptedBy: string | null;
  readonly acceptedNote: string | null;
  readonly acceptedAt: string | null;
}

export type CaseState = "open" | "accepted" | "closed";

export interface CasesArguments {
  readonly state?: CaseState | null | undefined;
  readonly view?: string | null | undefined;
  readonly rule?: string | null | undefined;
  readonly assignee?: string | null | undefined;
  readonly unassigned?: boolean | null | undefined;
}

export interface CaseDetails {
  readonly case: Case;
  /** For a conflict: the values that stand side by side; null: the case is of another kind. */
  readonly choices: readonly Choice[] | null;
  readonly events: readonly InvolvedEvent[];
  readonly notes: readonly CaseNote[];
}

export interface Choice {
  /** The code that picks it. */
  readonly pick: string;
  readonly event: string;
  readonly actor: string;
  readonly hlc: string;
  readonly clockWrong: boolean;
  readonly value: JsonValue;
}

export interface InvolvedEvent {
  readonly entity: string;
  readonly event: string;
  readonly type: string;
  readonly actor: string;
  readonly site: string;
  readonly occurredAt: string;
  readonly data: JsonValue;
}

export interface CaseNote {
  readonly kind: string;
  readonly actor: string;
  readonly at: string;
  readonly text: string | null;
  readonly assignee: string | null;
}

export interface CaseArguments {
  readonly id: string;
}

/** A register of an entity, with the values that stand in it. */
export interface RegisterNow {
  readonly entity: Entity;
  readonly view: string;
  readonly register: string;
  /** How a value is written: presence (true: deleted), column, or columns (an object with all of them). */
  readonly form: string;
  readonly columns: readonly string[];
  readonly values: readonly Choice[];
}

export interface Entity {
  readonly type: string;
  readonly id: string;
}

export interface RegisterArguments {
  readonly entity: EntityInput;
  readonly register: string;
}

export interface Quarantine {
  readonly events: readonly QuarantinedEvent[];
  /** For the next page; null: there are no more. */
  readonly next: string | null;
  readonly total: number;
}

export interface QuarantinedEvent {
  /** As ORIGIN/SEQ. */
  readonly name: string;
  readonly id: string;
  readonly position: string;
  readonly type: string;
  readonly entity: string;
  readonly schema: string;
  readonly site: string;
  readonly actor: string;
  readonly recordedAt: string;
  readonly code: string;
  readonly reason: string;
  readonly path: string | null;
  readonly raw: string;
  readonly hash: string;
  readonly state: QuarantineState;
  readonly settledAt: string | null;
  readonly settledBy: string | null;
  readonly settledNote: string | null;
}

export type QuarantineState = "held" | "released" | "rejected";

export interface QuarantineArguments {
  readonly state?: QuarantineState | null | undefined;
  readonly site?: string | null | undefined;
  readonly code?: string | null | undefined;
  readonly subject?: string | null | undefined;
  readonly version?: number | null | undefined;
  readonly first?: number | null | undefined;
  readonly after?: string | null | undefined;
}

/** A quarantined event, looked at with the schemas and views as they are now. */
export interface Examined {
  readonly event: QuarantinedEvent;
  readonly data: JsonValue;
  readonly schema: string;
  readonly problems: readonly Problem[];
}

export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly path: string | null;
}

export interface QuarantinedArguments {
  readonly event: string;
}

export interface Decided {
  readonly entity: string;
  readonly register: string;
  readonly value: JsonValue;
  readonly event: WrittenEvent;
}

export interface WrittenEvent {
  readonly id: string;
  readonly origin: string;
  readonly seq: number;
  /** Why the hub holds it in quarantine; null: it counts. */
  readonly quarantined: string | null;
}

export interface DecideCaseArguments {
  readonly case: string;
  readonly pick?: string | null | undefined;
  readonly value?: JsonValue | undefined;
  readonly note?: string | null | undefined;
}

export interface DecideRegisterArguments {
  readonly entity: EntityInput;
  readonly register: string;
  readonly pick?: string | null | undefined;
  readonly value?: JsonValue | undefined;
  readonly note?: string | null | undefined;
}

/** What was written about a case. */
export interface CaseNoted {
  readonly case: string;
  readonly type: string;
  readonly data: JsonValue;
}

export interface AssignCaseArguments {
  readonly case: string;
  readonly to?: string | null | undefined;
  readonly note?: string | null | undefined;
}

export interface AcceptCaseArguments {
  readonly case: string;
  readonly note: string;
}

export interface CommentCaseArguments {
  readonly case: string;
  readonly text: string;
}

export interface Released {
  readonly released: readonly string[];
  readonly held: readonly HeldEvent[];
  readonly dryRun: boolean;
}

export interface HeldEvent {
  readonly event: string;
  readonly problem: string;
}

/** A change of one field of an event's data; null removes the field. */
export interface ChangeInput {
  readonly field: string;
  readonly value?: JsonValue | undefined;
}

/** A schema's version. */
export interface SchemaRefInput {
  readonly subject: string;
  readonly version: number;
}

export interface ReleaseQuarantinedArguments {
  readonly events: readonly string[];
  readonly changes?: readonly ChangeInput[] | null | undefined;
  readonly replacement?: JsonValue | undefined;
  readonly schema?: SchemaRefInput | null | undefined;
  readonly note?: string | null | undefined;
  readonly dryRun?: boolean | null | undefined;
}

export interface RejectQuarantinedArguments {
  readonly events: readonly string[];
  readonly reason: string;
}

export interface Appended {
  readonly events: readonly WrittenEvent[];
}

/** An event that a program writes. */
export interface EventInput {
  readonly type: string;
  readonly entity: EntityInput;
  readonly data: JsonValue;
  /** When it happened, if not now. */
  readonly occurredAt?: string | null | undefined;
  /** The version that it is written in; default: the newest one of the subject that declares the type. */
  readonly schema?: SchemaRefInput | null | undefined;
  /** Up to which position its author had seen the entity: what a page or a row told as through. Without it, the event stands beside what others have written. */
  readonly seenThrough?: string | null | undefined;
  readonly correlationId?: string | null | undefined;
  readonly causationId?: string | null | undefined;
}

export interface AppendArguments {
  readonly events: readonly EventInput[];
}

/** What each call is given, and what it answers. */
export interface Calls {
  /** Who one is to this hub, and what one may. */
  readonly me: readonly [Readonly<Record<string, never>>, Me];
  /** The versions that a row had. */
  readonly history: readonly [HistoryArguments, History];
  /** Decisions on an entity, in the order of the log. */
  readonly decisions: readonly [DecisionsArguments, Decisions];
  /** How an entity's row came to be what it is: of all registers, or the one that holds a field; in all views that show it, or one. */
  readonly explain: readonly [ExplainArguments, readonly Explanation[]];
  /** The first thousand cases, oldest first. unassigned: those of nobody. */
  readonly cases: readonly [CasesArguments, Cases];
  /** A case with its values, events and notes; null: there is none. */
  readonly case: readonly [CaseArguments, CaseDetails | null];
  /** The values of any register, to pick from. */
  readonly register: readonly [RegisterArguments, RegisterNow];
  /** Quarantined events, in the order of the log. */
  readonly quarantine: readonly [QuarantineArguments, Quarantine];
  /** A quarantined event (ORIGIN/SEQ), looked at again. */
  readonly quarantined: readonly [QuarantinedArguments, Examined];
  /** Decides the conflict that a case is about: pick names one of the values, or value is another one. */
  readonly decideCase: readonly [DecideCaseArguments, Decided];
  /** Decides a register of an entity, with or without a case. */
  readonly decideRegister: readonly [DecideRegisterArguments, Decided];
  /** Gives a case to a person; null takes it back. */
  readonly assignCase: readonly [AssignCaseArguments, CaseNoted];
  /** Leaves a violated invariant or a fork as it is, for a reason. */
  readonly acceptCase: readonly [AcceptCaseArguments, CaseNoted];
  readonly commentCase: readonly [CommentCaseArguments, CaseNoted];
  /** Releases quarantined events that fit now, as they are or mended. */
  readonly releaseQuarantined: readonly [ReleaseQuarantinedArguments, Released];
  /** Rejects quarantined events for good. Returns their names. */
  readonly rejectQuarantined: readonly [RejectQuarantinedArguments, readonly string[]];
  /** Appends events in a person's name, through an origin that the hub keeps for their organisation. Returns when the log has them. */
  readonly append: readonly [AppendArguments, Appended];
}
