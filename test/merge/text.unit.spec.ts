import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { type TextOp, type as textType } from "ot-text-unicode";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import * as Y from "yjs";
import type { JsonValue, OriginId, Seq, Vector } from "../../services/core/index.ts";
import { collaborativeText, composeEdit, editText, sequencedText } from "../../services/merge/crdt/index.ts";
import { MAX_CONCURRENT_OPS, MAX_OP_PARTS, textProblems } from "../../services/merge/crdt/text-ot.ts";
import { MAX_UPDATE_CHARS } from "../../services/merge/crdt/text-yjs.ts";
import type { CrdtWrite } from "../../services/merge/crdt.ts";
import { dice, history, hostileWrites, joined, type Kind, ORIGINS, play, saw, shown, write } from "../support/crdt.ts";
import { keepsTheLaws } from "../support/crdt-laws.ts";
import { atLeast, IS_QUICK, runs, untilEnough } from "../support/runs.ts";
import { tempDir } from "../support/temp.ts";

const WORDS = ["water ", "two jerrycans", "é", "😅🤖", "食糧", "\n", "x"];

/** A text with some of it replaced, in characters. */
function edited(text: string, [at, cut, word]: readonly number[]): string {
  const chars = Array.from(text);
  chars.splice(at! % (chars.length + 1), cut! % 4, word! % 5 === 0 ? "" : WORDS[word! % WORDS.length]!);
  return chars.join("");
}

/** An op of several parts on a text. */
function scattered(text: string, numbers: readonly number[]): JsonValue {
  let left = Array.from(text).length;
  const op: (number | string | { d: number })[] = [];
  for (const n of numbers) {
    const size = Math.min(left, 1 + (n % 4));
    if (n % 3 === 0) op.push(WORDS[n % WORDS.length]!);
    else if (size > 0) op.push(n % 3 === 1 ? size : { d: size });
    if (n % 3 !== 0) left -= size;
  }
  return textType.normalize(op) as JsonValue;
}

const sequenced: Kind = {
  crdt: sequencedText,
  makeValue: (numbers, seen) => {
    const text = seen === undefined ? "" : (sequencedText.read(seen) as string);
    if (seen === undefined && numbers[0]! % 3 === 0) return [numbers[1]! + 1, "hostile", { d: 1 + numbers[2]! }];
    return numbers[5]! % 2 === 0 ? composeEdit(text, edited(text, numbers)) : scattered(text, numbers);
  },
};

const NOTHING = editText(undefined, (text) => text.insert(0, "x"), 1)!;
const collaborative: Kind = {
  crdt: collaborativeText,
  runs: 100,
  makeValue: ([at, cut, word, client], seen) =>
    editText(
      seen,
      (text) => {
        const from = at! % (text.length + 1);
        text.delete(from, Math.min(cut! % 4, text.length - from));
        text.insert(from, WORDS[word! % WORDS.length]!);
      },
      client! + 1,
    ) ?? NOTHING,
};

describe.each([sequenced, collaborative])("$crdt.name", keepsTheLaws);

const LETTER = 0x4e00;
/** Each write inserts one letter that no other inserts. */
const inserting = (kind: "collaborative" | "sequenced"): Kind => ({
  crdt: kind === "sequenced" ? sequencedText : collaborativeText,
  makeValue: ([at, letter, more], seen) => {
    const unique = String.fromCodePoint(LETTER + letter! + 1000 * (more! % 10));
    if (kind === "collaborative") return editText(seen, (text) => text.insert(at! % (text.length + 1), unique))!;
    const text = seen === undefined ? "" : (sequencedText.read(seen) as string);
    const from = at! % (text.length + 1);
    return from === 0 ? [unique] : [from, unique];
  },
});

describe.each(["collaborative", "sequenced"] as const)("a %s text", (which) => {
  const { crdt } = inserting(which);
  const first: JsonValue =
    which === "sequenced" ? ["two blankets"] : editText(undefined, (text) => text.insert(0, "two blankets"))!;
  const base = write(0, 0, first);
  const insertAt = (at: number, words: string): JsonValue =>
    which === "sequenced"
      ? [...(at === 0 ? [] : [at]), words]
      : editText(joined(crdt, [base]), (text) => text.insert(at, words))!;

  it("keeps what two authors edited without a network, each edit where its author made it", () => {
    const one = write(1, 1, insertAt(0, "Amina: "), { basis: saw(1) });
    const two = write(2, 2, insertAt(12, ", one tarpaulin"), { basis: saw(1) });
    expect(shown(crdt, base, one, two)).toBe("Amina: two blankets, one tarpaulin");
  });

  it("holds every insertion of replicas that edit what they see", () => {
    const kind = inserting(which);
    fc.assert(
      fc.property(history, (steps) => {
        const writes = play(kind, steps);
        if (writes.length === 0) return;
        const wrote = writes.map(({ value }) =>
          which === "sequenced" ? (value as JsonValue[]).at(-1) : lettersOf(value as string),
        );
        expect(Array.from(shown(crdt, ...writes) as string).sort()).toEqual(wrote.sort());
        if (which === "sequenced") expect(textProblems(joined(crdt, writes)!)).toEqual([]);
      }),
      { numRuns: runs(200) },
    );
  });
});

