import { TributaryError } from "../core/index.ts";
import { type Builder, rebuildViews, rollBack, viewNamesOf, type WhichViews } from "../desk/index.ts";
import { currentIncarnation, openLog } from "../log/index.ts";
import { differences, type Progress, type Rebuilt, rebuild, reconcile } from "../projector/index.ts";
import {
  alone,
  beyondNow,
  type Comparison,
  connectViews,
  generationsOf,
  incarnationOf,
  lag as lagOf,
  parkedCounts,
} from "../views/index.ts";
import type { Command, Input, Range } from "./args.ts";
import { FOLDER_OPTIONS, foldersOf, viewsOf } from "./folders.ts";
import { counted, type Output, table } from "./output.ts";
import { runningHub } from "./reach.ts";
import { openHubGate } from "./registry.ts";
import { withViews } from "./with-views.ts";

/** Runs `work` with all that building a view beside the live ones needs, from a hub's data directory. */
export async function withBuilder<T>(
  data: string | undefined,
  work: (deps: Parameters<typeof rebuild>[0]) => Promise<T>,
): Promise<T> {
  const state = await runningHub(data, ["eventstore", "postgres"]);
  const views = await viewsOf(data);
  const folders = foldersOf(data);
  const log = openLog(state.eventstoreUrl);
  try {
    const { registry, gate } = await openHubGate(log, folders);
    try {
      const db = await connectViews(state.postgresUrl, "tributary-rebuild");
      const reader = await connectViews(state.postgresUrl, "tributary-rebuild reads");
      try {
        return await alone(db, false, () => work({ db, reader, log, gate, views }));
      } finally {
        await Promise.allSettled([db.end(), reader.end()]);
      }
    } finally {
      registry.close();
    }
  } finally {
    await log.close();
  }
}

/** Events a second; without this option there is no bound. */
const RATE: Range = { least: 1, most: 1_000_000 };

const duration = (seconds: number | null): string =>
  seconds === null
    ? "?"
    : seconds < 90
      ? `${seconds} s`
      : seconds < 5_400
        ? `${Math.round(seconds / 60)} min`
        : `${Math.round(seconds / 3600)} h`;

/** Progress, a few times a second at most. */
function progressTo(out: Output): (progress: Progress) => void {
  let lastMs = 0;
  return ({ events, share, etaSeconds }) => {
    if (Date.now() - lastMs < 300) return;
    lastMs = Date.now();
    out.progress(`${events} events folded, ${Math.floor(share * 100)} % of the way, ${duration(etaSeconds)} to go`);
  };
}

/** Ctrl-C ends the work after the batch at hand. */
function interruptible(): AbortSignal {
  const stop = new AbortController();
  const end = (): void =>
    stop.abort(
      new TributaryError(
        "backend-failed",
        "the command was interrupted",
        "Nothing is lost: run the same command again, and it continues where it stopped.",
      ),
    );
  process.once("SIGINT", end);
  process.once("SIGTERM", end);
  return stop.signal;
}

/** The views that are named, or all. Throws `usage` where both are given, or neither. */
function whichViews({ positionals, flag }: Input, usage: string): WhichViews {
  if (flag("all")) {
    if (positionals.length > 0) throw new TributaryError("usage", "--all and names of views do not go together", `Use: ${usage}`);
    return "all";
  }
  if (positionals.length === 0) throw new TributaryError("usage", "no view is named", `Use: ${usage}, or --all`);
  return positionals;
}

const comparisonLines = (comparisons: readonly Comparison[]): string =>
  table(
    ["view", "equal", "differ", "only before", "only now", "changed meanwhile", "for example"],
    comparisons.map((c) => [
      c.view,
      c.equal,
      c.differing,
      c.onlyLive,
      c.onlyBuilt,
      c.changedSince,
      c.named.slice(0, 3).join(", "),
    ]),
    "  ",
  );

