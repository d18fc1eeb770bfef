import type { Right } from "../core/index.ts";
import { type Admission, type Gatekeeper, mustMay, type Principal } from "../http/index.ts";

/** Lets in whoever may do what a route does. Nothing of a request is read before. */
export const whoMay = (gate: Gatekeeper, right: Right): Admission<Principal> => ({
  token: "required",
  scopes: [right],
  async admit({ authorization }) {
    const who = await gate.admit(authorization, Date.now());
    mustMay(who, right);
    return who;
  },
});
