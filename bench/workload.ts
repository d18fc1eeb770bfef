import { SCHEMAS_DIR } from "../services/cli/program.ts";
import { type Field, type NewEvent, openField } from "../services/field/index.ts";

/** How much of the contested work is about people that both sites change. */
export const CONTESTED_PERCENT = [1, 10, 50];

/** Seeded, so that each run does the same work. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 4_294_967_296;
  };
}

const GIVEN = ["Amina", "Dɛŋ", "Espérance", "ዮሃንስ", "فاطمة", "Wanjikũ", "Kato", "Nyaröl"];
const VILLAGES = ["Munuki", "Gudele", "Kisenyi", "Katwe", "Eastleigh North", "Pumwani"];

/** A site's work: two registrations, then an update of an earlier person and a distribution, and again. */
export function eventsOf(site: string, count: number, seed: number): NewEvent[] {
  const next = random(seed);
  const code = site.slice(0, 3).toUpperCase().padEnd(3, "X");
  const people: string[] = [];
  return Array.from({ length: count }, (_, i): NewEvent => {
    const actor = "officer-1";
    const kind = i % 4;
    if (kind < 2) {
      const id = `${code}-${String(i).padStart(6, "0")}`;
      people.push(id);
      const data = {
        registration_no: id,
        given_name: GIVEN[Math.floor(next() * GIVEN.length)]!,
        sex: next() < 0.5 ? "female" : "male",
        birth_date: `19${60 + Math.floor(next() * 40)}-0${1 + Math.floor(next() * 9)}-1${Math.floor(next() * 10)}`,
        household_size: 1 + Math.floor(next() * 9),
        village: VILLAGES[Math.floor(next() * VILLAGES.length)]!,
        district: "Juba Na Bari",
        registered_on: "2026-03-01",
      };
      return { type: "beneficiary.registered", entity: { type: "beneficiary", id }, data, actor };
    }
    const person = people[Math.floor(next() * people.length)]!;
    if (kind === 2) {
      const data = { phone: `+2119${String(Math.floor(next() * 1e8)).padStart(8, "0")}` };
      return { type: "beneficiary.updated", entity: { type: "beneficiary", id: person }, data, actor };
    }
    const id = `${code}-D-${i}`;
    const data = {
      distribution_no: id,
      registration_no: person,
      item: "RICE",
      quantity: 5 + Math.floor(next() * 45),
      unit: "KG",
      distributed_on: "2026-03-02",
    };
    return { type: "distribution.recorded", entity: { type: "distribution", id }, data, actor };
  });
}

/**
 * Two sites' work, offline: of all their updates, the share `contested` is about people whom the other site updates too, in the same field and
 * without having seen it.
 */
export function contestedWork(sites: readonly [string, string], count: number, seed: number, contested: number): NewEvent[][] {
  const next = random(seed);
  const [ours, theirs] = sites.map((site, i) => eventsOf(site, count, seed + i)) as [NewEvent[], NewEvent[]];
  return [
    ours,
    // Updates have the same indexes in both lists, so what is contested is contested on both sides.
    theirs.map((event, i) =>
      event.type === "beneficiary.updated" && next() < contested ? { ...event, entity: ours[i]!.entity } : event,
    ),
  ];
}

/** A site's people only: a registration, then two updates of people registered before; of these the share `contested` are the other site's people. */
export function* peopleOf(
  [site, other]: readonly [string, string],
  count: number,
  seed: number,
  contested: number,
): Generator<NewEvent> {
  const next = random(seed);
  const idOf = (site: string, n: number): string =>
    `${site.slice(0, 3).toUpperCase().padEnd(3, "X")}-${String(n).padStart(6, "0")}`;
  const actor = "officer-1";
  for (let i = 0, people = 0; i < count; i++) {
    const village = VILLAGES[Math.floor(next() * VILLAGES.length)]!;
    if (i % 3 === 0) {
      const id = idOf(site, people++);
      const data = {
        registration_no: id,
        given_name: GIVEN[Math.floor(next() * GIVEN.length)]!,
        sex: next() < 0.5 ? "female" : "male",
        household_size: 1 + Math.floor(next() * 9),
        village,
        district: "Juba Na Bari",
        registered_on: "2026-03-01",
      };
      yield { type: "beneficiary.registered", entity: { type: "beneficiary", id }, data, actor };
      continue;
    }
    const id = idOf(next() < contested ? other : site, Math.floor(next() * people));
    const data: NewEvent["data"] =
      i % 3 === 1
        ? { phone: `+2119${String(Math.floor(next() * 1e8)).padStart(8, "0")}` }
        : { village, district: "Juba Na Bari", status: "idp" };
    yield { type: "beneficiary.updated", entity: { type: "beneficiary", id }, data, actor };
  }
}

export const openSite = (path: string, site: string): Field =>
  openField({ path, name: { org: "bench", site, device: "t1" }, schemas: SCHEMAS_DIR });
