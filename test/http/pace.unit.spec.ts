import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Gatekeeper, type Principal, paced, WINDOW_S } from "../../services/http/index.ts";

/** Lets in anybody, as `org subject`. */
const open: Gatekeeper = {
  async admit(authorization) {
    const [org = "", subject = ""] = String(authorization).split(" ");
    const who: Pick<Principal, "kind" | "issuer" | "org" | "subject"> = { kind: "person", issuer: "tributary", org, subject };
    return who as Principal;
  },
  again: async (principal) => principal,
};

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("who asks too often", () => {
  const gate = () => paced(open, { requestsPerPerson: 3, requestsPerOrganisation: 5 });
  const asks = async (paced: Gatekeeper, who: string, times: number): Promise<string[]> => {
    const out: string[] = [];
    for (let n = 0; n < times; n++)
      out.push(
        await paced.admit(who, 0).then(
          () => "in",
          (error: { code?: string; message: string }) => `${error.code}: ${error.message}`,
        ),
      );
    return out;
  };
  const person = "too-many-requests: relief's amina has asked more than 3 times in 10 s (the setting requestsPerPerson)";

  it("is turned away with the setting's name, and let in again once the window is over", async () => {
    const kept = gate();
    expect(await asks(kept, "relief amina", 5)).toEqual(["in", "in", "in", person, person]);
    vi.advanceTimersByTime(WINDOW_S * 1_000 + 1);
    expect(await asks(kept, "relief amina", 1)).toEqual(["in"]);
  });

  it("holds up nobody of another organisation, and of their own once that has asked too often", async () => {
    const kept = gate();
    expect(await asks(kept, "relief amina", 4)).toEqual(["in", "in", "in", person]);
    expect(await asks(kept, "relief bol", 3)).toEqual([
      "in",
      "in",
      "too-many-requests: the organisation relief has asked more than 5 times in 10 s (the setting requestsPerOrganisation)",
    ]);
    // The same name in another organisation is another person.
    expect(await asks(kept, "health amina", 3)).toEqual(["in", "in", "in"]);
  });

  it("stays connected: who was let in is asked about again without being counted", async () => {
    const kept = gate();
    const who = await kept.admit("relief amina", 0);
    for (let n = 0; n < 20; n++) expect(await kept.again(who, 0)).toBe(who);
    expect(await asks(kept, "relief amina", 2)).toEqual(["in", "in"]);
  });
});
