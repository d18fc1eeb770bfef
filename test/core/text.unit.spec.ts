import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dataAsSeen, forTerminal, jsonForTerminal, keyAsSeen, notJson, textAsSeen } from "../../services/core/index.ts";

describe("a text as people see it", () => {
  it.each([
    ["JUB-000140", "JUB-000140"],
    ["JUB-000140\u200e", "JUB-000140"],
    ["\u202a+211 920 000 001\u202c", "+211 920 000 001"],
    ["\ufeff 12345 \u00a0", "12345"],
    ["Cafe\u0301-1", "Caf\u00e9-1"],
    ["\u0661\u0662\u0663\u200f", "\u0661\u0662\u0663"],
  ])("a number or code loses what nobody sees at its ends: %j", (given, seen) => {
    expect([keyAsSeen(given), textAsSeen(given)]).toEqual([seen, seen]);
  });

  it.each([
    ["Ayen ", "Ayen "],
    ["Ange\u0301le", "Ang\u00e9le"],
    ["\u0639\u0644\u064a\u200f", "\u0639\u0644\u064a\u200f"],
    ["a\u200db", "a\u200db"],
  ])("a name keeps its marks, and is composed: %j", (given, seen) => {
    expect(textAsSeen(given)).toBe(seen);
  });

  it("keeps marks inside it, because they join letters", () => {
    expect(keyAsSeen("\u0646\u0645\u06cc\u200c1")).toBe("\u0646\u0645\u06cc\u200c1");
  });

  it("is the same when it is looked at again, and plain text is never changed", () => {
    const any = fc.string({ unit: "grapheme" });
    fc.assert(fc.property(any, (text) => void expect(textAsSeen(textAsSeen(text))).toBe(textAsSeen(text))));
    fc.assert(fc.property(fc.stringMatching(/^[!-~]([ -~]*[!-~])?$/), (text) => void expect(textAsSeen(text)).toBe(text)));
  });

  it("leaves the deeper texts of data alone: edits of a text count its characters", () => {
    const data = { card: "1\u200e", edit: [{ insert: "e\u0301" }], size: 3 };
    expect(dataAsSeen(data)).toEqual({ card: "1", edit: [{ insert: "e\u0301" }], size: 3 });
    const plain = { card: "1", name: "Ayen" };
    expect(dataAsSeen(plain)).toBe(plain);
  });
});

describe("what a terminal is given", () => {
  it.each([
    ["Ayen\u001b[31m\rNyakor", "Ayen␛[31m␍Nyakor"],
    ["\u009b31m", "\ufffd31m"],
    ["\u202eevil", "\ufffdevil"],
    ["one\ttwo\nthree", "one\ttwo\nthree"],
    ["Ange\u0301le 名前", "Ange\u0301le 名前"],
  ])("does not steer it: %j", (given, shown) => {
    expect(forTerminal(given)).toBe(shown);
  });

  it("as JSON says the same as before, without a control character", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const json = jsonForTerminal(JSON.stringify({ text }));
        expect(JSON.parse(json)).toEqual({ text });
        // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
        expect(json).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/);
      }),
    );
  });
});

describe("what JSON cannot say is named", () => {
  class Person {
    readonly name = "Ayen";
  }
  it.each<[string, unknown, string | null]>([
    ["a day as a Date", { on: new Date(0) }, "data.on is a Date, which JSON cannot say"],
    ["a Map", { counts: new Map([["a", 1]]) }, "data.counts is a Map, which JSON cannot say"],
    ["a Set in a list", { all: [1, new Set([2])] }, "data.all[1] is a Set, which JSON cannot say"],
    ["bytes", { photo: new Uint8Array(3) }, "data.photo is a Uint8Array, which JSON cannot say"],
    ["a Buffer", { photo: Buffer.from("x") }, "data.photo is a Buffer, which JSON cannot say"],
    ["an object of a class", { who: new Person() }, "data.who is a Person, which JSON cannot say"],
    ["a bigint", { n: 1n }, "data.n is a bigint, which JSON cannot say"],
    ["a function", { f: () => 1 }, "data.f is a function, which JSON cannot say"],
    ["a symbol", { s: Symbol("s") }, "data.s is a symbol, which JSON cannot say"],
    ["NaN", { weight: Number.NaN }, "data.weight is NaN, which is not a number of JSON"],
    ["infinity", { weight: Number.POSITIVE_INFINITY }, "data.weight is Infinity, which is not a number of JSON"],
    ["a hole in a list", { all: [undefined] }, "data.all[0] is undefined, which JSON cannot say"],
    ["a member without a value is left out", { a: undefined, b: null, c: [1, "x", { d: true }] }, null],
    ["an object without a prototype", { a: Object.assign(Object.create(null), { b: 1 }) }, null],
  ])("%s", (_, value, expected) => {
    expect(notJson(value, "data")).toBe(expected);
  });
});
