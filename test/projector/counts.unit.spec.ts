import { describe, expect, it } from "vitest";
import type { JsonObject, LogEntry } from "../../services/core/index.ts";
import { counting } from "../../services/projector/index.ts";
import { fakeLog } from "../support/fake-log.ts";
import { type OldEvent, oldWriter, person } from "../support/oldlog.ts";
import { all } from "../support/temp.ts";

const HELD = { quarantined: "invalid" };

/** A log with one event in quarantine, and settlements of it. */
async function heldBack() {
  const { log, entries, declare } = fakeLog();
  const site = oldWriter(log, "juba");
  await site.append(person("a", {}, HELD));
  const [{ head }] = entries as [LogEntry];
  const { origin, seq, hash } = head;
  const word = (type: string, data: JsonObject): OldEvent => ({
    type,
    entity: { type: "quarantine", id: `${origin}/${seq}` },
    data: { origin, seq, hash, ...data },
  });
  const release = (more: JsonObject = {}) =>
    word("quarantine.released", {
      type: head.type,
      entity: { ...head.entity },
      schema: { subject: "beneficiary", version: 2 },
      data: { given_name: "Nyibol" },
      ...more,
    });
  const reject = () => word("quarantine.rejected", { reason: "made up" });
  const from = async (org: string, ...events: readonly OldEvent[]) => {
    await oldWriter(log, "hub", org).append(...events);
    return entries.slice(-events.length);
  };
  return { log, site, head, declare, release, reject, from };
}

describe("what counts", () => {
  it("is a release, as the event that it releases: with that event's author, stamp and basis, and the data released", async () => {
    const { log, head, release, from } = await heldBack();
    const [entry] = await from("relief", release());
    const { counted, settlement } = await counting(log).judge(entry!);
    expect(counted).toMatchObject({
      head: { origin: head.origin, seq: head.seq, hlc: head.hlc, schema: { subject: "beneficiary", version: 2 } },
      content: { kind: "accepted", data: { given_name: "Nyibol" } },
      position: entry!.position,
    });
    expect(settlement).toMatchObject({ of: { seq: head.seq }, by: entry, release: { data: { given_name: "Nyibol" } } });
  });

  it("is the first settlement of a quarantined event, in this log or where it was looked up; looking ahead decides nothing", async () => {
    const { log, reject, release, from } = await heldBack();
    const [rejected, released] = await from("relief", reject(), release());
    const counts = counting(log);
    expect(await counts.about(released!)).toEqual({ type: "beneficiary", id: "a" });
    expect(await counts.judge(rejected!)).toMatchObject({ counted: null, settlement: { release: null } });
    expect(await counts.judge(released!)).toEqual({ counted: null, settlement: null, isCaseNote: false });
    // Asked again, as when a page is narrowed down, the answer is the same.
    expect((await counts.judge(rejected!)).settlement).not.toBeNull();
    const later = counting(log, async () => rejected!.position);
    expect((await later.judge(released!)).settlement).toBeNull();
  });

  it("is no settlement that names another event than it settles, or comes from a site, or is quarantined itself", async () => {
    const { log, site, release, from } = await heldBack();
    const [other] = await from("relief", release({ entity: { type: "beneficiary", id: "b" } }));
    expect((await counting(log).judge(other!)).counted).toBeNull();
    await site.append(release(), person("c", {}, HELD));
    for (const entry of await all(log.readOrigin(site.origin)))
      expect(await counting(log).judge(entry)).toEqual({ counted: null, settlement: null, isCaseNote: false });
  });

  it("is a settlement by the hub's own organisation only, once the log says whose hub it is; earlier settlements stay as they were", async () => {
    const { log, declare, reject, from } = await heldBack();
    const note: OldEvent = { type: "case.commented", entity: { type: "case", id: "0123456789ab" }, data: { text: "fine" } };
    const judged = async (org: string) => {
      const [word, remark] = await from(org, reject(), note);
      const counts = counting(log);
      return [(await counts.judge(word!)).settlement !== null, (await counts.judge(remark!)).isCaseNote];
    };
    expect(await judged("other")).toEqual([true, true]);
    const [old] = await from("other", reject());
    const following = counting(log);
    declare("relief");
    expect(await judged("other")).toEqual([false, false]);
    expect(await judged("relief")).toEqual([true, true]);
    expect((await following.judge(old!)).settlement).not.toBeNull();
    // A reader that began before the declaration still learns of it.
    const [late] = await from("other", reject());
    expect((await following.judge(late!)).settlement).toBeNull();
    declare("other");
    expect(await judged("relief")).toEqual([false, false]);
  });
});