/** The text that an update inserts. */
function lettersOf(update: string): string {
  const { structs } = Y.decodeUpdate(Uint8Array.from(atob(update), (char) => char.charCodeAt(0)));
  return structs.map((struct) => (struct instanceof Y.Item ? (struct.content as Y.ContentString).str : "")).join("");
}

describe("a collaborative text", () => {
  const base64 = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes));

  it("takes updates of an app's own document, and shows an early one once the one that it builds on has come", () => {
    const doc = new Y.Doc();
    const updates: string[] = [];
    doc.on("update", (update: Uint8Array) => updates.push(base64(update)));
    doc.getText("text").insert(0, "water");
    doc.getText("text").insert(5, " and food");
    expect(shown(collaborativeText, write(0, 1, updates[1]!))).toBe("");
    expect(shown(collaborativeText, write(0, 1, updates[1]!), write(0, 0, updates[0]!))).toBe("water and food");
  });

  it("makes no write of an edit that changes nothing", () => {
    expect(editText(undefined, () => {})).toBeNull();
  });

  it.each([
    ["a text that is not base64", "not base64!", "base64"],
    ["base64 with characters that stand for nothing", ` ${NOTHING}`, "base64"],
    ["an empty update", "", "read"],
    ["an update cut short", btoa(atob(NOTHING).slice(0, -3)), "read"],
    ["an update that announces 33 million items", btoa("\x01\xf6\xff\xff\x0f\x01\x00"), "read"],
    ["too much", "A".repeat(MAX_UPDATE_CHARS + 4), "at most"],
    ["a number", 7, "base64"],
  ])("refuses %s", (_, value, named) => {
    expect(collaborativeText.problem(value)).toContain(named);
  });

  it("is shown, and is the same in any order, whatever updates hostile devices make up", () => {
    const updates = fc
      .tuple(dice, dice, fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 3 }))
      .map(([one, two, changes]) => {
        const first = collaborative.makeValue(one, undefined, []);
        const second = collaborative.makeValue(two, joined(collaborativeText, [write(0, 0, first)]), []);
        return [first, second].map((update) => {
          const bytes = Uint8Array.from(atob(update as string), (char) => char.charCodeAt(0));
          for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
          return base64(bytes);
        });
      });
    let accepted = 0;
    const round = (): void =>
      fc.assert(
        fc.property(
          fc
            .array(updates, { minLength: 1, maxLength: 4 })
            .map((pairs) => pairs.flat().filter((update) => collaborativeText.problem(update) === null))
            .map((values) => values.map((value, i) => write(i % 3, i, value)))
            .chain((writes) => fc.tuple(fc.constant(writes), fc.shuffledSubarray(writes, { minLength: writes.length }))),
          ([writes, shuffled]) => {
            if (writes.length === 0) return;
            accepted += writes.length;
            expect(shown(collaborativeText, ...shuffled)).toBe(shown(collaborativeText, ...writes));
          },
        ),
        { numRuns: runs(300) },
      );
    untilEnough(round, () => accepted > atLeast(100));
    expect(accepted).toBeGreaterThan(atLeast(100));
  });
});

/** A hub and devices as Jupiter has them, step by step: a device moves what it has not pushed over each op that it pulls. */
interface Device {
  readonly at: number;
  text: string;
  /** How much of the log it has pulled. */
  pulled: number;
  /** Ops that it wrote and has not pulled back, as they now stand; the first `pushed` of them are in the log. */
  own: { write: CrdtWrite; op: TextOp }[];
  pushed: number;
  wrote: number;
}
interface Hub {
  text: string;
  readonly log: { write: CrdtWrite; op: TextOp }[];
}

