-- What people are to be told: written in the projector's own transaction, delivered by the notifier (services/notify).
CREATE TABLE tributary.notification (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- Names what happened, e.g. 'opened/beneficiaries/NBO-000001/phone/1234': the idempotency key.
  key text NOT NULL UNIQUE,
  -- The name of a target in the hub's notification settings.
  target text NOT NULL,
  -- One line for people.
  subject text NOT NULL,
  -- The case: {kind, case, view, entity, register|invariant, rule, text, position, …}. Field values stand in `values` only.
  body json NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  -- 'waiting', 'sent' or 'failed'. Failed with 0 tries: its target was not named in the settings.
  state text NOT NULL DEFAULT 'waiting',
  tries integer NOT NULL DEFAULT 0,
  next_try_at timestamptz NOT NULL DEFAULT now(),
  last_error text,
  sent_at timestamptz
);
CREATE INDEX notification_waiting ON tributary.notification (next_try_at) WHERE state = 'waiting';
