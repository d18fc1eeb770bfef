/** The rows of views for programs: pages as JSON, and whole views as files. In comes a request; out come rows that its sender may see. */
import { createHash } from "node:crypto";
import { csvLine, type JsonObject, type JsonValue, positionToText, TributaryError, type Viewer } from "../../core/index.ts";
import { type Answer, type Asked, type Gatekeeper, mustMay, type Principal, route, type Surface } from "../../http/index.ts";
import type { Column, Projection, View } from "../../merge/engine.ts";
import { type Db, declaredColumns, type FoundRows, mustBeView, readAsked, rowsPage, withRows } from "../../views/index.ts";
import { isForAll } from "../graphql/view-types.ts";
import { whoMay } from "../may.ts";
import type { Reading } from "../reading.ts";
import { handover } from "./handover.ts";
import { cursorText, inWordsOfAddress, MEDIA_TYPES, momentIn, PARAMETER_WORDS, type ViewQuery, viewQuery } from "./question.ts";

export interface ViewsApiOptions {
  readonly gate: Gatekeeper;
  /** For pages. */
  readonly reading: Reading;
  /** For files, each of which keeps a connection as long as it is read. */
  readonly files: Reading;
  /** The views as they are live; `null`: that is not known yet. */
  readonly views: () => readonly View[] | null;
  /** How long the reader of a file may take for one piece of it. Milliseconds. */
  readonly paceMs?: number;
  /** How long a file may be read. Milliseconds. */
  readonly wholeMs?: number;
}

/** A reader that takes no piece of a file for so long is cut off: it keeps a connection of the database. */
const PACE_MS = 60_000;
/** A file keeps one moment of the database: meanwhile no new build of its view is swapped in. */
const WHOLE_MS = 300_000;
/** How often it is asked again whether the reader still may read. */
const AGAIN_MS = 5_000;

export function viewsSurface({ gate, reading, files, views, paceMs = PACE_MS, wholeMs = WHOLE_MS }: ViewsApiOptions): Surface {
  const who = whoMay(gate, "views:read");
  return {
    name: "views",
    roots: [],
    routes: [
      route({
        ...{
          method: "GET",
          path: "/v1/views",
          name: "listViews",
          words: "Lists the views that one may read, with their columns.",
        },
        who,
        answers: { 200: { words: "Each view, with its columns.", schema: LIST_SCHEMA } },
        handle: ({ who: { viewer } }) => ({ status: 200, body: { views: listed(known(views), viewer) }, headers: PRIVATE }),
      }),
      route({
        method: "GET",
        path: "/v1/views/{view}",
        name: "readView",
        words: "Reads rows of a view: a page as JSON, or all that the conditions hold for as CSV or NDJSON.",
        who,
        query: PARAMETER_WORDS,
        headers: {
          accept: "text/csv or application/x-ndjson for a file.",
          "if-none-match": "The ETag of an answer that one has.",
        },
        answers: {
          200: { words: "Rows. A file that ends without its last line break was cut off.", schema: PAGE_SCHEMA },
          304: { words: "The rows are those of the ETag." },
        },
        async handle(asked) {
          const { view } = asked.params;
          mustBeShown(known(views), view, asked.who.viewer);
          const query = viewQuery(asked.instance, asked.headers.accept);
          return inWordsOfAddress(() =>
            query.format === "json"
              ? page(reading, view, query, asked)
              : file(files, view, { query, asked, paceMs, mayGoOn: goingOn(gate, asked.who, wholeMs) }),
          );
        },
      }),
    ],
  };
}

type ViewAsked = Asked<string, null, string, "accept" | "if-none-match", Principal>;

/** What somebody is shown is nobody else's, and asked for again each time. */
const PRIVATE = { "cache-control": "private, no-cache", vary: "authorization, accept" };

function known(views: ViewsApiOptions["views"]): readonly View[] {
  const live = views();
  if (live !== null) return live;
  throw new TributaryError(
    "backend-unreachable",
    "the hub does not know yet that its views are built as declared",
    "Ask again in a few seconds. If it lasts: `tributary lag` and `tributary rebuild` at the hub.",
  );
}

/** Totals and joins have rows of several organisations in one: only who sees all of them is shown these. */
const isShown = (view: View, { orgs }: Viewer): boolean => !isForAll(view) || orgs === null;

function mustBeShown(views: readonly View[], name: string, viewer: Viewer): void {
  const view = views.find((each) => each.name === name);
  const shown = views.filter((each) => isShown(each, viewer)).map((each) => each.name);
  if (view === undefined) throw new TributaryError("not-found", `there is no view ${name}`, `There are: ${shown.join(", ")}.`);
  if (!isShown(view, viewer))
    throw new TributaryError(
      "not-permitted",
      `${name} adds up or joins rows of several organisations, and you see those of ${viewer.orgs?.join(", ") || "none"}`,
      `Read one of: ${shown.join(", ")}.`,
    );
}

const columnOf = ([name, { type }]: readonly [string, Column]): JsonObject => ({ name, type });

function listed(views: readonly View[], viewer: Viewer): JsonObject[] {
  return views
    .filter((view) => isShown(view, viewer))
    .map((view) => ({
      name: view.name,
      kind: view.kind,
      ...(view.kind === "entity" ? { entity: view.entity, keepsPast: view.keepsHistory } : {}),
      ...(view.kind === "sql" ? {} : { columns: columnsOf(view).map(columnOf) }),
    }));
}

