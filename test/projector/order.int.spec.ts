import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { explainEntity, verify } from "../../services/audit/index.ts";
import {
  type IncarnationId,
  ORDER_DEVICE,
  ORDER_ENTITY,
  ORDER_NOTED,
  type OriginId,
  publicKeySchema,
} from "../../services/core/index.ts";
import { signerOf } from "../../services/core/node.ts";
import { makeKey } from "../../services/http/index.ts";
import { currentIncarnation, openHubOrigin, signNotes } from "../../services/log/index.ts";
import type { Projection } from "../../services/merge/engine.ts";
import { authorityOf, defineProjection, logOrder, set, text } from "../../services/merge/index.ts";
import { keepNoting, noterOver, type Projector, rebuild, reconcile } from "../../services/projector/index.ts";
import { alone, askRefold, connectViews, type Db } from "../../services/views/index.ts";
import { number, openTestHub, type TestHub } from "../support/hub.ts";
import { change, type OldEvent, type OtherHub, oldWriter, person } from "../support/oldlog.ts";
import { WAIT_MS } from "../support/patience.ts";

const HILLS = "hillsaaaaaaa" as IncarnationId;

let hub: TestHub;
let home: IncarnationId;
let view: Projection;
let second: Projector;
let hills: OtherHub;
let hillsKey: ReturnType<typeof publicKeySchema.parse>;

const viewOf = (coast: string): Projection =>
  defineProjection({
    name: "people",
    entity: "beneficiary",
    columns: { given_name: text(), phone: text(), village: text(), district: text() },
    resolve: {
      phone: logOrder("last", { hub: coast }),
      village: logOrder("first", { hub: coast }),
      district: logOrder("last", { hub: HILLS }),
      given_name: authorityOf({ orgs: ["shelter"] }, logOrder("last", { hub: HILLS })),
    },
    events: { "beneficiary.registered": set("given_name"), "beneficiary.updated": set("phone", "village", "district") },
  });

beforeAll(async () => {
  hub = await openTestHub();
  await hub.projector.close();
  home = (await currentIncarnation(hub.log.journal)).id;
  const key = await makeKey("hills");
  hills = { hub: HILLS, signer: signerOf({ ...publicKeySchema.parse(key), d: key.d! }) };
  hillsKey = publicKeySchema.parse(key);
  view = viewOf(home);
  // Two processes share the work: a note may come to another one than what it places.
  hub.projector = await hub.startProjector([view]);
  second = await hub.startProjector([view]);
});
const open: Db[] = [];
afterAll(async () => {
  await Promise.all(open.map((db) => db.end()));
  await hub?.close();
});

/** What a hub says of a run of another hub's. */
const noteOf = (origin: OriginId, from: number, through: number): OldEvent => ({
  type: ORDER_NOTED,
  entity: { type: ORDER_ENTITY, id: origin },
  data: { origin, from, through },
});
const says = (id: string, name: string): OldEvent => change(id, { phone: name, village: name, district: name });

interface Shown {
  readonly phone: string;
  readonly village: string;
  readonly district: string;
}
const row = async (id: string): Promise<Shown> => {
  await hub.projected();
  const { rows } = await hub.db.query<Shown>("SELECT phone, village, district FROM views.people WHERE id = $1", [id]);
  return rows[0]!;
};
/** Waits until the view shows it: another process may be the one that folds the entity again. */
const shows = (id: string, wanted: Shown): Promise<void> =>
  expect.poll(() => row(id), { timeout: WAIT_MS, interval: 50 }).toEqual(wanted);

/** Waits until all is folded again that notes have asked for. */
const refolded = (): Promise<void> =>
  expect.poll(async () => (await hub.db.query("SELECT 1 FROM tributary.refold")).rowCount, { timeout: WAIT_MS }).toBe(0);

const verified = () =>
  verify({
    log: hub.log,
    views: { db: hub.db, gate: hub.gate, projections: [view] },
    hubKeys: [publicKeySchema.parse(hub.key), hillsKey],
  });

