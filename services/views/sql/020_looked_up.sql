-- Notes of places by what they place: a note is found by an origin and a seq, however many notes there are of the origin. The origin counts by its hash, and a reader compares it.
CREATE INDEX audit_placing ON tributary.audit USING gist ((
  CASE
    WHEN CASE WHEN data ->> 'from' ~ '^[0-9]{1,16}$' THEN (data ->> 'from')::bigint END <= CASE WHEN data ->> 'through' ~ '^[0-9]{1,16}$' THEN (data ->> 'through')::bigint END
    THEN numrange(
      hashtext(entity_id)::numeric * 10000000000000000 + CASE WHEN data ->> 'from' ~ '^[0-9]{1,16}$' THEN (data ->> 'from')::bigint END,
      hashtext(entity_id)::numeric * 10000000000000000 + CASE WHEN data ->> 'through' ~ '^[0-9]{1,16}$' THEN (data ->> 'through')::bigint END, '[]')
  END)) WHERE entity_type = 'order-note' AND type = 'order.noted' AND site = 'hub' AND device = 'order';
