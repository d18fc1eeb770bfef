import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readClock, readDay, readTime } from "../../services/gate/cells/days.ts";
import type { DayOrder, DecimalMark } from "../../services/gate/cells/habit.ts";
import { readNumber } from "../../services/gate/cells/numbers.ts";

const problem = (words: string) => ({ problem: expect.stringContaining(words) });

describe("a number in a cell", () => {
  it.each<[string, DecimalMark | undefined, unknown]>([
    ["12", undefined, { value: 12 }],
    ["0012", undefined, { value: 12 }],
    ["-1.50", undefined, { value: -1.5 }],
    ["1e3", undefined, { value: 1000 }],
    ["-0", undefined, { value: 0 }],
    ["0.1", undefined, { value: 0.1 }],
    ["12345678901234567.89", undefined, problem("more digits than a number keeps")],
    ["9007199254740993", undefined, problem("more digits than a number keeps")],
    ["1e400", undefined, problem("more digits than a number keeps")],
    ["1,234", undefined, problem("more than one way")],
    ["3,5", undefined, problem("more than one way")],
    ["1 234", undefined, problem("more than one way")],
    ["1,234", ".", { value: 1234 }],
    ["1,234,567.5", ".", { value: 1234567.5 }],
    ["1 234 567", ".", { value: 1234567 }],
    ["12,34", ".", problem("not a number with a decimal point")],
    ["1.234,5", ",", { value: 1234.5 }],
    ["1.234", ",", { value: 1234 }],
    ["3,5", ",", { value: 3.5 }],
    ["3.5", ",", problem("has a decimal point")],
    ["1,2,3", ",", problem("not a number with a decimal comma")],
    ["many", undefined, null],
    ["", undefined, null],
    ["12 kg", undefined, null],
    ["0x10", undefined, null],
  ])("%s, with the decimal mark %s", (cell, mark, expected) => {
    expect(readNumber(cell, mark)).toEqual(expected);
  });

  const numbers = fc.oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.maxSafeInteger());
  it("is the one that was written, for every number", () => {
    fc.assert(
      fc.property(
        numbers,
        (given) => void expect(readNumber(String(given), undefined)).toEqual({ value: given === 0 ? 0 : given }),
      ),
    );
  });

  it("is the one that was written with groups of three and either mark", () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.nat(999),
        fc.constantFrom<[DecimalMark, string]>([".", "en-US"], [",", "de-DE"]),
        (whole, decimals, [mark, locale]) => {
          const text = `${whole}.${decimals}`;
          const cell = `${new Intl.NumberFormat(locale).format(whole)}${mark}${decimals}`;
          expect(readNumber(cell, mark)).toEqual({ value: Number(text) === 0 ? 0 : Number(text) });
        },
      ),
    );
  });

  it("is never another number than its digits say: one that cannot be kept is reported", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 22n), max: 10n ** 22n }), (given) => {
        const reading = readNumber(String(given), undefined);
        if (reading?.value !== undefined) expect(BigInt(reading.value)).toBe(given);
        else expect(Number.isSafeInteger(Number(given))).toBe(false);
      }),
    );
  });
});

describe("a day in a cell", () => {
  it.each<[string, DayOrder | undefined, unknown]>([
    ["2026-05-03", undefined, { value: "2026-05-03" }],
    ["2026-05-03", "mdy", { value: "2026-05-03" }],
    ["2026-05-03 00:00:00", undefined, { value: "2026-05-03" }],
    ["2026-02-30", undefined, problem("not a day of the calendar")],
    ["0000-01-01", undefined, problem("not a day of the calendar")],
    ["2024-02-29", undefined, { value: "2024-02-29" }],
    ["03/05/2026", undefined, problem("may be 3 May or 5 March")],
    ["13/05/2026", undefined, problem("--dates dmy")],
    ["05/13/2026", undefined, problem("--dates mdy")],
    ["2026/5/3", undefined, problem("--dates ymd")],
    ["03/05/26", undefined, problem("a year of two digits")],
    ["03/05/26", "dmy", problem("a year of two digits")],
    ["03/05/2026", "dmy", { value: "2026-05-03" }],
    ["3.5.2026", "dmy", { value: "2026-05-03" }],
    ["03-05-2026", "mdy", { value: "2026-03-05" }],
    ["2026/5/3", "ymd", { value: "2026-05-03" }],
    ["05/13/2026", "dmy", problem("not a day in the order dmy")],
    ["03/05.2026", "dmy", null],
    ["3 May 2026", "dmy", null],
    ["46145", "dmy", null],
  ])("%s, in the order %s", (cell, order, expected) => {
    expect(readDay(cell, order)).toEqual(expected);
  });

  it("is the one that was written, in each order, for every day from the year 1 to 9999", () => {
    const days = fc.date({ min: new Date("0001-01-01"), max: new Date("9999-12-31"), noInvalidDate: true });
    fc.assert(
      fc.property(days, fc.constantFrom<DayOrder>("dmy", "mdy", "ymd"), fc.constantFrom("/", ".", "-"), (at, order, mark) => {
        const iso = at.toISOString().slice(0, 10);
        const [y = "", m = "", d = ""] = iso.split("-");
        const cell = [...order].map((part) => ({ d, m, y })[part as "d" | "m" | "y"]).join(mark);
        expect(readDay(cell, order)).toEqual({ value: iso });
      }),
    );
  });
});

describe("a time in a cell", () => {
  it.each<[string, DayOrder | undefined, string | undefined, unknown]>([
    ["2026-05-03 14:20", undefined, undefined, problem("does not name its time zone")],
    ["2026-05-03 14:20", undefined, "Africa/Juba", { value: "2026-05-03T12:20:00.000Z" }],
    ["2026-05-03T14:20:05.25Z", undefined, "Africa/Juba", { value: "2026-05-03T14:20:05.250Z" }],
    ["03/05/2026 2:05", "dmy", "+02:00", { value: "2026-05-03T00:05:00.000Z" }],
    ["2026-05-03T10:00:00+0300", undefined, undefined, { value: "2026-05-03T07:00:00.000Z" }],
    ["2026-03-29 02:30", undefined, "Europe/Berlin", problem("was skipped when the clocks of Europe/Berlin went forward")],
    ["2026-10-25 02:30", undefined, "Europe/Berlin", problem("came twice when the clocks of Europe/Berlin went back")],
    ["2026-05-03 25:00", undefined, "Z", problem("not a time of day")],
    ["03/05/2026 10:00", undefined, "Z", problem("may be 3 May or 5 March")],
    ["noon", undefined, "Z", null],
  ])("%s, in the order %s and the zone %s", (cell, order, zone, expected) => {
    expect(readTime(cell, order, zone)).toEqual(expected);
  });

  it.each([
    ["14:20", 51_600_000],
    ["0:00:05.5", 5_500],
    ["24:00", null],
    ["12:60", null],
    ["noon", null],
  ])("of day: %s", (cell, expected) => {
    expect(readClock(cell)).toBe(expected);
  });
});