describe("a field that goes by the order of a named hub", () => {
  const [id, late] = [number(1), number(2)];

  it("shows what the hub has not placed last; from its note on, what came into its log after the note", async () => {
    const [coastal, hilly, second] = [oldWriter(hub.log, "lamu"), oldWriter(hub.log, "nyeri"), oldWriter(hub.log, "malindi")];
    await coastal.append(person(id), says(id, "lamu"));
    await hilly.appendTaken(hills, 500, says(id, "nyeri"));
    await second.append(says(id, "malindi"));
    // The coast has not placed Nyeri's, and the hills have placed nothing else: of that, Lamu's has the later stamp.
    await shows(id, { phone: "nyeri", village: "lamu", district: "lamu" });
    const notes = oldWriter(hub.log, "hub", "relief", "order");
    await notes.append(noteOf(hilly.origin, 0, 0));
    await oldWriter(hub.log, "kilifi").append(says(id, "kilifi"));
    await shows(id, { phone: "kilifi", village: "lamu", district: "lamu" });
    const { rows } = await hub.db.query(
      "SELECT register, rule FROM tributary.decision WHERE view = 'people' AND entity_id = $1",
      [id],
    );
    expect(new Set(rows.map(({ register, rule }) => `${register}: ${rule}`))).toEqual(
      new Set([`phone: logOrder of hub ${home}`, `village: firstInLog of hub ${home}`, `district: logOrder of hub ${HILLS}`]),
    );
  });

  it("follows the notes of another hub, where these come before what they place and where they come after", async () => {
    const [coastal, early] = [oldWriter(hub.log, "lamu"), oldWriter(hub.log, "nyeri")];
    const notes = oldWriter(hub.log, "hub", "relief", "order");
    const theirs = oldWriter(hub.log, "hub", "uplands", "order");
    // The hills have placed the coast's, and their note comes before the coast's events do.
    await theirs.appendTaken(hills, 900, noteOf(coastal.origin, 0, 1));
    await coastal.append(person(late), says(late, "lamu"));
    await early.appendTaken(hills, 950, says(late, "nyeri"));
    await shows(late, { phone: "nyeri", village: "lamu", district: "nyeri" });
    const third = oldWriter(hub.log, "thika");
    await third.appendTaken(hills, 870, says(late, "thika"));
    await shows(late, { phone: "thika", village: "lamu", district: "nyeri" });
    // Of two notes of one hub the first holds.
    await notes.append(noteOf(third.origin, 0, 0), noteOf(early.origin, 0, 0), noteOf(third.origin, 0, 0));
    await shows(late, { phone: "nyeri", village: "lamu", district: "nyeri" });
  });

  it("is not moved by a note that the door has quarantined, nor by one of a site or about another origin than it says", async () => {
    const one = number(3);
    const [coastal, hilly, forged] = [oldWriter(hub.log, "lamu"), oldWriter(hub.log, "nyeri"), oldWriter(hub.log, "juba")];
    await hilly.appendTaken(hills, 20, says(one, "nyeri"));
    await forged.append({ ...noteOf(hilly.origin, 0, 0), quarantined: "type-not-allowed" });
    await forged.append(noteOf(hilly.origin, 0, 0));
    await oldWriter(hub.log, "hub", "relief", "order").append({
      ...noteOf(coastal.origin, 0, 0),
      entity: { type: ORDER_ENTITY, id: hilly.origin },
    });
    await coastal.append(says(one, "lamu"));
    await shows(one, { phone: "nyeri", village: "lamu", district: "lamu" });
  });

  it("stays the same for many records, whichever process has folded them, and when views are built again, balanced and verified", async () => {
    const ids = Array.from({ length: 40 }, (_, i) => number(100 + i));
    const [coastal, hilly, notes] = [
      oldWriter(hub.log, "lamu"),
      oldWriter(hub.log, "nyeri"),
      oldWriter(hub.log, "hub", "relief", "order"),
    ];
    for (let turn = 0; turn < 4; turn++) {
      const some = ids.slice(turn * 10, turn * 10 + 10);
      await hilly.appendTaken(hills, 2_000 + turn * 100, ...some.map((each) => says(each, `nyeri ${turn}`)));
      if (turn % 2 === 0) await notes.append(noteOf(hilly.origin, turn * 10, turn * 10 + 9));
      await coastal.append(...some.map((each) => says(each, `lamu ${turn}`)));
    }
    for (const [i, each] of ids.entries()) {
      const turn = Math.floor(i / 10);
      const isNoted = turn % 2 === 0;
      await shows(each, {
        phone: isNoted ? `lamu ${turn}` : `nyeri ${turn}`,
        village: isNoted ? `nyeri ${turn}` : `lamu ${turn}`,
        district: `lamu ${turn}`,
      });
    }
    await refolded();
    const before = (await hub.db.query("SELECT id, phone, village, district, conflicts FROM views.people ORDER BY id")).rows;
    expect((await verified()).problems).toEqual([]);
    const db = await connectViews(hub.backends.postgres.url, "tributary-test-order");
    try {
      const deps = { db, reader: hub.db, log: hub.log, gate: hub.gate, views: [view] };
      const [balanced] = await alone(db, true, () => reconcile(deps, { names: ["people"], repair: false }));
      expect(balanced).toMatchObject({ differing: 0 });
      await alone(db, true, () => rebuild(deps, { names: ["people"], fresh: true }));
    } finally {
      await db.end();
    }
    const after = (await hub.db.query("SELECT id, phone, village, district, conflicts FROM views.people ORDER BY id")).rows;
    expect(after).toEqual(before);
    expect((await verified()).problems).toEqual([]);
  });

  it("stays the same where a build was stopped and places came before it went on", async () => {
    const [early, late] = [number(300), number(301)];
    const [coastal, hilly] = [oldWriter(hub.log, "lamu"), oldWriter(hub.log, "nyeri")];
    await hilly.appendTaken(hills, 5_000, says(early, "nyeri"));
    await coastal.append(says(early, "lamu"), says(late, "lamu"));
    await shows(early, { phone: "nyeri", village: "lamu", district: "lamu" });
    const db = await connectViews(hub.backends.postgres.url, "tributary-test-stopped");
    try {
      const deps = { db, reader: hub.db, log: hub.log, gate: hub.gate, views: [view] };
      const stop = new AbortController();
      const onProgress = ({ share }: { share: number }): void => {
        if (share === 1) stop.abort();
      };
      const stopped = alone(db, true, () => rebuild(deps, { names: ["people"], fresh: true, onProgress, signal: stop.signal }));
      await expect(stopped).rejects.toThrow(/abort/i);
      await hilly.appendTaken(hills, 5_500, says(late, "nyeri"));
      await oldWriter(hub.log, "hub", "relief", "order").append(noteOf(hilly.origin, 0, 1));
      await coastal.append(says(early, "lamu again"));
      const shown = { phone: "lamu again", village: "nyeri", district: "lamu again" };
      await shows(early, shown);
      await refolded();
      const before = (await hub.db.query("SELECT id, phone, village, district, conflicts, state FROM views.people ORDER BY id"))
        .rows;
      const { resumedAt } = await alone(db, true, () => rebuild(deps, { names: ["people"] }));
      expect(resumedAt).toBeGreaterThan(0);
      const after = (await hub.db.query("SELECT id, phone, village, district, conflicts, state FROM views.people ORDER BY id"))
        .rows;
      expect(after).toEqual(before);
      expect((await verified()).problems).toEqual([]);
    } finally {
      await db.end();
    }
  });

  it("is explained by what the hub that is named has noted", async () => {
    const [told] = await explainEntity({ db: hub.db, gate: hub.gate, projections: [view] }, `beneficiary/${id}`, "phone");
    const [phone] = told!.registers;
    expect(phone).toMatchObject({ rule: `logOrder of hub ${home}`, value: "kilifi" });
    expect(phone!.decision).toMatchObject({ rule: `logOrder of hub ${home}`, value: "kilifi", reason: "later-in-log" });
  });
});

