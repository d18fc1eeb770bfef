import { type Hello, type HelloRequest, MAX_MARKS_ASKED, type Seq } from "../../core/index.ts";
import type { HeldRow } from "../rows.ts";
import type { Store } from "../store.ts";
import { ask, type Pass, sinceOf } from "./pass.ts";

/** The last mark that the hub was asked about, as `epoch/seq`: where there are more than one hello holds, the next goes on from there. */
const ASKED = "marks_asked";
/** The log's life that the settlements are of. */
const LIFE = "marks_incarnation";
/** While the hub's answers bring news, the device asks for more in one sync, at most this often. */
const MAX_ROUNDS = 20;

/** Which quarantined events one hello asks about, in turns. */
export function nextMarks({ rows, meta }: Pick<Store, "rows" | "meta">): readonly HeldRow[] {
  const [origin = -1, seq = -1] = (meta(ASKED) ?? "").split("/").filter(Boolean).map(Number);
  const after = rows.heldAfter(origin, seq, MAX_MARKS_ASKED);
  if (after.length === MAX_MARKS_ASKED || origin < 0) return after;
  const isBefore = (row: HeldRow): boolean => row.origin < origin || (row.origin === origin && row.seq <= seq);
  return [...after, ...rows.heldAfter(-1, -1, MAX_MARKS_ASKED - after.length).filter(isBefore)];
}

/** The marks as a hello names them; nothing for none. */
export function asMarks(rows: readonly HeldRow[]): Pick<HelloRequest, "marks"> {
  if (rows.length === 0) return {};
  const seqs = Map.groupBy(rows, ({ name }) => name);
  return { marks: [...seqs].map(([origin, of]) => ({ origin, seqs: of.map(({ seq }) => seq as Seq) })) };
}

/**
 * Takes note of which quarantined events the hub's people have released, whose mark goes, or rejected. `first`: the answer to this device's own question about
 * `asked`. A hub that does not answer this leaves everything as it was.
 *
 *   held ── released ─▶ no mark            a restore began a new incarnation ─▶ all held again, and asked about
 *     └──── rejected ─▶ told so, and why
 */
export async function learnSettled(pass: Pass, id: number, first: Hello, asked: readonly HeldRow[]): Promise<void> {
  let marks = asked;
  let hello = first;
  for (let rounds = 1; ; rounds++) {
    const isAnew = holdAgain(pass.store, hello.receipt.incarnation);
    const learnt = note(pass, hello, marks);
    const hasMore = isAnew || (learnt > 0 && marks.length === MAX_MARKS_ASKED);
    if (!hasMore || rounds === MAX_ROUNDS) return;
    marks = nextMarks(pass.store);
    if (marks.length === 0) return;
    const origin = pass.origin(id);
    const answer = await ask(pass, { origin: origin.name, since: sinceOf(origin), ...asMarks(marks) });
    if (answer.kind === "away" || !answer.isOurs) return;
    hello = answer.hello;
  }
}

/** What was settled in another life of the log may not be in this one. Returns whether any mark has come back. */
function holdAgain(store: Store, incarnation: string | undefined): boolean {
  const before = store.meta(LIFE);
  if (incarnation === undefined || incarnation === before) return false;
  return store.transaction(() => {
    store.setMeta(LIFE, incarnation);
    return before !== null && store.rows.holdAgain() > 0;
  });
}

/** Keeps what an answer says of the marks that were asked about; returns how many are settled. */
function note({ store, tally }: Pass, { settled }: Hello, asked: readonly HeldRow[]): number {
  const last = asked.at(-1);
  if (settled === undefined || last === undefined) return 0;
  return store.transaction(() => {
    if (asked.length === MAX_MARKS_ASKED) store.setMeta(ASKED, `${last.origin}/${last.seq}`);
    let learnt = 0;
    for (const mark of settled) {
      const row = asked.find(({ name, seq }) => name === mark.origin && seq === mark.seq);
      const reason = mark.state === "rejected" ? mark.reason : null;
      if (row === undefined || !store.rows.settle(row.origin, row.seq, mark.state, reason)) continue;
      learnt++;
      if (mark.state === "released") tally.released++;
      else tally.rejected.push({ origin: mark.origin, seq: mark.seq, reason });
    }
    return learnt;
  });
}
