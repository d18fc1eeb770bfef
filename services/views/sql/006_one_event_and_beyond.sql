-- Of an audit row that stands with placeholders: what the columns were to hold, by column, as visible text. NULL: they hold it.
ALTER TABLE tributary.audit ADD COLUMN held_otherwise json;
CREATE INDEX audit_held_otherwise ON tributary.audit ((held_otherwise ->> 'entity_id')) WHERE held_otherwise IS NOT NULL;
-- Rows come in about this order, so that a range is found at next to no cost.
CREATE INDEX audit_by_position ON tributary.audit USING brin (position);

-- Entities that a page left to be folded anew name the projector that will do it, right after the page.
ALTER TABLE tributary.refold ADD COLUMN asked_by integer;

-- The lives of the log that were folded, in the order in which the projector saw them; the last is the present one.
CREATE TABLE tributary.incarnation (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text NOT NULL UNIQUE,
  how text NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT now(),
  -- Where the log had been set back to when this life was first seen, as far as it was folded; NULL: to its beginning, or not at all.
  common_position bigint,
  -- How many events had been folded that the log held no more.
  beyond bigint NOT NULL DEFAULT 0
);

-- Evidence: what had been folded of a log that was set back, beyond where it was set back to. `incarnation`: the life that it was folded in; NULL: none was kept.
CREATE TABLE tributary.audit_beyond (incarnation text, noticed_at timestamptz NOT NULL DEFAULT now(), LIKE tributary.audit);
CREATE INDEX audit_beyond_by_event ON tributary.audit_beyond (origin, seq);
CREATE TABLE tributary.quarantine_beyond (incarnation text, noticed_at timestamptz NOT NULL DEFAULT now(), LIKE tributary.quarantine);
CREATE TABLE tributary.case_note_beyond (incarnation text, noticed_at timestamptz NOT NULL DEFAULT now(), LIKE tributary.case_note);