describe("what another hub let in (I41)", () => {
  const [first, another] = [number(500), number(501)];
  const ownOrigin = () => {
    const signer = signerOf({ ...publicKeySchema.parse(hub.key), d: hub.key.d! });
    return openHubOrigin({ log: hub.log, org: "relief", device: ORDER_DEVICE, sign: (of, run) => signNotes(signer, of, run) });
  };
  /** The notes of this hub's own about some origins, in their order. */
  const notesOf = async (...origins: readonly OriginId[]): Promise<string[]> => {
    const out: string[] = [];
    for await (const { head, content } of hub.log.readOrigin(`relief.hub.order.${home}` as OriginId))
      if (content.kind === "accepted" && origins.includes(head.entity.id as OriginId))
        out.push(`${String(content.data.origin)} ${String(content.data.from)}-${String(content.data.through)}`);
    return out;
  };

  it("is placed by one note for each run, whichever process writes it and however often it looks", async () => {
    const [hilly, other, coastal] = [oldWriter(hub.log, "nyeri"), oldWriter(hub.log, "thika"), oldWriter(hub.log, "lamu")];
    const theirs = oldWriter(hub.log, "hub", "uplands", "order");
    await coastal.append(person(first), person(another));
    await hilly.appendTaken(hills, 10_000, says(first, "nyeri"), says(another, "nyeri"));
    await other.appendTaken(hills, 10_100, says(first, "thika"));
    await theirs.appendTaken(hills, 10_200, noteOf(hilly.origin, 0, 1));
    await hilly.appendTaken(hills, 10_300, says(another, "nyeri again"));
    await coastal.append(says(another, "lamu"));
    await shows(another, { phone: "nyeri again", village: "lamu", district: "lamu" });
    const noters = await Promise.all(
      [1, 2, 3].map(async (n) => {
        const db = await connectViews(hub.backends.postgres.url, `tributary-test-notes-${n}`);
        open.push(db);
        return noterOver(db, ownOrigin());
      }),
    );
    await Promise.all(noters.map((noter) => noter.note()));
    const notes = [`${hilly.origin} 0-1`, `${other.origin} 0-0`, `${hilly.origin} 2-2`];
    expect(await notesOf(hilly.origin, other.origin, theirs.origin, coastal.origin)).toEqual(notes);
    await hub.projected();
    // Whoever looks again, and whoever begins now, finds nothing more.
    expect(await Promise.all([...noters, noterOver(hub.db, ownOrigin())].map((noter) => noter.note()))).toEqual([0, 0, 0, 0]);
    // All that came into the log after the coast's notes comes after what they place.
    await coastal.append(says(first, "lamu again"));
    await shows(first, { phone: "lamu again", village: "nyeri", district: "lamu again" });
    const isLate = oldWriter(hub.log, "nakuru");
    await isLate.appendTaken(hills, 10_400, ...["one", "two", "three", "four", "five"].map((name) => says(first, name)));
    await hub.projected();
    // A process that looks at few events at a time notes each once all the same, and so does one that was not there when they were.
    await noterOver(hub.db, ownOrigin(), { eventsAtOnce: 2 }).note();
    expect(await notesOf(isLate.origin)).toEqual([`${isLate.origin} 0-1`, `${isLate.origin} 2-3`, `${isLate.origin} 4-4`]);
    expect(await noters[0]!.note()).toBe(0);
    await shows(first, { phone: "five", village: "nyeri", district: "lamu again" });
    await hub.projected();
    await refolded();
    expect((await verified()).problems).toEqual([]);
  });

  it("is placed while a process keeps noting, and not before anybody could read the notes", async () => {
    const late = oldWriter(hub.log, "naivasha");
    const stop = new AbortController();
    let isReady = false;
    const said: Record<string, unknown>[] = [];
    const noting = keepNoting({
      postgresUrl: hub.backends.postgres.url,
      origin: ownOrigin(),
      isReady: () => isReady,
      say: (event) => void said.push(event),
      signal: stop.signal,
    });
    try {
      await late.appendTaken(hills, 20_000, says(another, "naivasha"));
      await hub.projected();
      expect(await notesOf(late.origin)).toEqual([]);
      isReady = true;
      await expect.poll(() => notesOf(late.origin), { timeout: WAIT_MS, interval: 50 }).toEqual([`${late.origin} 0-0`]);
      await expect.poll(() => said, { timeout: WAIT_MS, interval: 50 }).toEqual([{ event: "places-noted", runs: 1 }]);
    } finally {
      stop.abort();
      await noting;
    }
  });

  it("is no damage to a verification between the note and the folding that follows from it, unless nobody folds", async () => {
    const late = oldWriter(hub.log, "narok");
    await late.appendTaken(hills, 30_000, says(first, "narok"));
    await hub.projected();
    await refolded();
    await Promise.all([hub.projector.close(), second.close()]);
    // As the database is right after the page that brings a note: the row was folded without it.
    const { rows } = await hub.db.query<{ state: string; phone: string }>("SELECT state, phone FROM views.people WHERE id = $1", [
      first,
    ]);
    const before = rows[0]!.state.replaceAll(/,\{"[a-z2-7]{12}":\[\d+,\d+\][^}]*\}/g, "");
    expect(before).not.toBe(rows[0]!.state);
    await hub.db.query("UPDATE views.people SET state = $2, phone = 'as it was' WHERE id = $1", [first, before]);
    const damage = [expect.objectContaining({ where: `people/${first}` })];
    expect((await verified()).problems).toEqual(damage);
    await askRefold(hub.db, "people", [{ type: "beneficiary", id: first }]);
    const { problems, verdicts } = await verified();
    expect(problems).toEqual([]);
    expect(JSON.stringify(verdicts)).toContain("1 of them could not be compared");
    await hub.db.query("UPDATE tributary.refold SET asked_at = now() - interval '5 minutes'");
    expect((await verified()).problems).toEqual(damage);
    hub.projector = await hub.startProjector([view]);
    await refolded();
    expect((await verified()).problems).toEqual([]);
  });
});
