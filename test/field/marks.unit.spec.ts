import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type Hello,
  type HelloRequest,
  helloRequestSchema,
  type IncarnationId,
  MAX_MARKS_ASKED,
  type SettledMark,
} from "../../services/core/index.ts";
import { type Field, openField } from "../../services/field/index.ts";
import { asMarks, learnSettled, nextMarks } from "../../services/field/push/marks.ts";
import { emptyTally, type Pass } from "../../services/field/push/pass.ts";
import { gate, number, update } from "../support/hub.ts";
import { tempDir } from "../support/temp.ts";

const FIRST = "aaaaaaaaaaaa" as IncarnationId;
const SECOND = "bbbbbbbbbbbb" as IncarnationId;

/** A device with confirmed events, the first of which are held in quarantine. */
async function deviceWith(held: number, confirmed = held): Promise<Field> {
  const field = openField({
    path: join(tempDir(), "field.db"),
    name: { org: "relief", site: "juba", device: "t1" },
    schemas: gate,
  });
  await field.appendMany(Array.from({ length: Math.max(held, 3) }, (_, n) => update(number(n), { village: `v${n}` })));
  const { rows } = field.store;
  rows.confirmTo(1, { through: confirmed - 1, position: null, incarnation: null });
  for (let seq = 0; seq < held; seq++) rows.addQuarantined(1, { seq, code: "invalid", reason: `wrong ${seq}` });
  return field;
}

/** The first question of a sync and those that follow it, to a hub that settles events as `settled` says; `undefined`: a hub that does not answer this. */
async function asks(
  field: Field,
  settled: (seq: number) => "released" | "rejected" | undefined | null,
  incarnation: IncarnationId = FIRST,
) {
  const tally = emptyTally();
  const asked: number[][] = [];
  const answer = (request: HelloRequest): Hello => {
    const marks = helloRequestSchema.parse({ ...request, nonce: "n".repeat(16) }).marks ?? [];
    const all = marks.flatMap(({ origin, seqs }) => seqs.map((seq) => ({ origin, seq })));
    asked.push(all.map(({ seq }) => seq));
    const known = all.flatMap(({ origin, seq }): SettledMark[] => {
      const state = settled(seq);
      if (state === "released") return [{ state, origin, seq }];
      return state === "rejected" ? [{ state, origin, seq, reason: "a test" }] : [];
    });
    const isSilent = all.some(({ seq }) => settled(seq) === undefined);
    const receipt = { kind: "receipt" as const, batch: null, through: null, head: null, position: null, quarantined: [] };
    return {
      ...{ kind: "hello", nowMs: 0, avro: {}, receipt: { ...receipt, origin: request.origin, incarnation } },
      ...(request.nonce === undefined ? {} : { nonce: request.nonce }),
      ...(isSilent ? {} : { settled: known }),
    };
  };
  // Only those members of a pass that the questions use.
  const pass = {
    store: field.store,
    tally,
    origin: field.store.origin,
    pace: { answered: () => {} },
    transport: { hello: async (request: HelloRequest) => ({ kind: "hello", hello: answer(request) }) },
  } as unknown as Pass;
  const first = nextMarks(field.store);
  await learnSettled(pass, 1, answer({ origin: field.store.current().name, since: null, ...asMarks(first) }), first);
  return { tally, asked };
}
const held = null;
const upTo = (to: number, from = 0): number[] => Array.from({ length: to - from }, (_, i) => i + from);

describe("what became of quarantined events", () => {
  it("is shown: a released event loses its mark, and a rejected one is named with the reason (I36)", async () => {
    using field = await deviceWith(3);
    const { tally } = await asks(field, (seq) => (["released", "rejected", held] as const)[seq]!);
    const { quarantined, rejected } = field.status();
    expect(quarantined).toMatchObject([{ seq: 2, reason: "wrong 2" }]);
    expect(rejected).toMatchObject([
      { seq: 1, code: "invalid", reason: "wrong 1", rejection: "a test", type: "beneficiary.updated" },
    ]);
    expect(tally).toMatchObject({ released: 1, rejected: [{ origin: field.status().origin, seq: 1, reason: "a test" }] });
    // The device no longer asks about what is settled.
    expect((await asks(field, () => held)).asked).toEqual([[2]]);
  });

  it("stays as it was at a hub that does not say", async () => {
    using field = await deviceWith(3);
    const before = field.status();
    expect((await asks(field, () => undefined)).tally).toMatchObject({ released: 0, rejected: [] });
    expect(field.status()).toEqual(before);
  });

  it("is asked of confirmed events only, and not at all if none is marked", async () => {
    using field = await deviceWith(3, 2);
    expect(nextMarks(field.store).map(({ seq }) => seq)).toEqual([0, 1]);
    using none = await deviceWith(0, 3);
    expect(asMarks(nextMarks(none.store))).toEqual({});
  });

  it("is asked of a bounded number in each question, in turns over all syncs", async () => {
    using field = await deviceWith(250);
    const rounds: number[][] = [];
    for (let sync = 0; sync < 3; sync++) rounds.push(...(await asks(field, () => held)).asked);
    expect(rounds).toEqual([upTo(100), upTo(200, 100), [...upTo(250, 200), ...upTo(50)]]);
    for (const round of rounds) expect(round.length).toBeLessThanOrEqual(MAX_MARKS_ASKED);
  });

  it("is learnt in one sync, even if all events of a form were released", async () => {
    using field = await deviceWith(250);
    const { tally, asked } = await asks(field, () => "released");
    expect(asked).toEqual([upTo(100), upTo(200, 100), upTo(250, 200)]);
    expect(tally.released).toBe(250);
    expect(field.status()).toMatchObject({ quarantined: [], rejected: [] });
  });

  it("is asked again in another incarnation of the log, which may have lost the release", async () => {
    using field = await deviceWith(2);
    await asks(field, (seq) => (seq === 0 ? "released" : "rejected"));
    expect(field.status()).toMatchObject({ quarantined: [], rejected: [{ seq: 1 }] });
    const { asked } = await asks(field, (seq) => (seq === 0 ? held : "rejected"), SECOND);
    expect(asked).toEqual([[], [0, 1]]);
    expect(field.status()).toMatchObject({ quarantined: [{ seq: 0 }], rejected: [{ seq: 1 }] });
  });
});
