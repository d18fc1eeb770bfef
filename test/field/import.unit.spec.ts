import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import distributions from "../../projections/distributions.ts";
import { type FailedRow, type ImportOptions, openField } from "../../services/field/index.ts";
import { createGate } from "../../services/gate/index.ts";
import { loadSchemas } from "../../services/gate/node.ts";
import { fitsViews } from "../../services/merge/engine.ts";
import { date, defineProjection, set } from "../../services/merge/index.ts";
import { gate, number } from "../support/hub.ts";
import { tempDir } from "../support/temp.ts";

const NAME = { org: "relief", site: "juba", device: "t1" };
const open = (path = join(tempDir(), "f.db"), more: Partial<Parameters<typeof openField>[0]> = {}) =>
  openField({ path, name: NAME, schemas: gate, ...more });
const HEADER = "registration_no,given_name,sex,registered_on,birth_date,household_size";
const REGISTERED = { type: "beneficiary.registered", actor: "deng" };
const dataOf = (field: ReturnType<typeof open>): unknown[] => [...field.events()].map(({ data }) => JSON.parse(data));

/** A device with a form of its own: members as JSON Schema, or an Avro record's fields. */
function withForm(members: Record<string, unknown> | unknown[], annotations: Record<string, unknown> = {}) {
  const dir = join(tempDir(), "schemas");
  const about = { entity: "visit", events: ["visit.made"], key: "no", title: "Visit", personal: [], ...annotations };
  mkdirSync(join(dir, "visit"), { recursive: true });
  if (Array.isArray(members)) {
    const fields = [{ name: "no", type: "string" }, ...members];
    writeFileSync(join(dir, "visit", "v1.avsc"), JSON.stringify({ type: "record", name: "Visit", tributary: about, fields }));
  } else {
    const properties = { no: { type: "string" }, ...members };
    const schema = {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      ...{ title: "Visit", tributary: about, type: "object", properties },
      ...{ $defs: { count: { type: "integer", minimum: 0 } }, additionalProperties: false },
    };
    writeFileSync(join(dir, "visit", "v1.schema.json"), JSON.stringify(schema));
  }
  return open(undefined, { schemas: createGate(loadSchemas(dir)) });
}
const VISIT = { type: "visit.made", actor: "deng" };

describe("an import", () => {
  const csv = (...rows: string[]): string => [HEADER, ...rows, ""].join("\n");
  it("takes each row once, however often it is repeated, and keeps rows that do not fit", async () => {
    using field = open();
    const text = csv(
      `${number(1)},Acol,female,2026-01-05,,3`,
      `${number(1)},Acol,female,2026-01-05,,3`,
      `${number(2)},Wani,male,2026-01-05,2019-02-30,many`,
    );
    const options = { text, type: "beneficiary.registered", actor: "deng" };
    expect(await field.importCsv(options)).toMatchObject({
      rows: 3,
      imported: 2,
      repeated: 1,
      misfits: [{ line: 4, message: expect.stringContaining("2019-02-30") }],
    });
    expect(await field.importCsv(options)).toMatchObject({ imported: 0, repeated: 3 });
    const [first, second] = [...field.events()];
    expect(JSON.parse(first!.data)).toEqual({
      given_name: "Acol",
      household_size: 3,
      registered_on: "2026-01-05",
      registration_no: number(1),
      sex: "female",
    });
    expect(JSON.parse(second!.data)).toMatchObject({ household_size: "many" });
  });
  it("tells at once which rows no view could show, and keeps them", async () => {
    using field = open(undefined, { fits: fitsViews([distributions]) });
    const text = [
      "distribution_no,registration_no,item,quantity,unit,distributed_on",
      "J-D-6,JUB-000141,OIL,4,LITRE,03/05/2026",
      "J-D-7,JUB-000142,OIL,4,LITRE,2026-05-03",
      "",
    ].join("\n");
    expect(await field.importCsv({ text, type: "distribution.recorded", actor: "deng" })).toMatchObject({
      imported: 2,
      misfits: [
        {
          line: 2,
          entity: "distribution/J-D-6",
          message:
            'distributed_on: "03/05/2026" may be 3 May or 5 March; say in which order the file writes days (--dates dmy or mdy)',
        },
      ],
    });
  });
  it.each([
    [
      "a key that holds U+0000",
      csv(`${number(1)},A,female,2026-01-05,,3`, "a\0,A,female,2026-01-05,,3"),
      /line 3 has the character U\+0000 in its key/,
    ],
    [
      "a key that is too long",
      csv(`${"x".repeat(201)},A,female,2026-01-05,,3`),
      /line 2 has a key of 201 characters, more than 200/,
    ],
    ["a row with too many cells", csv(`${number(1)},A,female,2026-01-05,,3,extra`), /line 2.*number of cells/],
    ["a quote that is not closed", csv(`${number(1)},"A,female,2026-01-05,,3`), /quote is opened and not closed/],
    ["a column twice", `a,a\n1,2\n`, /two columns are named a/],
    ["having nothing in it", "", /empty/],
    ["a column that the schema lacks", `registration_no,shoe_size\n${number(1)},44\n`, /shoe_size/],
    ["a row without its key", csv(",A,female,2026-01-05,,3"), /line 2 has no registration_no/],
    ["a missing column of the key", "given_name,sex\nA,female\n", /no column registration_no/],
    ["bytes that were not UTF-8", `${HEADER}\n\uFFFD`, /not UTF-8/],
  ])("refuses all of a file for %s, with the location and what to do", async (_, text, expected) => {
    using field = open();
    let thrown: unknown;
    try {
      await field.importCsv({ text, type: "beneficiary.registered", actor: "deng" });
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ code: "input-malformed", message: expect.stringMatching(expected), hint: expect.any(String) });
    expect(field.status().events).toBe(0);
  });
});

