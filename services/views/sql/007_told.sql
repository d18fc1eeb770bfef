-- After a restore the log is folded anew. Of what happened up to here people were told before, unless the outbox says otherwise; the row goes when the fold
-- has come past it.
CREATE TABLE tributary.told (
  through bigint NOT NULL
);
