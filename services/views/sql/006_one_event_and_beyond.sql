-- What the columns of an audit row with placeholders were to hold, by column, as visible text. NULL: the columns hold it themselves.
ALTER TABLE tributary.audit ADD COLUMN held_otherwise json;
CREATE INDEX audit_held_otherwise ON tributary.audit ((held_otherwise ->> 'entity_id')) WHERE held_otherwise IS NOT NULL;
-- Rows come in about this order, so a block range index finds a range at next to no cost.
CREATE INDEX audit_by_position ON tributary.audit USING brin (position);

-- An entity that a page left to be folded again names the projector that will do it, right after the page.
ALTER TABLE tributary.refold ADD COLUMN asked_by integer;

-- The lives of the log that were folded, in the order in which the projector saw them; the last is the present one.
CREATE TABLE tributary.incarnation (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text NOT NULL UNIQUE,
  how text NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT now(),
  -- The last folded position that the log still held when this life was first seen; NULL: it was set back to its beginning, or not at all.
  common_position bigint,
  -- How many events had been folded that the log no longer held.
  beyond bigint NOT NULL DEFAULT 0
);

-- Evidence: what had been folded beyond the position that a log was set back to. `incarnation`: the life of the log that it was folded in; NULL: none was noted.
CREATE TABLE tributary.audit_beyond (incarnation text, noticed_at timestamptz NOT NULL DEFAULT now(), LIKE tributary.audit);
CREATE INDEX audit_beyond_by_event ON tributary.audit_beyond (origin, seq);
CREATE TABLE tributary.quarantine_beyond (incarnation text, noticed_at timestamptz NOT NULL DEFAULT now(), LIKE tributary.quarantine);
CREATE TABLE tributary.case_note_beyond (incarnation text, noticed_at timestamptz NOT NULL DEFAULT now(), LIKE tributary.case_note);
