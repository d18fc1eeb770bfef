/** The most problems that are listed for each part; all are counted. */
const MAX_LISTED = 100;

/** The parts that are judged, each by itself. */
export const PARTS = ["log", "audit", "views", "totals", "parked", "anchor"] as const;
export type Part = (typeof PARTS)[number];

/**
 * What a problem is about: a part, or something in it that is repaired in another way. `past`: kept versions of rows; `quarantine`: the list of quarantined
 * events.
 */
export type Subject = Part | "past" | "quarantine";

const PART_OF: Readonly<Record<Subject, Part>> = {
  log: "log",
  audit: "audit",
  quarantine: "audit",
  views: "views",
  past: "views",
  totals: "totals",
  parked: "parked",
  anchor: "anchor",
};

const FOLD_ANEW =
  "the hub can fold all of it again into an empty database: stop the hub, put PostgreSQL's folder aside as evidence, start the hub (docs/audit.md)";
const TODO: Readonly<Record<Subject, string>> = {
  log: "nothing repairs a log: keep it as evidence, and restore a backup from before it was altered (`tributary restore`); devices send again what the backup lacks",
  audit: FOLD_ANEW,
  quarantine: FOLD_ANEW,
  views: "`tributary reconcile VIEW --repair` corrects the rows that the log explains; find out who wrote to the database",
  past: "`tributary rebuild VIEW` makes the past of its rows again; find out who wrote to the database",
  totals: "`tributary reconcile TOTALS --repair` corrects totals; find out who wrote to the database",
  parked: "`tributary parked retry` folds it again; if nobody has removed what stopped it, find out who wrote to the database",
  anchor: "find out who set the log back. If that was meant: `tributary restore --confirm`. If not: restore a newer backup",
};

export interface Problem {
  readonly part: Part;
  /** What the problem is about: an event as `origin/seq`, a row as `view/id`, or something else. */
  readonly where: string;
  readonly what: string;
  readonly todo: string;
}

export interface Verdict {
  /** `left-out`: it was not looked at. */
  readonly state: "good" | "bad" | "left-out";
  readonly problems: number;
  readonly says: string;
  /** What to do about the problems, each advice once. */
  readonly todo: readonly string[];
}

export type Verdicts = Readonly<Record<Part, Verdict>>;
export type Report = (subject: Subject, where: string, what: string) => void;

export interface Findings {
  readonly report: Report;
  readonly count: () => number;
  readonly listed: () => readonly Problem[];
  /** The verdict on each part. `said`: what is said of it if nothing is wrong, or `null` if it was not looked at. */
  verdicts(said: Readonly<Record<Part, string | null>>): Verdicts;
}

export function openFindings(): Findings {
  const counts = new Map<Part, number>();
  const todos = new Map<Part, Set<string>>();
  const problems: Readonly<Record<Part, Problem[]>> = { log: [], audit: [], views: [], totals: [], parked: [], anchor: [] };
  return {
    report(subject, where, what) {
      const part = PART_OF[subject];
      // The advice names the row's own view.
      const todo = TODO[subject].replace(/VIEW|TOTALS/, where.split("/")[0] ?? "");
      counts.set(part, (counts.get(part) ?? 0) + 1);
      todos.set(part, (todos.get(part) ?? new Set<string>()).add(TODO[subject]));
      const listed = problems[part];
      if (listed.length < MAX_LISTED) listed.push({ part, where, what, todo });
    },
    count: () => [...counts.values()].reduce((sum, each) => sum + each, 0),
    listed: () => PARTS.flatMap((part) => problems[part]),
    verdicts: (said) => {
      const of = (part: Part): Verdict => {
        const count = counts.get(part) ?? 0;
        const says = said[part];
        if (count > 0)
          return {
            state: "bad",
            problems: count,
            says: `${count} ${count === 1 ? "problem" : "problems"}`,
            todo: [...(todos.get(part) ?? [])],
          };
        return { state: says === null ? "left-out" : "good", problems: 0, says: says ?? "not looked at", todo: [] };
      };
      return {
        log: of("log"),
        audit: of("audit"),
        views: of("views"),
        totals: of("totals"),
        parked: of("parked"),
        anchor: of("anchor"),
      };
    },
  };
}