describe("what spreadsheets leave in a file", () => {
  it.each([
    ["rows with nothing in them", `${HEADER}\n,,,,,\n${number(1)},A,female,2026-01-05,,3\n,,,,,\n\n,,,,,\n`],
    ["columns with nothing in them", `${HEADER},,\n${number(1)},A,female,2026-01-05,,3,,\n`],
    ["semicolons", `${HEADER}\n${number(1)},A,female,2026-01-05,,3\n`.replaceAll(",", ";")],
    ["tabs", `${HEADER}\n${number(1)},A,female,2026-01-05,,3\n`.replaceAll(",", "\t")],
    ["a byte order mark and Windows line ends", `\uFEFF${HEADER}\r\n${number(1)},A,female,2026-01-05,,3\r\n`],
    ["a row of HXL tags", `${HEADER}\n#person+code,#name,,#date,,\n${number(1)},A,female,2026-01-05,,3\n`],
  ])("%s: the row in it is taken", async (_, text) => {
    using field = open();
    expect(await field.importCsv({ ...REGISTERED, text })).toMatchObject({ rows: 1, imported: 1, misfitRows: 0 });
    expect(dataOf(field)).toMatchObject([{ registration_no: number(1), household_size: 3 }]);
  });

  it("a cell under a column without a name is not dropped: the file is refused, with the line", async () => {
    using field = open();
    const text = `${HEADER},\n${number(1)},A,female,2026-01-05,,3,\n${number(2)},B,male,2026-01-05,,3,kept?\n`;
    await expect(field.importCsv({ ...REGISTERED, text })).rejects.toThrow(/line 3 column 7 has no name/);
    expect(field.status().events).toBe(0);
  });

  it("cells that say that nothing is known are left out, if the caller names them", async () => {
    using field = open();
    const text = `${HEADER}\n${number(1)},A,female,2026-01-05,n/a,-\n`;
    expect(await field.importCsv({ ...REGISTERED, text, missing: ["n/a", "-"] })).toMatchObject({ misfitRows: 0 });
    expect(dataOf(field)).toEqual([{ registration_no: number(1), given_name: "A", sex: "female", registered_on: "2026-01-05" }]);
  });
});

