/** What a failure while a page is folded or written is about: of operation, or of the data. `views/failures.ts` knows what PostgreSQL says. */
import { type Db, isOfData as isOfDataThere, type ViewBuild } from "../views/index.ts";
import { StaleViewError } from "./readable.ts";

/** Whether an error is about the data that was being folded or written. A view that cannot read a version is rebuilt: the data are not to blame. */
export const isOfData = async (db: Db, targets: readonly ViewBuild[], error: unknown, insists = false): Promise<boolean> =>
  !(error instanceof StaleViewError) && isOfDataThere(db, targets, error, insists);
