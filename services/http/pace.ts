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
  const limiter = (points: number, keyPrefix: string): RateLimiterMemory =>
    new RateLimiterMemory({ points, duration: WINDOW_S, keyPrefix });
  const people = limiter(pace.requestsPerPerson, "person");
  const orgs = limiter(pace.requestsPerOrganisation, "organisation");
  const count = async (who: Principal): Promise<void> => {
    await taken(
      people,
      JSON.stringify([who.kind, who.issuer, who.org, who.subject]),
      "requestsPerPerson",
      pace,
      `${who.org}'s ${who.subject}`,
    );
    await taken(orgs, who.org, "requestsPerOrganisation", pace, `the organisation ${who.org}`);
  };
  return {
    async admit(authorization, atMs) {
      const who = await gate.admit(authorization, atMs);
      await count(who);
      return who;
    },
    again: gate.again,
  };
}

async function taken(limiter: RateLimiterMemory, key: string, setting: keyof Pace, pace: Pace, who: string): Promise<void> {
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
}