describe("a cell is read as its form says", () => {
  it("by enum, const, $ref and anyOf", async () => {
    using field = withForm({
      kind: { enum: [1, 2, 3] },
      checked: { const: 1 },
      people: { $ref: "#/$defs/count" },
      rooms: { anyOf: [{ type: "integer", minimum: 0 }, { type: "null" }] },
      done: { type: "boolean" },
      tags: { type: "array", items: { type: "string" } },
    });
    const text = 'no,kind,checked,people,rooms,done,tags\nV-1,1,1,5,2,yes,"[""a"",""b""]"\n';
    expect(await field.importCsv({ ...VISIT, text })).toMatchObject({ misfits: [] });
    expect(dataOf(field)).toEqual([{ no: "V-1", kind: 1, checked: 1, people: 5, rooms: 2, done: true, tags: ["a", "b"] }]);
  });

  it("by Avro's logical types, counted or written as days and times", async () => {
    const nullable = (type: unknown) => ["null", type];
    using field = withForm([
      { name: "minutes", type: { type: "int" } },
      { name: "on", type: nullable({ type: "int", logicalType: "date" }), default: null },
      { name: "began", type: nullable({ type: "long", logicalType: "timestamp-millis" }), default: null },
      { name: "at", type: nullable({ type: "int", logicalType: "time-millis" }), default: null },
      { name: "kind", type: { type: "enum", name: "Kind", symbols: ["TENT", "HUT"] } },
    ]);
    const text = [
      "no,minutes,on,began,at,kind",
      "V-1,15,20576,1777802400000,,TENT",
      "V-2,15,03.05.2026,2026-05-03 12:00,14:20,HUT",
    ].join("\n");
    expect(await field.importCsv({ ...VISIT, text, dates: "dmy", zone: "Africa/Juba" })).toMatchObject({ misfits: [] });
    expect(dataOf(field)).toEqual([
      { no: "V-1", minutes: 15, on: 20576, began: 1777802400000, at: null, kind: "TENT" },
      { no: "V-2", minutes: 15, on: 20576, began: Date.UTC(2026, 4, 3, 10), at: 51_600_000, kind: "HUT" },
    ]);
  });

  it("leading zeros stay where a text is allowed, and a number that cannot be kept is reported, never rounded", async () => {
    using field = withForm({ card: { type: ["integer", "string"] }, weight: { type: "number" }, count: { type: "integer" } });
    const text = "no,card,weight,count\nV-1,0012345,12345678901234567.89,9007199254740993\n";
    expect(await field.importCsv({ ...VISIT, text })).toMatchObject({
      misfits: [
        {
          problems: [
            'weight: "12345678901234567.89" has more digits than a number keeps',
            'count: "9007199254740993" has more digits than a number keeps',
          ],
        },
      ],
    });
    expect(dataOf(field)).toEqual([{ no: "V-1", card: "0012345", weight: "12345678901234567.89", count: "9007199254740993" }]);
  });

  it("in the file's own habit of days and numbers", async () => {
    using field = withForm({ on: { type: "string", format: "date" }, weight: { type: "number" } });
    const text = 'no;on;weight\nV-1;03/05/2026;"1.234,5"\nV-2;13.12.2025 00:00;7\n';
    expect(await field.importCsv({ ...VISIT, text, dates: "dmy", decimal: "," })).toMatchObject({ misfits: [] });
    expect(dataOf(field)).toEqual([
      { no: "V-1", on: "2026-05-03", weight: 1234.5 },
      { no: "V-2", on: "2025-12-13", weight: 7 },
    ]);
  });

  it("a day that only a view asks for is read in the file's order too", async () => {
    const view = defineProjection({
      ...{ name: "visits", entity: "visit", columns: { seen: date() } },
      events: { "visit.made": set() },
    });
    const forms = withForm({ seen: { type: "string" } });
    using field = open(undefined, { schemas: forms.gate, fits: fitsViews([view]) });
    forms.close();
    expect(await field.importCsv({ ...VISIT, text: "no,seen\nV-1,03/05/2026\n", dates: "dmy" })).toMatchObject({ misfits: [] });
    expect(dataOf(field)).toEqual([{ no: "V-1", seen: "2026-05-03" }]);
  });

  it("what can be read in two ways is never guessed", async () => {
    using field = withForm({
      on: { type: "string", format: "date" },
      weight: { type: "number" },
      at: { type: "string", format: "date-time" },
    });
    const text = 'no,on,weight,at\nV-1,03/05/2026,"1,234",2026-05-03 14:20\n';
    const { misfits } = await field.importCsv({ ...VISIT, text });
    expect(misfits[0]!.problems).toEqual([
      'on: "03/05/2026" may be 3 May or 5 March; say in which order the file writes days (--dates dmy or mdy)',
      'weight: "1,234" can be read in more than one way; say which decimal mark the file has (--decimal)',
      'at: "2026-05-03 14:20" does not name its time zone; say which the file has (--zone)',
    ]);
  });

  it.each<[string, Partial<ImportOptions>, RegExp]>([
    ["an order of days", { dates: "dym" as "dmy" }, /"dym" is not an order of days/],
    ["a decimal mark", { decimal: "·" as "." }, /is not a decimal mark/],
    ["a time zone", { zone: "Juba" }, /"Juba" is not a time zone/],
    ["a delimiter", { delimiter: "xx" }, /"xx" is not a delimiter/],
  ])("%s that does not exist is refused by name", async (_, habit, message) => {
    using field = open();
    await expect(field.importCsv({ ...REGISTERED, text: HEADER, ...habit })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(message),
    });
  });

  it("the member that the form names says when the event happened", async () => {
    using field = withForm({ made_on: { type: "string" } }, { occurredOn: "made_on" });
    await field.importCsv({ ...VISIT, text: "no,made_on\nV-1,2026-05-03\nV-2,2026-05-03T23:30:00+02:00\nV-3,\n" });
    const [day, time, none] = field.store.db
      .prepare("SELECT head FROM event ORDER BY seq")
      .all()
      .map(({ head }) => JSON.parse(String(head)).occurredAt);
    expect([day, time]).toEqual(["2026-05-03T12:00:00.000Z", "2026-05-03T21:30:00.000Z"]);
    expect(none).not.toContain("2026-05-03");
  });
});

