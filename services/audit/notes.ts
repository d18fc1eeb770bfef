import { type Appendable, type LogEntry, type Noted, notedText, type OriginId, type PublicKey, type Seq } from "../core/index.ts";
import { isSignedBy, keyIdOf, sha256Hex } from "../core/node.ts";

/** While a hub is brought to this version, a process of the version before may still write. After this time none does. */
const UNSIGNED_GRACE_MS = 3_600_000;
/** A run is appended by one call, so its events stand together in the log. A call takes no more than so many. */
const MAX_RUN = 2_000;

export interface NoteReport {
  /** Good signatures of a hub's notes, one for each run. */
  readonly signed: number;
  /** Events whose notes nobody has signed: from hubs without a key, or from before notes were signed. */
  readonly unsigned: number;
}

export interface NoteCheck {
  entry(entry: LogEntry): void;
  end(): NoteReport;
}

type Noteworthy = Pick<Appendable, "head" | "content" | "clock" | "clips">;

/** The run that is being read: events of one origin that follow each other, whose signature has not come yet. */
interface Run {
  readonly origin: OriginId;
  readonly events: Noteworthy[];
  readonly recordedAtMs: number;
}

/**
 * Checks what hubs have signed of their notes: that an event was quarantined or not, how wrong its clock was, and what is taken back of its basis. Once a log has
 * such signatures, each run must have one. `keys`: the keys that hubs may sign with.
 */
export function noteCheck(keys: () => readonly PublicKey[], report: (where: string, what: string) => void): NoteCheck {
  let run: Run | null = null;
  let signed = 0;
  let unsigned = 0;
  let signedSinceMs = Number.POSITIVE_INFINITY;
  const endRun = (): void => {
    if (run === null) return;
    const { origin, events, recordedAtMs } = run;
    unsigned += events.length;
    run = null;
    if (recordedAtMs <= signedSinceMs + UNSIGNED_GRACE_MS) return;
    report(
      `${origin}/${events[0]!.head.seq}–${events.at(-1)!.head.seq}`,
      "nobody has signed what the hub noted of these events, though it signed its notes before: a signature was removed, or another program wrote them",
    );
  };
  return {
    entry({ head, content, clock, clips, noted, recordedAtMs }) {
      const follows = run !== null && run.origin === head.origin && run.events.at(-1)!.head.seq + 1 === head.seq;
      if (!follows || run!.events.length >= MAX_RUN) endRun();
      run ??= { origin: head.origin, events: [], recordedAtMs };
      run.events.push({
        head,
        content: content.kind === "accepted" ? KEPT : content,
        clock,
        ...(clips === undefined ? {} : { clips }),
      });
      if (noted === undefined) return;
      const known = keys();
      // Without any key of the hub there is nothing to check with.
      if (known.length === 0) return endRun();
      const wrong = problemOf(run.events, noted, known);
      if (wrong === null) {
        signed++;
        signedSinceMs = Math.min(signedSinceMs, recordedAtMs);
      } else report(`${head.origin}/${noted.from}–${head.seq}`, wrong);
      run = null;
    },
    end() {
      endRun();
      return { signed, unsigned };
    },
  };
}

/** An accepted event's data are not part of its note. */
const KEPT: Appendable["content"] = { kind: "accepted", data: {} };

function problemOf(events: readonly Noteworthy[], noted: Noted, keys: readonly PublicKey[]): string | null {
  const first = events[0]!.head.seq;
  if (noted.from !== first) return fromElsewhere(noted.from, first);
  const key = keys.find((known) => keyIdOf(known) === noted.signature.kid);
  if (key === undefined) return "what the hub noted of these events is signed by a key that is not one of the hub's";
  return isSignedBy(key, notedText(noted, events, sha256Hex), noted.signature)
    ? null
    : "what the hub noted of these events is not what it signed: a verdict, a clock note or a clipped basis was altered";
}

const fromElsewhere = (from: Seq, first: Seq): string =>
  `the hub signed its notes from event ${from} on, but its run begins at event ${first}: a signature was moved or removed`;
