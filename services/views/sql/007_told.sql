-- After a restore the log is folded again. People were already told what happened up to `through`, unless the outbox says otherwise. The row is deleted when the fold
-- has come past that position.
CREATE TABLE tributary.told (
  through bigint NOT NULL
);