describe("a repeated import", () => {
  const phone = (value: string) =>
    `registration_no,given_name,sex,registered_on,phone\n${number(1)},Ayen,female,2026-05-01,${value}\n`;

  it("takes a value that is changed back in a later file, and the same file twice in a row once", async () => {
    using field = open();
    const take = async (value: string) => (await field.importCsv({ ...REGISTERED, text: phone(value) })).imported;
    expect([await take("+211920000001"), await take("+211920000002"), await take("+211920000001")]).toEqual([1, 1, 1]);
    expect(await take("+211920000001")).toBe(0);
    expect(dataOf(field).at(-1)).toMatchObject({ phone: "+211920000001" });
  });

  it("tells a row that differs only in marks that nobody sees, or in the form of its accents, as repeated", async () => {
    using field = withForm({ name: { type: "string" } });
    const rows = ["Élan,Zoé", "E\u0301lan,Zoe\u0301", "\u200eÉlan\u202c,Zoé", "\u00a0Élan,Zoé"];
    const text = ["no,name", ...rows, ""].join("\n");
    expect(await field.importCsv({ ...VISIT, text })).toMatchObject({ imported: 1, repeated: 3, misfitRows: 0 });
    const later = ["no,name", "E\u0301lan\u200f,Zoe\u0301", ""].join("\n");
    expect(await field.importCsv({ ...VISIT, text: later })).toMatchObject({ imported: 0, repeated: 1 });
    expect(dataOf(field)).toEqual([{ no: "Élan", name: "Zoé" }]);
    const blank = field.importCsv({ ...VISIT, text: "no,name\n\u200e,Zoé\n" });
    await expect(blank).rejects.toMatchObject({ code: "input-malformed", message: "line 2 has no no" });
  });

  it("checks each row once", async () => {
    let checks = 0;
    const counting: Parameters<typeof openField>[0]["fits"] = () => {
      checks++;
      return null;
    };
    using field = open(undefined, { fits: counting });
    const rows = Array.from({ length: 250 }, (_, i) => `${number(i)},A,female,2026-01-05,,3`);
    await field.importCsv({ ...REGISTERED, text: [HEADER, ...rows].join("\n") });
    expect([checks, field.status().events]).toEqual([250, 250]);
    // Whatever an app writes itself is checked as before.
    await field.append({
      ...REGISTERED,
      entity: { type: "beneficiary", id: number(1) },
      data: { registration_no: number(1), given_name: "A", sex: "female", registered_on: "2026-01-05" },
    });
    expect(checks).toBe(251);
  });

  it("takes a file with two rows about one person once, and each of its rows", async () => {
    using field = open();
    const [header, first] = phone("+211920000001").split("\n");
    const text = [header, first, first!.replace("+211920000001", "+211920000002"), first].join("\n");
    expect(await field.importCsv({ ...REGISTERED, text })).toMatchObject({ imported: 3, repeated: 0 });
    expect(await field.importCsv({ ...REGISTERED, text })).toMatchObject({ imported: 0, repeated: 3 });
  });

  it("goes on after a crash where it was, however often a person occurs in the file", async () => {
    const path = join(tempDir(), "f.db");
    const rows = Array.from({ length: 700 }, (_, i) => `${number(i % 7)},A,female,2026-01-05,,${(i % 50) + 1}`);
    const text = [HEADER, ...rows].join("\n");
    {
      using field = open(path);
      const stop = new Error("the tablet was switched off");
      const cut = field.importCsv({
        ...{ ...REGISTERED, text },
        onProgress: (done) => {
          if (done >= 400) throw stop;
        },
      });
      await expect(cut).rejects.toBe(stop);
      expect(field.status().events).toBe(400);
    }
    using field = open(path);
    expect(await field.importCsv({ ...REGISTERED, text })).toMatchObject({ rows: 700, imported: 300, repeated: 400 });
  });
});

