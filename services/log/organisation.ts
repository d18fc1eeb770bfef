import { type HubDeclaration, type HubOrg, hubOrgAt, type Journal, type Position } from "../core/index.ts";

/** The stream in which a log says whose hub it belongs to. It is in the log itself, so every reader of the log knows without being told. */
export const ORGANISATION_STREAM = "organisation";
const DECLARED = "organisation.declared";
/** Hubs of different organisations on one log may declare it in turns; losing more races than this is not an accident. */
const MAX_RACES = 20;

/** All that a log has said about whose hub it belongs to, in log order. */
export async function hubDeclarations(journal: Pick<Journal, "read">): Promise<HubDeclaration[]> {
  const facts = await journal.read(ORGANISATION_STREAM);
  return facts.flatMap(({ type, data: { org }, position }) =>
    type === DECLARED && typeof org === "string" ? [{ org, position }] : [],
  );
}

/** Declares in a log which organisation's hub it belongs to, if the log does not say so yet. Earlier events stay as they were. Returns the organisation that the log names now. */
export async function declareHubOrg(journal: Journal, org: HubOrg): Promise<HubOrg> {
  for (let races = 0; races < MAX_RACES; races++) {
    const facts = await journal.read(ORGANISATION_STREAM);
    const last = (await hubDeclarations({ read: async () => facts })).at(-1)?.org ?? null;
    if (org === null || last === org) return last;
    const fact = { type: DECLARED, data: { org }, by: { actor: "hub" } };
    if ((await journal.append(ORGANISATION_STREAM, facts.length - 1, fact)) !== null) return org;
  }
  throw new Error("invariant broken: somebody who is always first has declared the organisation");
}

/** Returns a function that tells which organisation's hub the log belonged to at a position. It reads the log once, and again when a later position is asked for. */
export function hubOrgsOf(journal: Pick<Journal, "read" | "end">): (position: Position) => Promise<HubOrg> {
  let declared: readonly HubDeclaration[] = [];
  let through: Position | null = null;
  return async (position) => {
    if (through === null || position > through) {
      // The end is read first: then nothing that is declared meanwhile is missed.
      const end = await journal.end();
      declared = await hubDeclarations(journal);
      through = end;
    }
    return hubOrgAt(declared, position);
  };
}
