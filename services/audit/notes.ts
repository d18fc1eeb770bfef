import {
  type Appendable,
  type LogEntry,
  type Noted,
  type Noteworthy,
  notedText,
  type OriginId,
  type Position,
  type PublicKey,
  type Seq,
} from "../core/index.ts";
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

/** The run that is being read: events of one origin that follow each other, whose signature has not come yet. */
interface Run {
  readonly origin: OriginId;
  readonly from: Seq;
  last: Seq;
  readonly events: Noteworthy[];
  /** Of its first event. */
  readonly position: Position;
  readonly recordedAtMs: number;
}

/** From where on a hub says that it signs its notes, as the log has it. */
export interface SignedFrom {
  readonly position: Position;
  readonly atMs: number;
}

/** What a log says of its hub's keys. */
export interface HubKeys {
  /** The keys that the hub may sign with. */
  keys(): readonly PublicKey[];
  /** From where on it signs its notes; `null`: it has not said. */
  signedFrom(): SignedFrom | null;
}

/**
 * Checks what hubs have signed of their notes: that an event was quarantined or not, how wrong its clock was, and what is taken back of its basis. From the moment
 * at which the hub has said that it signs, each run must have a signature.
 */
export function noteCheck({ keys, signedFrom }: HubKeys, report: (where: string, what: string) => void): NoteCheck {
  let run: Run | null = null;
  let signed = 0;
  let unsigned = 0;
  const noteUnsigned = ({ origin, from, position, recordedAtMs }: Run, last: Seq): void => {
    unsigned += last - from + 1;
    const since = signedFrom();
    if (since === null || position < since.position || recordedAtMs <= since.atMs + UNSIGNED_GRACE_MS) return;
    report(
      `${origin}/${from}–${last}`,
      "nobody has signed what the hub noted of these events, though it signed its notes then: a signature was removed, or another program wrote them",
    );
  };
  const endRun = (): void => {
    if (run !== null) noteUnsigned(run, run.last);
    run = null;
  };
  return {
    entry({ head, content, clock, clips, noted, position, recordedAtMs }) {
      const { origin, seq } = head;
      if (run !== null && !(run.origin === origin && run.last + 1 === seq && run.events.length < MAX_RUN)) endRun();
      run ??= { origin, from: seq, last: seq, events: [], position, recordedAtMs };
      run.last = seq;
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
      // Events of the origin that stand right before were appended by a call of their own, which was not signed.
      const before = noted.from - run.from;
      if (before > 0 && before < run.events.length) noteUnsigned(run, (noted.from - 1) as Seq);
      const wrong = problemOf(run.events.slice(Math.max(before, 0)), noted, known);
      if (wrong === null) signed++;
      else report(`${origin}/${noted.from}–${seq}`, wrong);
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
  const first = events[0]?.head.seq;
  if (noted.from !== first)
    return `the hub signed its notes from event ${noted.from} on, but its run begins at event ${first}: a signature was moved or removed`;
  const key = keys.find((known) => keyIdOf(known) === noted.signature.kid);
  if (key === undefined) return "what the hub noted of these events is signed by a key that is not one of the hub's";
  return isSignedBy(key, notedText(noted.hub, events, sha256Hex), noted.signature)
    ? null
    : "what the hub noted of these events is not what it signed: a verdict, a clock note or a clipped basis was altered";
}