const columnsOf = (view: Exclude<View, { readonly kind: "sql" }>): readonly (readonly [string, Column])[] =>
  view.kind === "entity" ? declaredColumns(view as Projection) : [...Object.entries(view.keys), ...Object.entries(view.sums)];

async function page(reading: Reading, view: string, query: ViewQuery, { who, headers }: ViewAsked): Promise<Answer> {
  const { columns, sort, where, asOf, limit, behind, counts } = query;
  const found = await reading.read(who.viewer, async (db) =>
    rowsPage(db, {
      ...{ view, where, counts, limit: limit ?? 1 },
      ...(columns === undefined ? {} : { columns }),
      ...(sort === undefined ? {} : { sort }),
      ...(asOf === undefined ? {} : { asOf: await momentIn(db, asOf) }),
      ...(behind === undefined ? {} : { behind }),
    }),
  );
  const { rows, total, next, through } = found;
  const body = {
    view,
    ...(total === null ? {} : { total }),
    rows: rows.map(({ id, values }) => ({ id, ...values })),
    next: next === null ? null : cursorText(next),
    through: through === null ? null : positionToText(through),
  };
  // Of the rows alone: where nothing that is shown has changed, it stays, however far the log has come.
  const shown = JSON.stringify(body.rows);
  const etag = `"${createHash("sha256")
    .update(JSON.stringify([body.view, total, body.next]))
    .update(shown)
    .digest("base64url")
    .slice(0, 27)}"`;
  if (headers["if-none-match"]?.split(/\s*,\s*/).includes(etag))
    return { status: 304, body: undefined, headers: { ...PRIVATE, etag } };
  return {
    status: 200,
    body: Buffer.from(`${JSON.stringify({ ...body, rows: undefined }).slice(0, -1)},"rows":${shown}}`),
    headers: { ...PRIVATE, etag },
  };
}

/** Throws for a reader of a file who may not read any more, or who takes too long. */
function goingOn(gate: Gatekeeper, who: Principal, wholeMs: number): () => Promise<void> {
  const begunMs = performance.now();
  let askedMs = begunMs;
  return async () => {
    const nowMs = performance.now();
    if (nowMs - begunMs > wholeMs)
      throw new TributaryError(
        "backend-failed",
        `the file was not read in ${wholeMs / 1000} s`,
        "Ask for less of it with where, or read faster.",
      );
    if (nowMs - askedMs < AGAIN_MS) return;
    askedMs = nowMs;
    mustMay(await gate.again(who, Date.now()), "views:read");
  };
}

/** A file, which is read from the database while it is sent. What is wrong with the question is said before anything of it is. */
async function file(
  files: Reading,
  view: string,
  {
    query,
    asked: { who },
    paceMs,
    mayGoOn,
  }: { readonly query: ViewQuery; readonly asked: ViewAsked; readonly paceMs: number; readonly mayGoOn: () => Promise<void> },
): Promise<Answer> {
  const { columns, sort, where, asOf, limit, behind, format } = query;
  if (behind !== undefined)
    throw new TributaryError(
      "usage",
      "the parameter after goes with pages",
      "A file has all rows: leave it out, or ask for JSON.",
    );
  const pieces = handover(paceMs);
  const write = format === "csv" ? csvPieces : ndjsonPieces;
  const done = files.read(who.viewer, async (db: Db) => {
    await mustBeView(db, view);
    const question = {
      ...{ view, where },
      ...(columns === undefined ? {} : { columns }),
      ...(sort === undefined ? {} : { sort }),
      ...(asOf === undefined ? {} : { asOf: await momentIn(db, asOf) }),
      inner: false,
      page: limit === null ? {} : { limit },
    };
    await withRows(db, question, async (found) => {
      for await (const piece of write(found)) {
        await mayGoOn();
        if (!(await pieces.give(piece))) return;
      }
      pieces.end();
    });
  });
  done.catch((error: unknown) => pieces.fail(readAsked(error)));
  const headers = { ...PRIVATE, "content-disposition": `attachment; filename="${view}.${format}"` };
  return { status: 200, type: MEDIA_TYPES[format], body: await pieces.begun(), headers };
}

async function* csvPieces({ columns, pages }: FoundRows): AsyncGenerator<string> {
  yield csvLine(columns);
  for await (const rows of pages) yield rows.map(({ cells }) => csvLine(cells)).join("");
}

async function* ndjsonPieces({ columns, pages }: FoundRows): AsyncGenerator<string> {
  // A file of no rows has no line, and still begins.
  yield "";
  const object = (cells: readonly JsonValue[]): string =>
    JSON.stringify(Object.fromEntries(columns.map((name, i) => [name, cells[i] ?? null])));
  for await (const rows of pages) yield rows.map(({ cells }) => `${object(cells)}\n`).join("");
}

const LIST_SCHEMA: JsonObject = {
  type: "object",
  required: ["views"],
  properties: { views: { type: "array", items: { type: "object", required: ["name", "kind"] } } },
};
const PAGE_SCHEMA: JsonObject = {
  type: "object",
  required: ["view", "rows", "next", "through"],
  properties: {
    view: { type: "string" },
    total: { type: "integer", description: "How many rows there are in all, where that was asked." },
    rows: { type: "array", items: { type: "object", required: ["id"] } },
    next: { type: ["string", "null"], description: "Goes on behind this page, as the parameter after; null: there are no more." },
    through: { type: ["string", "null"], description: "The position of the log up to which the answer is complete." },
  },
};
