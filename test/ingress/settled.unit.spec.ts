import { describe, expect, it } from "vitest";
import { settledIn } from "../../services/cli/door-views.ts";
import {
  type HelloRequest,
  helloSchema,
  type IncarnationId,
  MAX_MARKS_ASKED,
  type OriginId,
  type Seq,
  type SettledMark,
} from "../../services/core/index.ts";
import type { Mark } from "../../services/ingress/index.ts";
import { settledFor } from "../../services/ingress/settled.ts";

const LIFE = "aaaaaaaaaaaa" as IncarnationId;
const OWN = "relief.juba.t1.abc" as OriginId;
const OLDER = "relief.juba.t1.xyz" as OriginId;
const OTHERS = "relief.juba.t2.abc" as OriginId;
const seqs = (count: number): Seq[] => Array.from({ length: count }, (_, i) => i as Seq);
const asking = (...marks: NonNullable<HelloRequest["marks"]>): HelloRequest => ({ origin: OWN, since: null, marks });
/** Turns everything down, and keeps what it was asked. */
function rejecting(reason = "a test") {
  const asked: Mark[] = [];
  const settled = async (marks: readonly Mark[]): Promise<SettledMark[]> => {
    asked.push(...marks);
    return marks.map((mark) => ({ ...mark, state: "rejected", reason }));
  };
  return { asked, settled };
}

describe("a hello that asks what became of quarantined events", () => {
  it("is told of the device's own events, of all its epochs, and of nobody else's", async () => {
    const { asked, settled } = rejecting();
    const marks = [OLDER, OTHERS, OWN].map((origin) => ({ origin, seqs: seqs(1) }));
    await settledFor(asking(...marks), LIFE, settled);
    expect(asked.map(({ origin }) => origin)).toEqual([OLDER, OWN]);
  });

  it("is answered about a bounded number, in a bounded size that the protocol takes", async () => {
    const { asked, settled } = rejecting("x".repeat(2_000));
    const answer = await settledFor(asking({ origin: OWN, seqs: seqs(100) }, { origin: OLDER, seqs: seqs(100) }), LIFE, settled);
    expect(asked.length).toBe(MAX_MARKS_ASKED);
    expect(helloSchema.pick({ settled: true }).parse(answer)).toEqual(answer);
    expect(JSON.stringify(answer).length).toBeLessThan(50_000);
  });

  it("is answered without it while the views cannot say: they are away, hang, are of another log, or are not asked at all", async () => {
    const request = asking({ origin: OWN, seqs: seqs(1) });
    const fails = async (): Promise<never> => {
      throw new Error("PostgreSQL is away");
    };
    expect(await settledFor(request, LIFE, fails)).toEqual({});
    expect(await settledFor(request, LIFE, async () => null)).toEqual({});
    expect(await settledFor(request, LIFE, () => new Promise(() => {}))).toEqual({});
    expect(await settledFor(request, null, rejecting().settled)).toEqual({});
    expect(await settledFor({ origin: OWN, since: null }, LIFE, rejecting().settled)).toEqual({});
    expect(await settledIn(() => null)([{ origin: OWN, seq: 0 as Seq }], LIFE)).toBeNull();
  });
});
