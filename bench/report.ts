/** What a bench prints: for each row the median of all runs, the extremes, and the ratio to the bare servers of the same run. */
import { table } from "../services/cli/output.ts";
import { CONTESTED_PERCENT } from "./workload.ts";

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!;
const round = (n: number): number => (n >= 100 ? Math.round(n) : Math.round(n * 10) / 10);

interface Row {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly ceiling?: number;
  readonly ceilingName?: string;
  /** Median of the runs' own ratios. */
  readonly ratio?: number;
}

const ROWS: readonly (readonly [name: string, unit: string, ceiling?: string])[] = [
  ["outbox-append", "events/s", "bare-sqlite"],
  ["field-to-log", "events/s", "bare-grpc-append"],
  ["log-to-view", "events/s", "bare-postgres"],
  ...CONTESTED_PERCENT.map((percent) => [`log-to-view-contested-${percent}`, "events/s", "log-to-view"] as const),
  ["log-to-view-2p", "events/s", "log-to-view"],
  ["log-to-view-4p", "events/s", "log-to-view"],
  ["vs-emmett-projector", "×"],
  ["vs-emmett-batches", "×"],
  ["rebuild", "events/s", "bare-rebuild"],
  ["rebuild-rss-mb", "MiB"],
  ["fold", "events/s", "bare-reduce"],
  ...["feed-none", "feed-lines", "feed-sealed"].flatMap((way) =>
    ["projector", "postgres"].map((where) => [`${way}-${where}`, "µs"] as const),
  ),
  ["replica-apply", "events/s"],
  ["replica-fill", "events/s"],
  ["replica-follow", "events/s"],
  ["field-to-view", "events/s", "bare-postgres"],
  ["single-event-p50", "ms"],
  ["single-event-p99", "ms"],
  ["wire-bytes-per-event", "bytes"],
  ["down-bytes-per-event", "bytes"],
  ["down-bytes-per-event-people", "bytes"],
  ["fair-sync-p99", "×"],
  ["fair-sync-p99-gaps", "×"],
  ["fair-sync-p99-large", "×"],
  ["fair-sync-p99-garbage", "×"],
  ["fair-sync-p99-wrong-token", "×"],
  ["fair-sync-alone-p99", "ms"],
  ["hello-long", "×"],
  ["hello-long-ms", "ms"],
  ["hello-long-hashes-ms", "ms"],
  ["hello-ingress-rss-mb", "MiB"],
  ["pull-idle", "µs"],
  ["pull-idle-1", "µs"],
  ["pull-idle-100", "µs"],
  ["pull-idle-heap-mb", "MiB"],
  ["pull-changes", "µs"],
  ["bad-link", "s"],
  ["bad-link-sent", "×"],
  ["replica-query-p99", "ms"],
  ["replica-query-cpu-p99", "ms"],
  ["gate-avro", "events/s", "bare-avsc"],
  ["gate-json", "events/s", "bare-ajv"],
  ["bare-sqlite", "events/s"],
  ["bare-grpc-append", "events/s"],
  ["bare-postgres", "events/s"],
  ["bare-rebuild", "events/s"],
  ["bare-reduce", "events/s"],
  ["emmett-projector", "events/s"],
  ["emmett-batches", "events/s"],
  ["bare-jetstream-publish", "events/s"],
  ["bare-avsc", "events/s"],
  ["bare-ajv", "events/s"],
];

/** Figures of all runs by name; each run adds as many to a name as the others. */
export type Figures = ReadonlyMap<string, readonly number[]>;

function rowsOf(figures: Figures, runs: number): Row[] {
  /** A row's figure in one run: the mean of what was measured in it. */
  const inRun = (list: readonly number[], run: number): number => {
    const perRun = list.length / runs;
    return list.slice(run * perRun, (run + 1) * perRun).reduce((sum, value) => sum + value, 0) / perRun;
  };
  return ROWS.filter(([name]) => figures.has(name)).map(([name, unit, ceiling]): Row => {
    const list = figures.get(name)!;
    const bare = ceiling === undefined ? undefined : figures.get(ceiling);
    const perRun = list.length / runs;
    return {
      name,
      unit,
      value: round(median(list)),
      min: round(Math.min(...list)),
      max: round(Math.max(...list)),
      ...(bare === undefined
        ? {}
        : {
            ceiling: round(median(bare)),
            ceilingName: ceiling!,
            ratio: Math.round(median(list.map((value, i) => value / inRun(bare, Math.floor(i / perRun)))) * 100) / 100,
          }),
    };
  });
}

/** Prints the rows, as a table for people or as JSON. */
export function report(figures: Figures, runs: number, isJson: boolean): void {
  const rows = rowsOf(figures, runs);
  if (isJson) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else {
    process.stdout.write(
      `${table(
        ["name", "unit", "median", "min", "max", "ceiling", "of it"],
        rows.map((row) => [
          row.name,
          row.unit,
          row.value,
          row.min,
          row.max,
          row.ceiling === undefined ? null : `${row.ceiling} (${row.ceilingName})`,
          row.ratio ?? null,
        ]),
      )}\n`,
    );
  }
}
