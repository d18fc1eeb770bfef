-- The revision of the last fact of each seal in the log's stream `feed`: the next seal is written down after it. NULL: not known.
ALTER TABLE tributary.seal ADD COLUMN revision bigint;