export const rebuildCommand: Command = {
  name: "rebuild",
  summary: "build views again from the log beside the live ones, and swap them in",
  usage:
    "tributary rebuild VIEW… [--all] [--compare] [--no-swap] [--fresh] [--rollback] [--max-rate N] [--data DIR] [--schemas DIR] [--projections DIR]",
  help: `Use it when a declaration has changed, or when you suspect a view. The new build stands beside the live view until it has caught up. Then it replaces
the live one in one transaction: readers see the old rows or the new ones, never a part. Totals are built together with the views that they add up.
The build before is kept; --rollback brings it up to date and puts it back (its file in projections/ must be back first).
If it is interrupted, the same command resumes; --fresh begins at the start. --max-rate: events a second at most, to spare
the hub. --compare: compare all rows with the live ones by hash; --no-swap: only compare, change nothing.

  tributary rules try projections/beneficiaries.ts     # what would differ?
  tributary rebuild beneficiaries --compare`,
  options: {
    data: { type: "string" },
    ...FOLDER_OPTIONS,
    all: { type: "boolean" },
    compare: { type: "boolean" },
    "no-swap": { type: "boolean" },
    fresh: { type: "boolean" },
    rollback: { type: "boolean" },
    "max-rate": { type: "string" },
  },
  async run(input) {
    const { flag, text, number, out } = input;
    const request = { which: whichViews(input, rebuildCommand.usage), compare: flag("compare"), compareOnly: flag("no-swap") };
    const rate = number("max-rate", 0, RATE);
    const result: Rebuilt = await withBuilder(text("data"), (deps) => {
      const say: typeof deps.say = ({ event, attempt }) =>
        event === "swap-waits" && out.progress(`waiting for readers (${String(attempt)})`);
      const how = {
        onProgress: progressTo(out),
        signal: interruptible(),
        ...(rate === 0 ? {} : { maxEventsPerSecond: rate }),
      };
      const builder: Builder<Rebuilt> = {
        views: deps.views,
        differing: async () => differences(deps.views, deps.gate, await generationsOf(deps.db, "live")),
        build: (order) => rebuild({ ...deps, say }, { ...order, ...how }),
      };
      return flag("rollback") ? rollBack(builder, request) : rebuildViews(builder, { ...request, fresh: flag("fresh") });
    });
    out.result(result);
    out.line(
      `${result.views.join(", ")}: ${counted(result.events, "event")} folded in ${result.seconds} s${result.resumedAt > 0 ? `, ${result.resumedAt} of them in an earlier run` : ""}.`,
    );
    if (result.comparisons.length > 0) out.line(comparisonLines(result.comparisons));
    if (result.parked > 0)
      out.line(`${counted(result.parked, "entity", "entities")} could not be folded: \`tributary parked list\` says why.`);
    out.line(
      result.swapped ? "The new build is live; the one before is kept for --rollback." : "The live views were left as they are.",
    );
    return 0;
  },
};

export const reconcileCommand: Command = {
  name: "reconcile",
  summary: "balance the books: views against the fold of the log, a device against the hub",
  usage:
    "tributary reconcile [VIEW…] [--all] [--repair] [--max-rate N] | --field FILE [--data DIR] [--schemas DIR] [--projections DIR]",
  help: `Folds the log again beside the live views and compares both by a tree of checksums, from the whole down to the rows that differ. Exit 6 when rows
differ and --repair is not given. --repair corrects exactly those rows. \`tributary hub --reconcile-every 24\` runs it each day. With --field: checks that everything the hub confirmed to a device is in the log as the device wrote it. Each
event's hash covers all before it, so a few steps find the first difference. Then the rows that the device shows are compared with the hub's, bucket by bucket, and those that differ are named.

  tributary reconcile --all
  tributary reconcile --field juba.db`,
  options: {
    data: { type: "string" },
    ...FOLDER_OPTIONS,
    all: { type: "boolean" },
    repair: { type: "boolean" },
    "max-rate": { type: "string" },
    field: { type: "string" },
  },
  async run(input) {
    const { flag, text, number, out } = input;
    const field = text("field");
    if (field !== undefined) return (await import("./reconcile-field.ts")).reconcileField(field, text("data"), out);
    const which = whichViews(input, reconcileCommand.usage);
    const rate = number("max-rate", 0, RATE);
    const results = await withBuilder(text("data"), (deps) =>
      reconcile(deps, {
        names: viewNamesOf(deps.views, which),
        repair: flag("repair"),
        onProgress: progressTo(out),
        signal: interruptible(),
        ...(rate === 0 ? {} : { maxEventsPerSecond: rate }),
      }),
    );
    out.result(results);
    out.line(
      table(
        ["view", "rows", "checksums compared", "differ", "repaired", "for example"],
        results.map((r) => [
          r.view,
          r.rows,
          r.comparisons,
          r.differing,
          r.repaired ? "yes" : "–",
          r.named.slice(0, 3).join(", "),
        ]),
      ),
    );
    for (const { view, notCompared, refused } of results) {
      if (notCompared !== null) out.line(`${view} was not compared: ${notCompared} (\`tributary parked list\`).`);
      if (refused.length > 0) out.line(`These rows of ${view} could not be repaired: ${refused.slice(0, 3).join(", ")}`);
    }
    const wrong = results.filter(({ differing, repaired }) => differing > 0 && !repaired);
    if (wrong.length === 0) return 0;
    throw new TributaryError(
      "verify-failed",
      `${wrong.map(({ view, differing }) => `${differing} rows of ${view}`).join(" and ")} are not what folding the log gives`,
      "`tributary reconcile --repair` puts them right; find out who changed them.",
    );
  },
};

