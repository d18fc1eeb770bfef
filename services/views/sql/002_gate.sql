-- Which version of each subject a view reads with: newer versions are read down to it, until the view is rebuilt.
-- NULL: the view was built before this was kept, so it is rebuilt.
ALTER TABLE tributary.view ADD COLUMN readers json;

-- Whether a quarantined event is 'held', 'released' or 'rejected', and by which event of the hub's own origin.
ALTER TABLE tributary.quarantine
  ADD COLUMN state text NOT NULL DEFAULT 'held',
  ADD COLUMN hash text NOT NULL DEFAULT '',
  ADD COLUMN settled_position bigint,
  ADD COLUMN settled_at timestamptz,
  ADD COLUMN settled_by text,
  ADD COLUMN settled_note text,
  ADD COLUMN released_subject text,
  ADD COLUMN released_version integer,
  ADD COLUMN released_data json;
CREATE INDEX quarantine_held ON tributary.quarantine (position) WHERE state = 'held';
