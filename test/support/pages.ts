/** Pages of real events: what three sites wrote, as a hub's log has it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GENESIS, type Hash, type Position } from "../../services/core/index.ts";
import type { PagedEvent } from "../../services/exchange/protocol/index.ts";
import { openField } from "../../services/field/index.ts";
import { eventReader } from "../../services/field/reading.ts";
import { newDir } from "./home.ts";
import { gate } from "./hub.ts";
import { chooser } from "./random.ts";

const DATA = join(import.meta.dirname, "../data");

const FILES = [
  ["beneficiaries", "beneficiary.registered"],
  ["distributions", "distribution.recorded"],
  ["assessments", "assessment.submitted"],
] as const;
/** Rows that an officer enters in one sitting. */
const SITTING = 5;
const BEGAN_MS = Date.parse("2026-05-03T07:00:00Z");
/** What a record of the log takes beside the event's data. */
const RECORD_BYTES = 900;

/** The lines of a CSV file's rows, some of which hold line breaks within quotes. */
const rowsOf = (text: string): string[] => text.replace(/^\ufeff/, "").match(/(?:"(?:[^"]|"")*"|[^"\n])+\n/g) ?? [];

/** What a site's tablet holds: its officers have entered the rows of its files over some weeks, a few at a time, the files in turns. */
async function eventsOf(site: string, { seed, rows }: { readonly seed: number; readonly rows: number }): Promise<PagedEvent[]> {
  const { int } = chooser(seed);
  let nowMs = BEGAN_MS + int(0, 3_600_000);
  using field = openField({
    path: join(newDir("pages"), `${site}.db`),
    name: { org: "relief", site, device: "tablet-1" },
    schemas: gate,
    now: () => nowMs,
  });
  const files = FILES.map(([file, type]) => {
    const [header = "", ...all] = rowsOf(readFileSync(join(DATA, site, `${file}.csv`), "utf8"));
    return { type, header, rows: all.slice(0, rows) };
  });
  for (let at = 0; files.some(({ rows }) => at < rows.length); at += SITTING) {
    for (const { type, header, rows } of files) {
      if (at >= rows.length) continue;
      await field.importCsv({ text: header + rows.slice(at, at + SITTING).join(""), type, actor: `officer-${int(1, 3)}` });
      nowMs += int(20_000, 600_000);
    }
  }
  const [origin] = field.store.origins();
  if (origin === undefined) throw new Error(`${site} has no origin`);
  let prev: Hash = GENESIS;
  return [...eventReader(field.store).from(origin, 0, origin.lastSeq)].map((found): PagedEvent => {
    if (found.kind === "damaged") throw new Error(found.reason);
    const { head, row } = found;
    const event = { head, prev, hash: row.hash, text: row.data, held: null, clock: null };
    prev = row.hash;
    return { ...event, position: 0n as Position, recordedAtMs: nowMs };
  });
}

/** The log of a hub that three sites sync with, a few dozen events at a time. `rows`: of each file, at most. */
export async function sitesLog(rows = 100, seed = 1): Promise<PagedEvent[]> {
  const { int, pick } = chooser(seed);
  const sites = await Promise.all(["juba", "kampala", "nairobi"].map((site, i) => eventsOf(site, { seed: seed + i, rows })));
  const log: PagedEvent[] = [];
  let [at, recordedAtMs] = [7_340_032, BEGAN_MS + 40 * 86_400_000];
  while (sites.some(({ length }) => length > 0)) {
    const run = pick(sites.filter(({ length }) => length > 0)).splice(0, int(10, 60));
    recordedAtMs += int(1_000, 900_000);
    for (const event of run) {
      log.push({ ...event, position: BigInt(at) as Position, recordedAtMs });
      at += RECORD_BYTES + (event.text ?? "").length;
    }
  }
  return log;
}
