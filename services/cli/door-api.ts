/** What a hub's door offers other programs besides taking events: who one is, the rows of views, and GraphQL. */
import { graphqlSurface, meSurface, openReading, viewsSurface } from "../api/index.ts";
import type { Gatekeeper, Surface } from "../http/index.ts";
import { type HubParts, openApiHub } from "./api-hub.ts";

export interface DoorApi {
  /** The routes, for those whom a gatekeeper lets in. */
  surfaces(gate: Gatekeeper): readonly Surface[];
  close(): Promise<void>;
}

/** How many pages are read at a time, and how many files. */
const MAX_PAGES = 4;
const MAX_FILES = 3;
/** Of one organisation's people: at a time, and waiting. */
const PAGES_EACH = { each: 2, waitingEach: 100 };
const FILES_EACH = { each: 1, waitingEach: 5 };
/** So long a statement for a page may take, and one for a file. Milliseconds. */
const PAGE_MS = 8_000;
const FILE_MS = 60_000;

/** Opens it. It connects to PostgreSQL when it is first asked. */
export function openDoorApi(parts: HubParts): DoorApi {
  const { postgresUrl } = parts.state;
  const { views } = parts;
  const hub = openApiHub(parts);
  const reading = openReading({ postgresUrl, name: "tributary-api", size: MAX_PAGES, statementMs: PAGE_MS, ...PAGES_EACH });
  const files = openReading({ postgresUrl, name: "tributary-api files", size: MAX_FILES, statementMs: FILE_MS, ...FILES_EACH });
  return {
    surfaces: (gate) => [meSurface(gate), viewsSurface({ gate, reading, files, views }), graphqlSurface(hub, gate)],
    async close() {
      await Promise.all([reading.close(), files.close(), hub.close()]);
    },
  };
}