function pull(device: Device, hub: Hub): void {
  const next = hub.log[device.pulled++]!;
  if (next.write.by.origin === ORIGINS[device.at]) {
    device.own.shift();
    device.pushed--;
    return;
  }
  let { op } = next;
  for (const mine of device.own)
    [op, mine.op] = [textType.transform(op, mine.op, "left"), textType.transform(mine.op, op, "right")];
  device.text = textType.apply(device.text, op);
}

/** Pushes a device's first op that is not in the log, moved over each op that is in the log and that the device has not pulled. */
function push(device: Device, hub: Hub): void {
  const upToDate: Device = { ...device, own: device.own.map((each) => ({ ...each })) };
  while (upToDate.pulled < hub.log.length) pull(upToDate, hub);
  const { write, op } = upToDate.own[0]!;
  hub.log.push({ write: { ...write, by: { ...write.by, position: (hub.log.length + 1) * 100 } }, op });
  hub.text = textType.apply(hub.text, op);
  device.pushed++;
}

/** The writes that a device knows: those that it pulled from the log, and its own that it has not pulled. */
const knownTo = (device: Device, hub: Hub): CrdtWrite[] => [
  ...hub.log.slice(0, device.pulled).map(({ write }) => write),
  ...device.own.map(({ write }) => write),
];

