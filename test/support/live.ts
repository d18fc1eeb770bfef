/** A hub of two organisations, and those who follow its views: what they are told is applied to a copy, and what was told twice or is not theirs is counted. */
import { join } from "node:path";
import { type Live, type LiveOptions, openLive, type RowsTold } from "../../services/api/index.ts";
import type { JsonValue, Viewer } from "../../services/core/index.ts";
import { type Field, type NewEvent, openField } from "../../services/field/index.ts";
import { issueToken } from "../../services/http/index.ts";
import type { View } from "../../services/merge/engine.ts";
import { rowsPage, type Stated } from "../../services/views/index.ts";
import { gate, number, openTestHub, registration, type TestHub } from "./hub.ts";
import { eventually } from "./temp.ts";

export const RELIEF: Viewer = { orgs: ["relief"] };
export const HEALTH: Viewer = { orgs: ["health"] };
export const ORGS = ["relief", "health"] as const;
export type Org = (typeof ORGS)[number];
/** How many people each organisation has registered. */
export const PEOPLE = 20;
export const idOf = (org: Org, n: number): string => number((org === "relief" ? 1_000 : 2_000) + n);

export interface LiveHub {
  readonly hub: TestHub;
  /** Opens live queries; the hub closes them. */
  open(more?: Partial<LiveOptions>): Live;
  /** A device of an organisation writes and sends; `isKept`: also what does not fit. */
  send(org: Org, events: readonly NewEvent[], isKept?: boolean): Promise<void>;
  close(): Promise<void>;
}

export async function openLiveHub(views: readonly View[]): Promise<LiveHub> {
  const hub = await openTestHub({ views });
  const lives: Live[] = [];
  const fields = new Map<Org, Field>();
  const send: LiveHub["send"] = async (org, events, isKept = false) => {
    const field =
      fields.get(org) ??
      openField({ path: join(hub.dir, `${org}.db`), name: { org, site: "base", device: "t1" }, schemas: gate });
    fields.set(org, field);
    if (isKept) for (const event of events) await field.append(event, { onInvalid: "keep" });
    else await field.appendMany(events);
    const token = await issueToken(hub.key, { org, site: "base", lifetimeS: 3600, nowMs: Date.now() });
    await field.sync({ url: hub.backends.nats.url, token, batchEvents: 20 });
  };
  for (const org of ORGS)
    await send(
      org,
      Array.from({ length: PEOPLE }, (_, n) =>
        registration(idOf(org, n), { given_name: org, phone: `+25470000${idOf(org, n).slice(-4)}` }),
      ),
    );
  await hub.startProjector();
  await hub.projected();
  return {
    hub,
    send,
    open(more = {}) {
      const live = openLive({
        postgresUrl: hub.backends.postgres.url,
        views: () => hub.projections,
        say: (event) => hub.said.push(event),
        ...more,
      });
      lives.push(live);
      return live;
    },
    async close() {
      await Promise.all(lives.map((live) => live.close()));
      for (const field of fields.values()) field.close();
      await hub.close();
    },
  };
}

const MAX_ROWS = 10_000;
const textOf = (values: Readonly<Record<string, JsonValue>>): string => JSON.stringify(values);

export interface Seen {
  readonly viewer: Viewer;
  readonly view: string;
  readonly where?: readonly Stated[];
}

/** The rows of a view as somebody sees them, and from where to follow them. */
export async function readView(live: Live, { viewer, view, where = [] }: Seen) {
  const { found, resume } = await live.read(viewer, (db) => rowsPage(db, { view, stated: where, limit: MAX_ROWS }));
  return { resume, rows: new Map(found.rows.map(({ id, values }) => [id, textOf(values)])) };
}

export interface Copy {
  /** All that was told, in order. */
  readonly told: readonly RowsTold[];
  /** Ids of rows that were told again as they were known. */
  readonly twice: readonly string[];
  /** Begins to follow from where it was; where it was nowhere, reads the view first. */
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  /** Waits until it shows what the view shows. */
  abreast(): Promise<void>;
}

/** Keeps a copy of a view by following it. */
export function copyOf(live: () => Live, seen: Seen): Copy {
  let rows = new Map<string, string>();
  const [told, twice]: [RowsTold[], string[]] = [[], []];
  let resume: string | undefined;
  let stop = new AbortController();
  let following: Promise<unknown> = Promise.resolve();
  const read = async (): Promise<void> => {
    const found = await readView(live(), seen);
    [rows, resume] = [found.rows, found.resume];
  };
  const take = async (each: RowsTold): Promise<void> => {
    told.push(each);
    if (each.kind === "reset") return read();
    resume = each.resume;
    if (each.kind !== "rows") return;
    for (const { id, values } of each.rows) {
      if (rows.get(id) === textOf(values)) twice.push(id);
      rows.set(id, textOf(values));
    }
    for (const id of each.gone) rows.delete(id);
  };
  return {
    ...{ told, twice },
    async connect() {
      if (resume === undefined) await read();
      stop = new AbortController();
      const from = resume === undefined ? {} : { from: resume };
      const stream = live().changes({ ...seen, ...from, viewer: async () => seen.viewer, signal: stop.signal });
      following = heard(stream, take).end;
    },
    async disconnect() {
      stop.abort();
      await following;
    },
    abreast: () =>
      eventually(`a copy of ${seen.view} that shows what the view shows`, async () => {
        const { rows: now } = await readView(live(), seen);
        return JSON.stringify([...now].sort()) === JSON.stringify([...rows].sort());
      }).then(() => {}),
  };
}

/** What a stream tells, as it comes. `end`: what it fails with; `null`: it has ended. */
export function heard<T>(
  stream: AsyncIterable<T>,
  take: (each: T) => Promise<void> = async () => {},
): { readonly told: T[]; readonly end: Promise<unknown> } {
  const told: T[] = [];
  const listen = async (): Promise<null> => {
    for await (const each of stream) {
      told.push(each);
      await take(each);
    }
    return null;
  };
  return { told, end: listen().catch((error: unknown) => error) };
}

export const rowsIn = (told: readonly RowsTold[]) => told.flatMap((each) => (each.kind === "rows" ? each.rows : []));
export const goneIn = (told: readonly RowsTold[]) => told.flatMap((each) => (each.kind === "rows" ? each.gone : []));
