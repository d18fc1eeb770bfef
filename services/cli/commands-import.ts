import { statSync } from "node:fs";
import { TributaryError } from "../core/index.ts";
import type { Field, ImportOptions, ImportResult } from "../field/index.ts";
import { DAY_ORDERS } from "../gate/index.ts";
import type { Command, Input } from "./args.ts";
import { actorOf, COMMON, DB_HELP, openToWrite } from "./commands-field.ts";
import { openReport, type Report } from "./import-report.ts";
import { table } from "./output.ts";

/** Misfits that are printed; `--json` and a report have more. */
const MAX_SHOWN = 20;

const NAMED_DELIMITERS: Readonly<Record<string, string>> = { comma: ",", semicolon: ";", tab: "\t", bar: "|" };

/** An option whose value must be one of a few; the importer judges everything else about it. */
function oneOf<T extends string>(name: string, value: string | undefined, known: readonly T[]): T | undefined {
  if (value === undefined) return undefined;
  const found = known.find((each) => each === value);
  if (found !== undefined) return found;
  throw new TributaryError("usage", `${value} is not what --${name} takes`, `It takes ${known.join(", ")}.`);
}

function habitOf({ text }: Input): Pick<ImportOptions, "dates" | "decimal" | "zone" | "missing" | "delimiter"> {
  const dates = oneOf("dates", text("dates"), DAY_ORDERS);
  const decimal = oneOf("decimal", text("decimal"), [".", ","]);
  const zone = text("zone");
  const missing = text("missing");
  const delimiter = text("delimiter");
  return {
    ...(dates === undefined ? {} : { dates }),
    ...(decimal === undefined ? {} : { decimal }),
    ...(zone === undefined ? {} : { zone }),
    ...(missing === undefined ? {} : { missing: missing.split(",").map((each) => each.trim()) }),
    ...(delimiter === undefined ? {} : { delimiter: NAMED_DELIMITERS[delimiter] ?? delimiter }),
  };
}

/** The files, each of which can be read. */
function filesOf({ positionals }: Input): readonly string[] {
  if (positionals.length === 0) throw new TributaryError("usage", "no file is named", `Use: ${fieldImport.usage}`);
  for (const file of positionals) {
    const found = statSync(file, { throwIfNoEntry: false });
    if (found === undefined)
      throw new TributaryError("input-malformed", `${file} cannot be read: there is no such file`, "Check its name.");
    if (!found.isFile()) throw new TributaryError("input-malformed", `${file} is not a file`, "Name the CSV file itself.");
  }
  return positionals;
}

async function importOne(field: Field, file: string, input: Input, report: Report | null): Promise<ImportResult> {
  const type = input.text("as");
  try {
    return await field.importCsv({
      file,
      actor: actorOf(input),
      ...habitOf(input),
      ...(type === undefined ? {} : { type }),
      ...(report === null ? {} : { onFailed: report.add }),
      // On a terminal each line is written over the one before; a log gets one line a file.
      onProgress: (done, total) => {
        if (process.stderr.isTTY || done === total) input.out.progress(`${file}: ${done} of ${total} rows`);
      },
    });
  } catch (error) {
    throw error instanceof TributaryError
      ? new TributaryError(error.code, `${file}: ${error.message}`, error.hint, { cause: error })
      : error;
  }
}

export const fieldImport: Command = {
  name: "field import",
  summary: "turn CSV files into events, offline",
  usage:
    "tributary field import FILE… [--as TYPE] [--actor NAME] [--dates dmy|mdy|ymd] [--decimal MARK] [--zone ZONE] [--missing WORDS] [--delimiter MARK] [--report FILE] [--schemas DIR] [--db FILE]",
  help: `Each row becomes an event. --as names its type. Without it, the type is the first one of the only schema that has all of the file's columns, its key among them. A row that says the same as the
last imported row about that entity is skipped, so an import can be repeated. A row that does not fit its schema, or a column of a view, is kept; the hub quarantines it until somebody corrects it. With --report it is not kept:
it goes into that file with everything that is wrong with it; mend that file and import it. A file that is not a table is refused as a whole. Nothing is lost.

How the file writes values: --dates dmy reads 03/05/2026 as 3 May; --decimal , reads 1.234,5; --zone +02:00 or Africa/Juba is the zone of times that name none; --missing "n/a,-" names
cells that stand for no value; --delimiter is comma, semicolon, tab or bar, by default what the first line has most of. What could be read in two ways is never guessed. The member that a schema names in occurredOn says
when the event happened. ${DB_HELP}

  tributary field import beneficiaries.csv distributions.csv --actor deng
  tributary field import excel.csv --dates dmy --decimal , --report excel.failed.csv`,
  options: {
    ...COMMON,
    as: { type: "string" },
    actor: { type: "string" },
    dates: { type: "string" },
    decimal: { type: "string" },
    zone: { type: "string" },
    missing: { type: "string" },
    delimiter: { type: "string" },
    report: { type: "string" },
  },
  async run(input) {
    const { out } = input;
    const files = filesOf(input);
    const reportFile = input.text("report");
    if (reportFile !== undefined && files.length > 1)
      throw new TributaryError(
        "usage",
        "--report takes the rows of one file",
        "Import the files one after the other, each with its own report.",
      );
    using report = reportFile === undefined ? null : openReport(reportFile);
    using field = await openToWrite(input, false);
    const results: (ImportResult & { readonly file: string })[] = [];
    for (const file of files) results.push({ file, ...(await importOne(field, file, input, report)) });
    if (process.stderr.isTTY) out.progress("");
    const written = report?.finish() ?? false;
    out.result(results);
    out.line(
      table(
        ["file", "events", "rows", "imported", "repeated", "misfits"],
        results.map((r) => [r.file, r.type, r.rows, r.imported, r.repeated, r.misfitRows]),
      ),
    );
    const end = reportFile === undefined ? " (kept; the hub will quarantine it)" : "";
    for (const { file, misfits, misfitRows } of results) {
      for (const { line, entity, message } of misfits.slice(0, MAX_SHOWN))
        out.line(`  ${file} line ${line}, ${entity}: ${message}${end}`);
      if (misfitRows > MAX_SHOWN) out.line(`  … and ${misfitRows - MAX_SHOWN} more rows of ${file}`);
    }
    if (written)
      out.line(`The rows that do not fit were not taken. They are in ${reportFile}: mend them there and import that file.`);
    return 0;
  },
};