export const lag: Command = {
  name: "lag",
  summary: "show how far the views are behind the log, and which process folds what",
  usage: "tributary lag [--data DIR]",
  help: "Shows how many events of the log are not in the views yet, how long the oldest of them has waited, and the projectors with their shards.",
  maxPositionals: 0,
  options: { data: { type: "string" } },
  async run({ text, out }) {
    const state = await runningHub(text("data"), ["eventstore", "postgres"]);
    const log = openLog(state.eventstoreUrl);
    try {
      return await withViews(text("data"), async (db) => {
        const { position: through, shards } = await lagOf(db);
        let events = 0;
        let oldestMs: number | null = null;
        for await (const entry of log.readAll({ from: through })) {
          if (through !== null && entry.position <= through) continue;
          events++;
          oldestMs ??= entry.recordedAtMs;
        }
        const seconds = oldestMs === null ? 0 : Math.max(0, Math.round((Date.now() - oldestMs) / 100) / 10);
        const projectors = [...shards].map(([name, held]) => [name ?? "nobody", held] as const);
        const parkedByView = await parkedCounts(db);
        const parked = Object.values(parkedByView).reduce((sum, count) => sum + count, 0);
        const [incarnation, beyond] = [await incarnationOf(db), await beyondNow(db)];
        const life = await currentIncarnation(log.journal);
        out.result({
          events,
          seconds,
          parked,
          parkedByView,
          incarnation,
          position: through?.toString() ?? null,
          beyond: beyond.events,
          unconfirmed: life.isConfirmed ? null : (life.note ?? "the log holds less than was seen of it before"),
          projectors: Object.fromEntries(projectors),
        });
        out.line(
          events === 0
            ? "The views show all that the log holds."
            : `${events === 1 ? "1 event is" : `${events} events are`} not in the views yet; the oldest has waited ${seconds} s.`,
        );
        if (parked > 0)
          out.line(
            `${parked === 1 ? "1 entity is" : `${parked} entities are`} parked (${Object.entries(parkedByView)
              .map(([name, count]) => `${name} ${count}`)
              .join(", ")}): \`tributary parked list\`.`,
          );
        if (!life.isConfirmed)
          out.line(
            `The log was found to hold less than before, and nobody has confirmed it: ${life.note ?? "no more is known"}. If you know why, run \`tributary restore --confirm\`.`,
          );
        if (beyond.events > 0)
          out.line(
            `${beyond.events} events had been folded before the log was set back (noticed ${beyond.since}), and have not been sent again: they are kept as evidence, and their devices send them when they sync.`,
          );
        out.line("");
        out.line(
          table(
            ["projector", "shards"],
            projectors.map(([name, held]) => [name, held.join(" ")]),
          ),
        );
        return 0;
      });
    } finally {
      await log.close();
    }
  },
};
