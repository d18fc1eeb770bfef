/** What the fold hands to the database: plain data. A file of `write/` writes each kind. */

import type { Bucket, LogEntry, OrderedRun, Position, Settlement } from "../core/index.ts";
import type { Decision, FullRow, Projection, Totals } from "../merge/engine.ts";
import type { Addition } from "./additions.ts";
import type { EventName } from "./events-of.ts";
import type { Placement } from "./feed/lines.ts";

/** One build of an entity view, as the database has it. */
export interface ViewBuild {
  readonly projection: Projection;
  readonly generation: number;
  /** The PostgreSQL schema that its tables stand in. */
  readonly namespace: string;
  /** The totals that add up its rows, in the same schema. */
  readonly totals: readonly Totals[];
  /** Whether this is the view that says which bucket an entity is in, and the buckets' feeds are written from it. */
  readonly isHome?: boolean;
}

/** A row on its way into a view's table. */
export interface ViewRow {
  readonly id: string;
  /** Whether the table has no row of this id yet. */
  readonly isNew: boolean;
  readonly row: FullRow;
  readonly waitingFor: string | null;
  readonly firstPosition: Position;
  readonly lastPosition: Position;
  readonly state: string;
}

/** A decision on a contested register, with the position of the event that made it contested. */
export interface DecisionRow {
  readonly view: string;
  readonly generation: number;
  readonly entityType: string;
  readonly entityId: string;
  readonly position: Position;
  readonly decision: Decision;
  /** The position of the event that changed the register again; `null`: none has. */
  endedAt: Position | null;
}

/** A decision of an earlier page that an event has ended. */
export interface EndedDecision {
  readonly view: string;
  readonly generation: number;
  readonly entityId: string;
  readonly register: string;
  readonly position: Position;
}

/** A version of a row. */
export interface HistoryRow {
  readonly id: string;
  readonly position: Position;
  readonly recordedAtMs: number;
  readonly row: FullRow;
}

/** An entity's part in an invariant: the key it held and the one it holds. */
export interface Claim {
  readonly invariant: string;
  readonly entityId: string;
  readonly before: string | null;
  readonly after: string | null;
}

/** Whether a row satisfies an invariant of its own. */
export interface RowCheck {
  readonly invariant: string;
  readonly entityId: string;
  readonly problem: string | null;
}

/** A version of a row that is not kept: it could not be shown, and a later event of its entity has put that right. */
export interface PassedOver {
  readonly entry: LogEntry;
  readonly error: string;
}

/** An entity whose fold stops at an event. */
export interface ParkedRow {
  readonly entityId: string;
  readonly entry: LogEntry;
  readonly error: string;
  readonly stack: string;
  readonly state: string | null;
}

/** All that a page changes in one view. */
export interface ViewChanges {
  readonly target: ViewBuild;
  readonly rows: readonly ViewRow[];
  readonly history: readonly HistoryRow[];
  readonly decisions: readonly DecisionRow[];
  /** Decisions of earlier pages that an event of this page ended. */
  readonly ended: readonly EndedDecision[];
  readonly claims: readonly Claim[];
  readonly checks: readonly RowCheck[];
  readonly additions: ReadonlyMap<Totals, readonly Addition[]>;
  readonly parked: readonly ParkedRow[];
  /** Parked entities with events after the one that they are parked at: they are folded again once the page is written. */
  readonly waiting: readonly string[];
  /** Versions of rows that could not be shown, of entities that are folded again. */
  readonly passedOver: readonly PassedOver[];
  /** The last position folded. */
  readonly through: Position;
  /** By entity, where invariants may make cases: the events whose values its row shows or decided against, as `origin/seq`. Cases name them. */
  readonly events: ReadonlyMap<string, readonly string[]>;
  /** Only of the view that says so: the bucket of its entity after each of the page's entries, by the number of the entry. */
  readonly buckets?: ReadonlyMap<number, Bucket>;
}

/** What a page says of an origin. */
export interface OriginRow {
  readonly origin: string;
  readonly org: string;
  readonly site: string;
  readonly device: string;
  through: number;
  position: Position;
  events: number;
  quarantined: number;
  clockWrong: number;
  readonly firstRecordedMs: number;
  lastRecordedMs: number;
}

/** A parked entity to fold again. */
export interface WaitingEntity {
  readonly target: ViewBuild;
  readonly id: string;
}

/** All that one transaction writes for a page of the log. */
/** What a page says of the orders of hubs that views name. */
export interface Ordering {
  /** The runs that its notes place. */
  readonly noted: readonly OrderedRun[];
  /** Its events that some named hub has not placed, as far as the page was folded with. */
  readonly unplaced: readonly EventName[];
  /** The views that name a hub. */
  readonly views: readonly { readonly view: string; readonly entity: string }[];
}

export interface PageChanges {
  readonly entries: readonly LogEntry[];
  readonly through: Position;
  /** What made a projection throw, by index into `entries`. */
  readonly projectionErrors: ReadonlyMap<number, string>;
  readonly views: readonly ViewChanges[];
  readonly origins: readonly OriginRow[];
  /** The settlements of quarantined events that hold. */
  readonly settlements: readonly Settlement[];
  /** What the hub's people did about cases. */
  readonly caseNotes: readonly LogEntry[];
  readonly waiting: readonly WaitingEntity[];
  /** What the page says of the buckets of entities, in log order. */
  readonly placements: readonly Placement[];
  /** `null`: no view names a hub, or the page says nothing of any order. */
  readonly ordering: Ordering | null;
}
