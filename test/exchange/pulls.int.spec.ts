import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { type DoorViews, followViews } from "../../services/cli/door-views.ts";
import { bucketIdOf, POLICY_ENTITY, POLICY_SET } from "../../services/core/index.ts";
import { decodePage, type Page, type PullQuestion, type Section, summaryText } from "../../services/exchange/protocol/index.ts";
import { openIdentity } from "../../services/field/keys.ts";
import { openTransport } from "../../services/field/transport.ts";
import type { Transport } from "../../services/field/way.ts";
import { scopesOf } from "../../services/merge/engine.ts";
import { newDir } from "../support/home.ts";
import { number, ORG, openTestHub, registration, type TestHub } from "../support/hub.ts";
import { reading } from "../support/page-of.ts";
import { WAIT_MS } from "../support/patience.ts";
import { eventually } from "../support/temp.ts";

let hub: TestHub;
const KAMPALA = bucketIdOf({ entityType: "beneficiary", columns: ["district"], values: ["Kampala"] });
const GULU = bucketIdOf({ entityType: "beneficiary", columns: ["district"], values: ["Gulu"] });
const people = [1, 2, 3].map((n) => registration(number(n), { district: "Kampala" }));

beforeAll(async () => {
  hub = await openTestHub({ isStoreHere: true, servesPulls: true });
  await hub.settle([
    {
      type: POLICY_SET,
      entity: { type: POLICY_ENTITY, id: "kampala" },
      actor: "coordinator",
      data: {
        for: { sites: [`${ORG}.kampala`] },
        entities: { beneficiary: { where: { district: "Kampala" } } },
      },
    },
  ]);
  const author = hub.field("nairobi");
  await author.appendMany([...people, registration(number(9), { district: "Gulu" })]);
  await author.sync({ url: hub.backends.nats.url, token: await hub.token("nairobi") });
  await hub.projected();
});
afterAll(() => hub?.close());

const QUESTION: PullQuestion = { holding: null, own: {}, buckets: {}, maxBytes: 256_000, maxEvents: 1_000 };

/** A device that has synced once, and asks. */
async function puller(site: string, way: string): Promise<{ ask(more: Partial<PullQuestion>): Promise<Page> }> {
  const field = hub.field(site, way.toLowerCase());
  await field.sync({ url: hub.backends.nats.url, token: await hub.token(site) });
  const url = way === "NATS" ? hub.backends.nats.url : hub.ingress.http!.url;
  const link: Transport = await openTransport({
    ...{ url, name: field.store.name, replyTimeoutMs: WAIT_MS },
    identity: openIdentity(field.store, { url, now: Date.now }),
  });
  onTestFinished(() => link.close());
  return { ask: async (more) => decodePage(await link.pull({ ...QUESTION, ...more }), reading).page };
}
const membersIn = (sections: readonly Section[]): readonly string[] =>
  sections.flatMap((section) => (section.kind === "members" ? section.members.map(({ entityId }) => entityId) : [])).sort();
const textsIn = (sections: readonly Section[]): readonly unknown[] =>
  sections.flatMap((section) =>
    section.kind === "members"
      ? section.members.flatMap(({ events }) => events.map(({ text }) => (text === null ? null : JSON.parse(text))))
      : [],
  );
const ASK = { kind: "members", after: null, want: "events" } as const;

describe.each(["NATS", "HTTP"])("a device that pulls from a hub over %s", (way) => {
  it("gets what its site's policy gives it, byte for byte, and nothing else", async () => {
    const { ask } = await puller("kampala", way);
    const known = await eventually("the seal of what was written", async () => {
      const page = await ask({});
      return page.holding?.buckets.some(({ bucket }) => bucket === KAMPALA) ? page : null;
    });
    expect(known.holding?.buckets.map(({ bucket }) => bucket)).not.toContain(GULU);
    const page = await ask({ buckets: { [KAMPALA]: ASK, [GULU]: ASK } });
    expect(membersIn(page.sections)).toEqual(people.map(({ entity }) => entity.id));
    expect(textsIn(page.sections)).toEqual(expect.arrayContaining(people.map(({ data }) => data)));
    expect(page.withdrawn).toEqual([{ bucket: GULU, why: `no policy gives it to ${ORG}.kampala` }]);
    expect(page.hub).toBe(page.incarnation);
  });

  it("of a site that no policy names gets no person", async () => {
    const { ask } = await puller("mombasa", way);
    const page = await ask({ buckets: { [KAMPALA]: ASK, [GULU]: ASK } });
    expect(membersIn(page.sections)).toEqual([]);
    expect(page.withdrawn.map(({ bucket }) => bucket).sort()).toEqual([KAMPALA, GULU].sort());
    expect(JSON.stringify(page, (_, value) => (typeof value === "bigint" ? String(value) : value))).not.toContain("TST-");
  });

  it("is told nothing when nothing has changed", async () => {
    const { ask } = await puller("kampala", way);
    const { holding, ends } = await ask({ summary: "nothing yet" });
    const { digest } = holding!;
    const { sha256 } = reading;
    const idle = await ask({ holding: digest, summary: sha256(summaryText(digest, ends ?? [])) });
    expect(idle).toMatchObject({ holding: null, ends: null, sections: [], schemas: [], more: false });
  });
});

it("a pull that cannot be read is told which member is wrong", async () => {
  const { ask } = await puller("kampala", "HTTP");
  await expect(ask({ maxEvents: 0 })).rejects.toMatchObject({
    code: "input-malformed",
    message: expect.stringContaining("maxEvents"),
  });
});

it("pulls are answered by the views that are live, whatever somebody is just editing; a door that starts meanwhile waits", async () => {
  const dir = newDir("edited");
  const services = join(import.meta.dirname, "../../services");
  const shipped = join(import.meta.dirname, "../../projections");
  for (const name of readdirSync(shipped))
    writeFileSync(join(dir, name), readFileSync(join(shipped, name), "utf8").replaceAll('"../services/', `"${services}/`));
  const file = join(dir, "beneficiaries.ts");
  const before = readFileSync(file, "utf8");
  const follow = async (say = (): unknown => null): Promise<DoorViews> => {
    const door = await followViews({
      ...{ folders: { schemas: null, projections: dir }, gate: hub.gate, say },
      postgresUrl: hub.backends.postgres.url,
    });
    onTestFinished(() => door.close());
    return door;
  };
  const old = await follow();
  const live = await eventually("the door's look at what is live", async () => old.live());
  expect(scopesOf(live).get("beneficiary")).toEqual(["district"]);
  writeFileSync(file, before.replace('scopeBy: ["district"]', 'scopeBy: ["village"]'));
  let looks = 0;
  const young = await follow(() => looks++);
  await eventually("the look of a door that starts", async () => looks > 0);
  expect([young.live(), old.live()]).toEqual([null, live]);
  writeFileSync(file, before);
  expect(scopesOf(await eventually("the file that is back", async () => young.live())).get("beneficiary")).toEqual(["district"]);
});
