import type { KeyId } from "../../services/core/index.ts";
import type { Identity } from "../../services/field/keys.ts";

/** A device of version 1: it has no key, signs nothing and believes everybody. */
export const versionOne: Identity = {
  kid: "" as KeyId,
  isPinned: false,
  version: 1,
  stamped: (batch) => batch,
  asked: (request) => request as typeof request & { nonce: string },
  pulls: (question) => question as ReturnType<Identity["pulls"]>,
  believes: () => true,
  believesPage: () => true,
  servesPulls: null,
  learn: () => {},
  setsClock: () => false,
  logins: [],
  isKnownThere: false,
  noteLogin: () => {},
  unproven: 0,
};