describe("rows that fail", () => {
  it("are handed back with everything that is wrong with them, and are not taken; once corrected, they can be imported", async () => {
    using field = open(undefined, { fits: fitsViews([distributions]) });
    const failed: FailedRow[] = [];
    let columns: readonly string[] = [];
    const text = [
      HEADER,
      `${number(1)},Acol,female,2026-01-05,,3`,
      `${number(2)},Wani,man,2026-01-05,2019-02-30,many`,
      ",Nobody,female,2026-01-05,,3",
      `${number(3)},Too,few`,
    ].join("\n");
    const onFailed = (row: FailedRow, names: readonly string[]) => {
      failed.push(row);
      columns = names;
    };
    expect(await field.importCsv({ ...REGISTERED, text, onFailed })).toMatchObject({
      rows: 4,
      imported: 1,
      failed: 3,
      misfitRows: 3,
    });
    expect(failed.map(({ line, problems }) => [line, problems.length])).toEqual([
      [3, 3],
      [4, 1],
      [5, 1],
    ]);
    expect(failed[0]!.problems.join("\n")).toMatch(/birth_date.*sex.*household_size/s);
    expect(field.status().events).toBe(1);
    const mended = [["import_problem", ...columns].join(","), `whatever,${number(2)},Wani,male,2026-01-05,2019-02-03,4`].join(
      "\n",
    );
    expect(await field.importCsv({ ...REGISTERED, text: mended })).toMatchObject({ imported: 1, misfitRows: 0 });
  });

  it("are all named at once if they cannot be read as rows, and the file is refused", async () => {
    using field = open();
    const text = [HEADER, ",A,female,2026-01-05,,3", `${number(1)},A`, ",B,male,2026-01-05,,1"].join("\n");
    await expect(field.importCsv({ ...REGISTERED, text })).rejects.toThrow(
      /line 2 has no.*line 3.*number of cells.*line 4 has no/,
    );
  });
});

it("the form is found by the file's columns, if only one form has them", async () => {
  using field = open();
  const text = `${HEADER}\n${number(1)},A,female,2026-01-05,,3\n`;
  expect(await field.importCsv({ text, actor: "deng" })).toMatchObject({ type: "beneficiary.registered" });
  await expect(field.importCsv({ text: "shoe_size,registration_no\n1,2\n", actor: "deng" })).rejects.toThrow(
    /no schema has this file's columns/,
  );
});

it("a file is read in pieces, whose edges may cut characters", async () => {
  using field = open();
  const file = join(tempDir(), "people.csv");
  const rows = Array.from({ length: 6_000 }, (_, i) => `${number(i + 1)},${"é".repeat(40)}${i},female,2026-01-05,,3`);
  writeFileSync(file, [HEADER, ...rows].join("\n"));
  expect(readFileSync(file).length).toBeGreaterThan(600_000);
  expect(await field.importCsv({ ...REGISTERED, file })).toMatchObject({ imported: 6_000, misfitRows: 0 });
  expect(dataOf(field).at(-1)).toMatchObject({ given_name: `${"é".repeat(40)}5999` });
});
