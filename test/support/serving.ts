/** For tests of what a hub serves: hubs with policies, and what is in pages. */
import type { JsonObject } from "../../services/core/index.ts";
import type { FeedStore } from "../../services/exchange/index.ts";
import type { PagedEvent, Section } from "../../services/exchange/protocol/index.ts";
import { type MemoryHub, openMemoryHub } from "./memory-hub.ts";
import { districtPolicy, people } from "./people.ts";

/** A tablet that may hold Kampala's people by the policy `kampalaOnly`. */
export const TABLET = "relief.kampala.t1";
export const kampalaOnly = districtPolicy("kampala", { sites: ["relief.kampala"] }, ["Kampala"]);

export async function hubWith(...policies: JsonObject[]): Promise<MemoryHub> {
  const hub = await openMemoryHub({ views: [people] });
  for (const policy of policies) await hub.setPolicy(policy);
  return hub;
}

/** A store that counts what it is asked for. */
export function counted(store: FeedStore) {
  const calls: string[] = [];
  const wrapped = Object.fromEntries(
    Object.entries(store).map(([name, work]) => [
      name,
      (...args: never[]) => {
        calls.push(name);
        return (work as (...args: never[]) => unknown)(...args);
      },
    ]),
  ) as unknown as FeedStore;
  return { store: wrapped, calls };
}

/** The events of a section. */
export const eventsOf = (section: Section): readonly PagedEvent[] =>
  section.kind === "lines"
    ? section.lines.flatMap(({ events }) => events)
    : section.kind === "members"
      ? section.members.flatMap(({ events }) => events)
      : [];

/** All that pages say, as text. */
export const saidIn = (pages: unknown): string =>
  JSON.stringify(pages, (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value));