describe("a sequenced text", () => {
  const positioned = (each: CrdtWrite, position: number): CrdtWrite => ({ ...each, by: { ...each.by, position } });
  const base = positioned(write(0, 0, ["two blankets"]), 1);

  it("lets the hub's order decide who stands first when two insert at the same point", () => {
    const one = write(1, 0, [12, ", soap"], { basis: saw(1) });
    const two = write(2, 0, [12, ", rice"], { basis: saw(1) });
    expect(shown(sequencedText, base, positioned(one, 2), positioned(two, 3))).toBe("two blankets, soap, rice");
    expect(shown(sequencedText, base, positioned(one, 3), positioned(two, 2))).toBe("two blankets, rice, soap");
    // Juba's comes before Kampala's as long as neither has a known position, and a write with a known position comes before both.
    expect(shown(sequencedText, base, one, two)).toBe("two blankets, rice, soap");
    expect(shown(sequencedText, base, positioned(one, 2), two)).toBe("two blankets, soap, rice");
  });

  it("takes over the hub's position for a write that it had without one, whichever comes first", () => {
    const two = positioned(write(2, 0, ["b"]), 9);
    const own = write(1, 0, ["a"]);
    const ownInLog = positioned(own, 5);
    const states = [
      [own, two, ownInLog],
      [ownInLog, own, two],
      [two, ownInLog],
    ].map((writes) => joined(sequencedText, writes));
    expect(sequencedText.read(states[0]!)).toBe("ab");
    expect(new Set(states.map((state) => JSON.stringify(state))).size).toBe(1);
  });

  it("never takes an op before one that its author had seen, whatever the log says", () => {
    const late = positioned(write(1, 0, [12, "!"], { basis: saw(1) }), 1);
    expect(shown(sequencedText, late, positioned(base, 2))).toBe("two blankets!");
    const circle = [
      positioned(write(1, 0, ["a"], { basis: saw(0, 0, 1) }), 4),
      positioned(write(2, 0, ["b"], { basis: saw(0, 1) }), 3),
    ];
    expect(shown(sequencedText, ...circle)).toBe(shown(sequencedText, ...[...circle].reverse()));
  });

  it("applies a history as it is if each author saw all writes before", () => {
    fc.assert(
      fc.property(fc.array(dice, { minLength: 1, maxLength: 20 }), (rounds) => {
        let text = "";
        let state: JsonValue | undefined;
        const counts = [0, 0, 0];
        for (const [i, numbers] of rounds.entries()) {
          const at = numbers[5]! % 3;
          const next = edited(text, numbers);
          const each = write(at, counts[at]!, composeEdit(text, next), { basis: saw(...counts) });
          counts[at]!++;
          state = sequencedText.join(state, i % 2 === 0 ? each : positioned(each, 1000 - i));
          text = next;
        }
        expect(sequencedText.read(state!)).toBe(text);
        expect(textProblems(state!)).toEqual([]);
      }),
      { numRuns: runs(300) },
    );
  });

  it("is on every device and at the hub what Jupiter's step-by-step transformation makes of it", () => {
    const step = fc.record({
      at: fc.nat(2),
      act: fc.constantFrom("edit", "edit", "edit", "push", "pull", "pull"),
      numbers: dice,
    });
    let transformed = 0;
    const round = (): void =>
      fc.assert(
        fc.property(fc.array(step, { minLength: 20, maxLength: 60 }), (steps) => {
          const hub: Hub = { text: "", log: [] };
          const devices = ORIGINS.map((_, at): Device => ({ at, text: "", pulled: 0, own: [], pushed: 0, wrote: 0 }));
          for (const { at, act, numbers } of steps) {
            const device = devices[at]!;
            if (act === "edit") {
              const op = sequenced.makeValue(numbers, joined(sequencedText, knownTo(device, hub)) ?? { w: [] }, []) as TextOp;
              const basis: Record<OriginId, Seq> = {};
              for (const { by } of knownTo(device, hub)) basis[by.origin] = Math.max(basis[by.origin] ?? 0, by.seq) as Seq;
              device.own.push({ write: write(at, device.wrote++, op as JsonValue, { basis: basis as Vector }), op });
              device.text = textType.apply(device.text, op);
            } else if (act === "push" && device.pushed < device.own.length) push(device, hub);
            else if (act === "pull" && device.pulled < hub.log.length) pull(device, hub);
            const here = joined(sequencedText, knownTo(device, hub));
            expect(here === undefined ? "" : sequencedText.read(here)).toBe(device.text);
          }
          for (const device of devices) while (device.pushed < device.own.length) push(device, hub);
          if (hub.log.length === 0) return;
          const state = joined(
            sequencedText,
            hub.log.map(({ write }) => write),
          )!;
          expect(sequencedText.read(state)).toBe(hub.text);
          expect(textProblems(state)).toEqual([]);
          transformed += hub.log.filter(({ write, op }) => JSON.stringify(write.value) !== JSON.stringify(op)).length;
        }),
        { numRuns: runs(300) },
      );
    untilEnough(round, () => transformed > atLeast(500));
    expect(transformed).toBeGreaterThan(atLeast(500));
  });

  it("leaves out an op that is longer than the text, says so, and takes all others", () => {
    const hostile = positioned(write(1, 0, [1_000_000_000_000_000, "x"], { basis: saw(1) }), 2);
    const greedy = positioned(write(1, 1, [10, { d: 3 }], { basis: saw(1) }), 3);
    const after = positioned(write(2, 0, [3, "2 "], { basis: saw(1) }), 4);
    const state = joined(sequencedText, [base, hostile, greedy, after])!;
    expect(sequencedText.read(state)).toBe("two2  blankets");
    expect(textProblems(state)).toEqual([
      { origin: ORIGINS[1], seq: 0, reason: "does-not-fit" },
      { origin: ORIGINS[1], seq: 1, reason: "does-not-fit" },
    ]);
  });

  it("is shown whatever hostile devices claim to have seen, counting what it leaves out", () => {
    let left = 0;
    fc.assert(
      fc.property(hostileWrites(sequenced), (writes) => {
        const state = joined(sequencedText, writes)!;
        expect(typeof sequencedText.read(state)).toBe("string");
        left += textProblems(state).length;
      }),
      { numRuns: runs(500) },
    );
    expect(left).toBeGreaterThan(50);
  });

  it("leaves out an op that is concurrent with more than it can be moved over, and takes those within the bound", () => {
    const many = Array.from({ length: MAX_CONCURRENT_OPS }, (_, i) => positioned(write(0, i, ["a"]), i + 1));
    const within = positioned(write(1, 0, ["b"]), 10_000);
    const beyond = positioned(write(2, 0, ["c"]), 10_001);
    const state = joined(sequencedText, [...many, within, beyond])!;
    expect(sequencedText.read(state)).toBe(`${"a".repeat(MAX_CONCURRENT_OPS)}b`);
    expect(textProblems(state)).toEqual([{ origin: ORIGINS[2], seq: 0, reason: "too-concurrent" }]);
  });

  // It takes seconds of processor time.
  it.skipIf(IS_QUICK)("merges three devices that each wrote 150 times without a network, in a moment", () => {
    const typed = (positionOf: (at: number, i: number) => number): JsonValue =>
      joined(
        sequencedText,
        ORIGINS.flatMap((_, at) =>
          Array.from({ length: 150 }, (_, i) =>
            positioned(write(at, i, [...(i === 0 ? [] : [i]), "abc"[at]!]), 1 + positionOf(at, i)),
          ),
        ),
      )!;
    const transformed = vi.spyOn(textType, "transform");
    onTestFinished(() => transformed.mockRestore());
    const oneAfterTheOther = typed((at, i) => at * 150 + i);
    expect(sequencedText.read(oneAfterTheOther)).toBe(`${"a".repeat(150)}${"b".repeat(150)}${"c".repeat(150)}`);
    // The letters of a device that pushes letter by letter stand between those of others.
    expect(sequencedText.read(typed((at, i) => i * 3 + at))).toBe("abc".repeat(150));
    // It took 268,653. Without its memory of ops in other contexts it would take as many times more as there are ops.
    expect(transformed.mock.calls.length).toBeLessThan(300_000);
    expect(textProblems(oneAfterTheOther)).toEqual([]);
  });

  it("makes the shortest op of an edit, and never cuts a character in two", () => {
    expect(composeEdit("", "")).toEqual([]);
    expect(composeEdit("abc", "abc")).toEqual([]);
    expect(composeEdit("abc", "abxc")).toEqual([2, "x"]);
    expect(composeEdit("aaa", "aa")).toEqual([2, { d: 1 }]);
    expect(composeEdit("😅b", "😆b")).toEqual(["😆", { d: 1 }]);
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.string({ unit: "grapheme" }), dice, (before, other, numbers) => {
        for (const after of [other, edited(before, numbers)]) {
          const op = composeEdit(before, after);
          expect(sequencedText.problem(op)).toBeNull();
          expect(textType.apply(before, op as TextOp)).toBe(after);
        }
      }),
      { numRuns: runs(500) },
    );
  });

  it.each([
    ["a text", "abc", "list"],
    ["a part that is null", [null], "list"],
    ["a skip backwards", [-1, "x"], "list"],
    ["a fraction", [1.5, "x"], "list"],
    ["an empty insertion", [""], "list"],
    ["half a character", ["\ud83d"], "list"],
    ["a deletion of nothing", [{ d: 0 }], "list"],
    ["a deletion with something else", [{ d: 1, i: "x" }], "list"],
    ["more than any text can hold", [Number.MAX_SAFE_INTEGER, { d: 2 }, "x"], "longer"],
    ["too many parts", Array.from({ length: MAX_OP_PARTS + 1 }, () => "x"), "at most"],
  ])("refuses %s", (_, value, named) => {
    expect(sequencedText.problem(value)).toContain(named);
    expect(() => sequencedText.join(undefined, write(0, 0, value))).toThrow(named);
  });
});

