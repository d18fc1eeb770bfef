/** How often somebody may ask. In comes a gatekeeper; out comes one that also counts those whom it lets in, and turns away who asks too often. Each process of a hub counts by itself. */
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import { TributaryError } from "../core/index.ts";
import type { Gatekeeper, Principal } from "./admission.ts";

/** How many requests a window has room for. */
export interface Pace {
  /** Of one person, or one site. */
  readonly requestsPerPerson: number;
  /** Of all people and sites of an organisation together. */
  readonly requestsPerOrganisation: number;
}

/** How long a window is. Seconds. */
export const WINDOW_S = 10;
export const PACE: Pace = { requestsPerPerson: 300, requestsPerOrganisation: 3_000 };

/** Throws `too-many-requests` for who asks too often; nobody else is held up by that. A connection that stays open is counted once. */
export function paced(gate: Gatekeeper, pace: Pace = PACE): Gatekeeper {
  const people = counted(pace, "requestsPerPerson");
  const orgs = counted(pace, "requestsPerOrganisation");
  const count = async (who: Principal): Promise<void> => {
    await people(JSON.stringify([who.kind, who.issuer, who.org, who.subject]), `${who.org}'s ${who.subject}`);
    await orgs(who.org, `the organisation ${who.org}`);
  };
  return {
    async admit(authorization, atMs) {
      const who = await gate.admit(authorization, atMs);
      await count(who);
      return who;
    },
    count,
    again: gate.again,
  };
}

/** Counts requests by key, as many in a window as a setting says. `who`: who asks, in words. */
function counted(pace: Pace, setting: keyof Pace): (key: string, who: string) => Promise<void> {
  const limiter = new RateLimiterMemory({ points: pace[setting], duration: WINDOW_S, keyPrefix: setting });
  return async (key, who) => {
    try {
      await limiter.consume(key);
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error;
      throw new TributaryError(
        "too-many-requests",
        `${who} has asked more than ${pace[setting]} times in ${WINDOW_S} s (the setting ${setting})`,
        `Ask again in ${Math.max(1, Math.ceil(error.msBeforeNext / 1_000))} s, and less often: live queries tell what changes without being asked.`,
      );
    }
  };
}
