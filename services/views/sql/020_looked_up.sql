-- Notes of places by what they place: a note is found by an origin and a seq, however many notes there are of the origin. The origin counts by its hash, and a reader compares it.
CREATE INDEX audit_placing ON tributary.audit USING gist ((
  CASE
    WHEN CASE WHEN data ->> 'from' ~ '^[0-9]{1,16}$' THEN (data ->> 'from')::bigint END <= CASE WHEN data ->> 'through' ~ '^[0-9]{1,16}$' THEN (data ->> 'through')::bigint END
    THEN numrange(
      hashtext(entity_id)::numeric * 10000000000000000 + CASE WHEN data ->> 'from' ~ '^[0-9]{1,16}$' THEN (data ->> 'from')::bigint END,
      hashtext(entity_id)::numeric * 10000000000000000 + CASE WHEN data ->> 'through' ~ '^[0-9]{1,16}$' THEN (data ->> 'through')::bigint END, '[]')
  END)) WHERE entity_type = 'order-note' AND type = 'order.noted' AND site = 'hub' AND device = 'order';

-- Changes with every change of policies and of sites, whoever makes it: a page, a refold, balanced books, a swap. Each version of a row bears the number of the transaction that wrote it, so the sum changes with any of them.
-- Empty: one of the tables is not there, or a view of a team's own stands in their place.
CREATE FUNCTION tributary.reach() RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
  place regclass;
  said text;
  stamp text := '';
BEGIN
  FOREACH place IN ARRAY ARRAY[to_regclass('views.policies'), to_regclass('views.sites')] LOOP
    IF place IS NULL OR (SELECT relkind FROM pg_class WHERE oid = place) IS DISTINCT FROM 'r' THEN
      RETURN '';
    END IF;
    EXECUTE format('SELECT concat_ws(%L, count(*), sum(xmin::text::bigint)) FROM %s', ' ', place) INTO said;
    stamp := stamp || place::text || ' ' || said || E'\n';
  END LOOP;
  RETURN stamp;
END $$;
