import { describe, expect, it } from "vitest";
import { chainHash, sha256Hex, zstd } from "../../services/core/node.ts";
import { decodePage, encodePage } from "../../services/exchange/protocol/index.ts";
import { boolean, defineProjection, set, text } from "../../services/merge/index.ts";
import { openMemoryHub } from "../support/memory-hub.ts";
import { pulling, replicaOf } from "../support/pull.ts";
import { number, openAt, policyOf, registered } from "../support/replicas.ts";

/** The second version of the form says that somebody who was not asked has not consented. The first says nothing. */
const consents = defineProjection({
  name: "consents",
  entity: "beneficiary",
  columns: { given_name: text(), consent: boolean(), district: text() },
  scopeBy: ["district"],
  events: { "beneficiary.registered": set("given_name", "consent", "district") },
});
const READERS = { consents: { beneficiary: 1 } };

describe("the versions that a hub's views read events in", () => {
  it("are those of its replicas too: a default of a newer form stands in a row of both or of neither", async () => {
    const hub = await openMemoryHub({ views: [consents] });
    await hub.setPolicy(policyOf("kampala", ["kampala"], { district: "Kampala" }));
    await hub.device("nairobi").write(registered(1, "Kampala"));
    await hub.seal();
    using field = openAt(hub, "kampala", { views: [consents] });
    const consent = () => replicaOf(field).row("consents", number(1))?.row.values.consent;
    const built = pulling(hub, hub.views, READERS);
    await built.pull(field);
    expect(consent()).toBeNull();
    // The view is built again, with the newest form.
    const rebuilt = pulling(hub);
    await hub.device("nairobi", "t2").write(registered(2, "Kampala"));
    await hub.seal();
    await rebuilt.pull(field);
    expect(consent()).toBe(false);
  });

  it("travel in the page", async () => {
    const hub = await openMemoryHub({ views: [consents] });
    await hub.setPolicy(policyOf("kampala", ["kampala"], { district: "Kampala" }));
    await hub.device("nairobi").write(registered(1, "Kampala"));
    await hub.seal();
    using field = openAt(hub, "kampala", { views: [consents] });
    const page = await pulling(hub, hub.views, READERS).ask(field, {}, false);
    expect(page.readers).toEqual(READERS);
    const frame = encodePage(page, { compression: zstd, sha256: sha256Hex });
    const read = decodePage(frame, { compression: zstd, sha256: sha256Hex, chainHash, unpack: hub.gate.unpack });
    expect(read.page.readers).toEqual(READERS);
    const { readers: _, ...without } = page;
    const other = decodePage(encodePage(without, { compression: zstd, sha256: sha256Hex }), {
      ...{ compression: zstd, sha256: sha256Hex, chainHash, unpack: hub.gate.unpack },
    });
    expect("readers" in other.page).toBe(false);
  });
});
