import { type LogEntry, partsOf } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { copyText, line } from "../copy.ts";
import { copyTo, NAME_COLUMNS, nameCells } from "./audit-row.ts";

const COLUMNS = [
  ...NAME_COLUMNS,
  "site",
  "actor",
  "recorded_at",
  "schema_subject",
  "schema_version",
  "code",
  "reason",
  "path",
  "raw",
  "hash",
];

/** The table of quarantined events. */
export const QUARANTINE = "tributary.quarantine";

/** Writes the quarantined ones of these events to the list. `table`: another table of the same columns. */
export async function writeQuarantine(db: Db, entries: readonly LogEntry[], table = QUARANTINE): Promise<void> {
  const lines = entries.flatMap(({ head, content, position, recordedAtMs }) =>
    content.kind === "accepted"
      ? []
      : [
          line([
            ...nameCells({ head, position }),
            partsOf(head.origin).site,
            head.actor,
            new Date(recordedAtMs).toISOString(),
            head.schema.subject,
            head.schema.version,
            content.reason.code,
            content.reason.message,
            content.reason.path,
            content.text,
            head.hash,
          ]),
        ],
  );
  if (lines.length === 0) return;
  await copyText(db, copyTo(table, COLUMNS), lines.join(""));
}