/**
 * An op of the vectors, as the library writes it now. The vectors write an insertion as `{"i": text}` and a skip at the end; the library writes the text
 * itself, and no such skip.
 */
const asWritten = (line: string): TextOp =>
  textType.normalize(
    (JSON.parse(line) as (number | { i: string } | { d: string })[]).map((part) =>
      typeof part === "object" && "i" in part ? part.i : part,
    ),
  );

/** Where the library differs from its own vectors, and why. */
const DEVIATIONS: Readonly<Record<number, string>> = {};

describe("the text type we build on", () => {
  const lines = readFileSync(join(import.meta.dirname, "../vectors/ot-text-transform-tests.ndjson"), "utf8")
    .trim()
    .split("\n");
  const vectors = Array.from(
    { length: lines.length / 4 },
    (_, i) => lines.slice(i * 4, i * 4 + 4) as [string, string, string, string],
  );

  it("agrees with its 46 published transforms, but for the deviations named", () => {
    const differing = vectors.flatMap(([op, other, side, expected], i) => {
      const result = textType.transform(asWritten(op), asWritten(other), side as "left" | "right");
      return JSON.stringify(result) === JSON.stringify(asWritten(expected)) ? [] : [i];
    });
    console.info(`ot-text-unicode: ${vectors.length - differing.length}/${vectors.length} transforms as published`);
    expect(vectors).toHaveLength(46);
    expect(differing).toEqual(Object.keys(DEVIATIONS).map(Number));
  });

  it("keeps its laws under its own fuzzer", async () => {
    // The fuzzer takes its seed from SEED and leaves its state in the working directory.
    const seed = process.env.SEED ?? String(Date.now() % 1_000_000);
    process.env.SEED = seed;
    const home = process.cwd();
    process.chdir(tempDir());
    try {
      const { default: fuzz } = await import("ot-fuzzer");
      const { default: genOp } = await import("ot-text-unicode/test/genOp.js");
      fuzz(textType, genOp, 400);
    } catch (error) {
      console.error(`ot-fuzzer: run again with SEED=${seed}`);
      throw error;
    } finally {
      process.chdir(home);
    }
  });
});
