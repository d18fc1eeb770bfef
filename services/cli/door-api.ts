/** What a hub's door offers other programs besides taking events: who one is, and the rows of views. */
import { meSurface, openReading, viewsSurface } from "../api/index.ts";
import type { Gatekeeper, Surface } from "../http/index.ts";
import type { View } from "../merge/engine.ts";

export interface DoorApi {
  /** The routes, for those whom a gatekeeper lets in. */
  surfaces(gate: Gatekeeper): readonly Surface[];
  close(): Promise<void>;
}

export interface DoorApiOptions {
  readonly postgresUrl: string;
  /** The views as they are live; `null`: that is not known yet. */
  readonly views: () => readonly View[] | null;
}

/** How many pages are read at a time, and how many files. */
const MAX_PAGES = 4;
const MAX_FILES = 2;
/** So long a statement for a page may take, and one for a file. Milliseconds. */
const PAGE_MS = 8_000;
const FILE_MS = 60_000;

/** Opens it. It connects to PostgreSQL when it is first asked. */
export function openDoorApi({ postgresUrl, views }: DoorApiOptions): DoorApi {
  const reading = openReading({ postgresUrl, name: "tributary-api", size: MAX_PAGES, statementMs: PAGE_MS });
  const files = openReading({ postgresUrl, name: "tributary-api files", size: MAX_FILES, statementMs: FILE_MS });
  return {
    surfaces: (gate) => [meSurface(gate), viewsSurface({ gate, reading, files, views })],
    async close() {
      await Promise.all([reading.close(), files.close()]);
    },
  };
}
