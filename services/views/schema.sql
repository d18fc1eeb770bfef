-- What the migrations make, as PostgreSQL describes it. Made by test/views/schema.int.spec.ts: after a new migration, run it with TRIBUTARY_UPDATE_SCHEMA=1.
TABLE tributary.audit COLUMN actor text NOT NULL
TABLE tributary.audit COLUMN basis json NOT NULL
TABLE tributary.audit COLUMN causation_id text
TABLE tributary.audit COLUMN clipped json
TABLE tributary.audit COLUMN clock_offset_ms bigint
TABLE tributary.audit COLUMN correlation_id text
TABLE tributary.audit COLUMN data json
TABLE tributary.audit COLUMN device text NOT NULL
TABLE tributary.audit COLUMN entity_id text NOT NULL
TABLE tributary.audit COLUMN entity_type text NOT NULL
TABLE tributary.audit COLUMN hash text NOT NULL
TABLE tributary.audit COLUMN held_otherwise json
TABLE tributary.audit COLUMN hlc text NOT NULL
TABLE tributary.audit COLUMN id uuid NOT NULL
TABLE tributary.audit COLUMN occurred_at timestamp with time zone NOT NULL
TABLE tributary.audit COLUMN org text NOT NULL
TABLE tributary.audit COLUMN origin text NOT NULL
TABLE tributary.audit COLUMN "position" bigint NOT NULL
TABLE tributary.audit COLUMN prev text NOT NULL
TABLE tributary.audit COLUMN projection_error text
TABLE tributary.audit COLUMN quarantine_code text
TABLE tributary.audit COLUMN recorded_at timestamp with time zone NOT NULL
TABLE tributary.audit COLUMN schema_subject text NOT NULL
TABLE tributary.audit COLUMN schema_version double precision NOT NULL
TABLE tributary.audit COLUMN seq bigint NOT NULL
TABLE tributary.audit COLUMN site text NOT NULL
TABLE tributary.audit COLUMN taken_at bigint
TABLE tributary.audit COLUMN taken_by text
TABLE tributary.audit COLUMN type text NOT NULL
TABLE tributary.audit_beyond COLUMN actor text NOT NULL
TABLE tributary.audit_beyond COLUMN basis json NOT NULL
TABLE tributary.audit_beyond COLUMN causation_id text
TABLE tributary.audit_beyond COLUMN clipped json
TABLE tributary.audit_beyond COLUMN clock_offset_ms bigint
TABLE tributary.audit_beyond COLUMN correlation_id text
TABLE tributary.audit_beyond COLUMN data json
TABLE tributary.audit_beyond COLUMN device text NOT NULL
TABLE tributary.audit_beyond COLUMN entity_id text NOT NULL
TABLE tributary.audit_beyond COLUMN entity_type text NOT NULL
TABLE tributary.audit_beyond COLUMN hash text NOT NULL
TABLE tributary.audit_beyond COLUMN held_otherwise json
TABLE tributary.audit_beyond COLUMN hlc text NOT NULL
TABLE tributary.audit_beyond COLUMN id uuid NOT NULL
TABLE tributary.audit_beyond COLUMN incarnation text
TABLE tributary.audit_beyond COLUMN noticed_at timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.audit_beyond COLUMN occurred_at timestamp with time zone NOT NULL
TABLE tributary.audit_beyond COLUMN org text NOT NULL
TABLE tributary.audit_beyond COLUMN origin text NOT NULL
TABLE tributary.audit_beyond COLUMN "position" bigint NOT NULL
TABLE tributary.audit_beyond COLUMN prev text NOT NULL
TABLE tributary.audit_beyond COLUMN projection_error text
TABLE tributary.audit_beyond COLUMN quarantine_code text
TABLE tributary.audit_beyond COLUMN recorded_at timestamp with time zone NOT NULL
TABLE tributary.audit_beyond COLUMN schema_subject text NOT NULL
TABLE tributary.audit_beyond COLUMN schema_version double precision NOT NULL
TABLE tributary.audit_beyond COLUMN seq bigint NOT NULL
TABLE tributary.audit_beyond COLUMN site text NOT NULL
TABLE tributary.audit_beyond COLUMN taken_at bigint
TABLE tributary.audit_beyond COLUMN taken_by text
TABLE tributary.audit_beyond COLUMN type text NOT NULL
TABLE tributary.bucket COLUMN columns json
TABLE tributary.bucket COLUMN entity_type text NOT NULL
TABLE tributary.bucket COLUMN id text NOT NULL
TABLE tributary.bucket COLUMN scope jsonb NOT NULL
TABLE tributary.case_note COLUMN actor text NOT NULL
TABLE tributary.case_note COLUMN assignee text
TABLE tributary.case_note COLUMN case_id text NOT NULL
TABLE tributary.case_note COLUMN kind text NOT NULL
TABLE tributary.case_note COLUMN mark text
TABLE tributary.case_note COLUMN origin text NOT NULL
TABLE tributary.case_note COLUMN "position" bigint NOT NULL
TABLE tributary.case_note COLUMN recorded_at timestamp with time zone NOT NULL
TABLE tributary.case_note COLUMN text text
TABLE tributary.case_note_beyond COLUMN actor text NOT NULL
TABLE tributary.case_note_beyond COLUMN assignee text
TABLE tributary.case_note_beyond COLUMN case_id text NOT NULL
TABLE tributary.case_note_beyond COLUMN incarnation text
TABLE tributary.case_note_beyond COLUMN kind text NOT NULL
TABLE tributary.case_note_beyond COLUMN mark text
TABLE tributary.case_note_beyond COLUMN noticed_at timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.case_note_beyond COLUMN origin text NOT NULL
TABLE tributary.case_note_beyond COLUMN "position" bigint NOT NULL
TABLE tributary.case_note_beyond COLUMN recorded_at timestamp with time zone NOT NULL
TABLE tributary.case_note_beyond COLUMN text text
TABLE tributary.case_row COLUMN about json NOT NULL
TABLE tributary.case_row COLUMN changed_position bigint NOT NULL
TABLE tributary.case_row COLUMN closed_position bigint
TABLE tributary.case_row COLUMN entity_type text NOT NULL
TABLE tributary.case_row COLUMN generation integer NOT NULL
TABLE tributary.case_row COLUMN id text NOT NULL
TABLE tributary.case_row COLUMN kind text NOT NULL
TABLE tributary.case_row COLUMN mark text NOT NULL
TABLE tributary.case_row COLUMN of text
TABLE tributary.case_row COLUMN opened_at timestamp with time zone NOT NULL
TABLE tributary.case_row COLUMN opened_position bigint NOT NULL
TABLE tributary.case_row COLUMN org text
TABLE tributary.case_row COLUMN rule text NOT NULL
TABLE tributary.case_row COLUMN says text NOT NULL
TABLE tributary.case_row COLUMN subject text NOT NULL
TABLE tributary.case_row COLUMN view text NOT NULL
TABLE tributary.change COLUMN entity_type text
TABLE tributary.change COLUMN id text
TABLE tributary.change COLUMN kind text NOT NULL
TABLE tributary.change COLUMN noted_at timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.change COLUMN number bigint NOT NULL
TABLE tributary.change COLUMN view text
TABLE tributary.change_head COLUMN is_only boolean NOT NULL DEFAULT true
TABLE tributary.change_head COLUMN life uuid NOT NULL DEFAULT gen_random_uuid()
TABLE tributary.change_head COLUMN number bigint NOT NULL DEFAULT 0
TABLE tributary.change_head COLUMN trimmed bigint NOT NULL DEFAULT 0
TABLE tributary.debt COLUMN bucket text NOT NULL
TABLE tributary.debt COLUMN device text NOT NULL
TABLE tributary.debt COLUMN entity_id text
TABLE tributary.debt COLUMN "position" bigint
TABLE tributary.debt COLUMN seal bigint NOT NULL
TABLE tributary.debt COLUMN since timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.decision_row COLUMN entity_id text NOT NULL
TABLE tributary.decision_row COLUMN entity_type text
TABLE tributary.decision_row COLUMN generation integer NOT NULL DEFAULT 0
TABLE tributary.decision_row COLUMN is_open boolean NOT NULL DEFAULT false
TABLE tributary.decision_row COLUMN known_from bigint
TABLE tributary.decision_row COLUMN losers json NOT NULL
TABLE tributary.decision_row COLUMN "position" bigint NOT NULL
TABLE tributary.decision_row COLUMN reason text NOT NULL
TABLE tributary.decision_row COLUMN register text NOT NULL
TABLE tributary.decision_row COLUMN rule text NOT NULL
TABLE tributary.decision_row COLUMN rule_version integer NOT NULL
TABLE tributary.decision_row COLUMN settled_position bigint
TABLE tributary.decision_row COLUMN superseded_at bigint NOT NULL DEFAULT '9223372036854775807'::bigint
TABLE tributary.decision_row COLUMN value json
TABLE tributary.decision_row COLUMN view text NOT NULL
TABLE tributary.decision_row COLUMN winner json NOT NULL
TABLE tributary.feed COLUMN bucket text NOT NULL
TABLE tributary.feed COLUMN digest text
TABLE tributary.feed COLUMN entity_id text NOT NULL
TABLE tributary.feed COLUMN entity_type text NOT NULL
TABLE tributary.feed COLUMN kind text NOT NULL
TABLE tributary.feed COLUMN ordinal integer NOT NULL
TABLE tributary.feed COLUMN origin text
TABLE tributary.feed COLUMN "position" bigint NOT NULL
TABLE tributary.feed COLUMN seal bigint
TABLE tributary.feed COLUMN seq bigint
TABLE tributary.feed_note COLUMN case_id text NOT NULL
TABLE tributary.feed_note COLUMN origin text NOT NULL
TABLE tributary.feed_note COLUMN "position" bigint NOT NULL
TABLE tributary.feed_note COLUMN seq bigint NOT NULL
TABLE tributary.feed_scope COLUMN columns json NOT NULL
TABLE tributary.feed_scope COLUMN done_to text
TABLE tributary.feed_scope COLUMN due text
TABLE tributary.feed_scope COLUMN entity_type text NOT NULL
TABLE tributary.feed_scope COLUMN view text NOT NULL
TABLE tributary.feed_shut COLUMN one boolean NOT NULL DEFAULT true
TABLE tributary.feed_shut COLUMN through bigint
TABLE tributary.fork_case COLUMN about json NOT NULL
TABLE tributary.fork_case COLUMN device text NOT NULL
TABLE tributary.fork_case COLUMN id text NOT NULL
TABLE tributary.fork_case COLUMN mark text NOT NULL
TABLE tributary.fork_case COLUMN opened_at timestamp with time zone NOT NULL
TABLE tributary.fork_case COLUMN opened_position bigint NOT NULL
TABLE tributary.fork_case COLUMN origin text NOT NULL
TABLE tributary.fork_case COLUMN revision bigint NOT NULL
TABLE tributary.fork_case COLUMN says text NOT NULL
TABLE tributary.generation COLUMN events bigint NOT NULL DEFAULT 0
TABLE tributary.generation COLUMN generation integer NOT NULL
TABLE tributary.generation COLUMN has_org_cases boolean NOT NULL DEFAULT false
TABLE tributary.generation COLUMN kind text NOT NULL
TABLE tributary.generation COLUMN live_at timestamp with time zone
TABLE tributary.generation COLUMN place text NOT NULL
TABLE tributary.generation COLUMN positions json
TABLE tributary.generation COLUMN readers json
TABLE tributary.generation COLUMN shape text NOT NULL
TABLE tributary.generation COLUMN started_at timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.generation COLUMN state text NOT NULL
TABLE tributary.generation COLUMN tables json NOT NULL DEFAULT '[]'::json
TABLE tributary.generation COLUMN view text NOT NULL
TABLE tributary.held COLUMN bucket text
TABLE tributary.held COLUMN digest text NOT NULL
TABLE tributary.held COLUMN entity_id text NOT NULL
TABLE tributary.held COLUMN entity_type text NOT NULL
TABLE tributary.held COLUMN key text NOT NULL
TABLE tributary.holding COLUMN at timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.holding COLUMN buckets text[]
TABLE tributary.holding COLUMN come text[]
TABLE tributary.holding COLUMN digest text NOT NULL
TABLE tributary.holding COLUMN gone text[]
TABLE tributary.holding COLUMN holder text NOT NULL
TABLE tributary.holding COLUMN n bigint NOT NULL GENERATED ALWAYS AS IDENTITY
TABLE tributary.incarnation COLUMN beyond bigint NOT NULL DEFAULT 0
TABLE tributary.incarnation COLUMN common_position bigint
TABLE tributary.incarnation COLUMN how text NOT NULL
TABLE tributary.incarnation COLUMN id text NOT NULL
TABLE tributary.incarnation COLUMN number bigint NOT NULL GENERATED ALWAYS AS IDENTITY
TABLE tributary.incarnation COLUMN seen_at timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.member COLUMN bucket text NOT NULL
TABLE tributary.member COLUMN entity_id text NOT NULL
TABLE tributary.member COLUMN entity_type text NOT NULL
TABLE tributary.member COLUMN since bigint NOT NULL
TABLE tributary.member COLUMN until bigint
TABLE tributary.migration COLUMN applied_at timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.migration COLUMN name text NOT NULL
TABLE tributary.notification COLUMN body json NOT NULL
TABLE tributary.notification COLUMN created_at timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.notification COLUMN id bigint NOT NULL GENERATED ALWAYS AS IDENTITY
TABLE tributary.notification COLUMN key text NOT NULL
TABLE tributary.notification COLUMN last_error text
TABLE tributary.notification COLUMN next_try_at timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.notification COLUMN sent_at timestamp with time zone
TABLE tributary.notification COLUMN state text NOT NULL DEFAULT 'waiting'::text
TABLE tributary.notification COLUMN subject text NOT NULL
TABLE tributary.notification COLUMN target text NOT NULL
TABLE tributary.notification COLUMN tries integer NOT NULL DEFAULT 0
TABLE tributary.origin COLUMN clock_wrong bigint NOT NULL
TABLE tributary.origin COLUMN device text NOT NULL
TABLE tributary.origin COLUMN events bigint NOT NULL
TABLE tributary.origin COLUMN first_recorded_at timestamp with time zone NOT NULL
TABLE tributary.origin COLUMN last_recorded_at timestamp with time zone NOT NULL
TABLE tributary.origin COLUMN org text NOT NULL
TABLE tributary.origin COLUMN origin text NOT NULL
TABLE tributary.origin COLUMN "position" bigint NOT NULL
TABLE tributary.origin COLUMN quarantined bigint NOT NULL
TABLE tributary.origin COLUMN site text NOT NULL
TABLE tributary.origin COLUMN through bigint NOT NULL
TABLE tributary.owner COLUMN entity_id text NOT NULL
TABLE tributary.owner COLUMN entity_type text NOT NULL
TABLE tributary.owner COLUMN org text NOT NULL
TABLE tributary.owner COLUMN "position" bigint NOT NULL
TABLE tributary.parked COLUMN entity_id text NOT NULL
TABLE tributary.parked COLUMN entity_type text
TABLE tributary.parked COLUMN error text NOT NULL
TABLE tributary.parked COLUMN generation integer NOT NULL
TABLE tributary.parked COLUMN origin text NOT NULL
TABLE tributary.parked COLUMN parked_at timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.parked COLUMN "position" bigint NOT NULL
TABLE tributary.parked COLUMN seq bigint NOT NULL
TABLE tributary.parked COLUMN stack text NOT NULL
TABLE tributary.parked COLUMN state text
TABLE tributary.parked COLUMN type text NOT NULL
TABLE tributary.parked COLUMN view text NOT NULL
TABLE tributary.projector COLUMN heartbeat_at timestamp with time zone NOT NULL
TABLE tributary.projector COLUMN name text NOT NULL
TABLE tributary.projector COLUMN number integer NOT NULL
TABLE tributary.quarantine COLUMN actor text NOT NULL
TABLE tributary.quarantine COLUMN code text NOT NULL
TABLE tributary.quarantine COLUMN entity_id text NOT NULL
TABLE tributary.quarantine COLUMN entity_type text NOT NULL
TABLE tributary.quarantine COLUMN hash text NOT NULL DEFAULT ''::text
TABLE tributary.quarantine COLUMN id uuid NOT NULL
TABLE tributary.quarantine COLUMN origin text NOT NULL
TABLE tributary.quarantine COLUMN path text
TABLE tributary.quarantine COLUMN "position" bigint NOT NULL
TABLE tributary.quarantine COLUMN raw text NOT NULL
TABLE tributary.quarantine COLUMN reason text NOT NULL
TABLE tributary.quarantine COLUMN recorded_at timestamp with time zone NOT NULL
TABLE tributary.quarantine COLUMN released_data json
TABLE tributary.quarantine COLUMN released_subject text
TABLE tributary.quarantine COLUMN released_version integer
TABLE tributary.quarantine COLUMN schema_subject text NOT NULL
TABLE tributary.quarantine COLUMN schema_version double precision NOT NULL
TABLE tributary.quarantine COLUMN seq bigint NOT NULL
TABLE tributary.quarantine COLUMN settled_at timestamp with time zone
TABLE tributary.quarantine COLUMN settled_by text
TABLE tributary.quarantine COLUMN settled_note text
TABLE tributary.quarantine COLUMN settled_position bigint
TABLE tributary.quarantine COLUMN site text NOT NULL
TABLE tributary.quarantine COLUMN state text NOT NULL DEFAULT 'held'::text
TABLE tributary.quarantine COLUMN type text NOT NULL
TABLE tributary.quarantine_beyond COLUMN actor text NOT NULL
TABLE tributary.quarantine_beyond COLUMN code text NOT NULL
TABLE tributary.quarantine_beyond COLUMN entity_id text NOT NULL
TABLE tributary.quarantine_beyond COLUMN entity_type text NOT NULL
TABLE tributary.quarantine_beyond COLUMN hash text NOT NULL
TABLE tributary.quarantine_beyond COLUMN id uuid NOT NULL
TABLE tributary.quarantine_beyond COLUMN incarnation text
TABLE tributary.quarantine_beyond COLUMN noticed_at timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.quarantine_beyond COLUMN origin text NOT NULL
TABLE tributary.quarantine_beyond COLUMN path text
TABLE tributary.quarantine_beyond COLUMN "position" bigint NOT NULL
TABLE tributary.quarantine_beyond COLUMN raw text NOT NULL
TABLE tributary.quarantine_beyond COLUMN reason text NOT NULL
TABLE tributary.quarantine_beyond COLUMN recorded_at timestamp with time zone NOT NULL
TABLE tributary.quarantine_beyond COLUMN released_data json
TABLE tributary.quarantine_beyond COLUMN released_subject text
TABLE tributary.quarantine_beyond COLUMN released_version integer
TABLE tributary.quarantine_beyond COLUMN schema_subject text NOT NULL
TABLE tributary.quarantine_beyond COLUMN schema_version double precision NOT NULL
TABLE tributary.quarantine_beyond COLUMN seq bigint NOT NULL
TABLE tributary.quarantine_beyond COLUMN settled_at timestamp with time zone
TABLE tributary.quarantine_beyond COLUMN settled_by text
TABLE tributary.quarantine_beyond COLUMN settled_note text
TABLE tributary.quarantine_beyond COLUMN settled_position bigint
TABLE tributary.quarantine_beyond COLUMN site text NOT NULL
TABLE tributary.quarantine_beyond COLUMN state text NOT NULL
TABLE tributary.quarantine_beyond COLUMN type text NOT NULL
TABLE tributary.reconciliation COLUMN at timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.reconciliation COLUMN comparisons bigint NOT NULL
TABLE tributary.reconciliation COLUMN differing json NOT NULL
TABLE tributary.reconciliation COLUMN id bigint NOT NULL GENERATED ALWAYS AS IDENTITY
TABLE tributary.reconciliation COLUMN "position" bigint
TABLE tributary.reconciliation COLUMN repaired boolean NOT NULL
TABLE tributary.reconciliation COLUMN rows bigint NOT NULL
TABLE tributary.reconciliation COLUMN view text NOT NULL
TABLE tributary.refold COLUMN asked_at timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.refold COLUMN asked_by integer
TABLE tributary.refold COLUMN entity_id text NOT NULL
TABLE tributary.refold COLUMN shard integer NOT NULL
TABLE tributary.refold COLUMN view text NOT NULL
TABLE tributary.seal COLUMN at timestamp with time zone NOT NULL DEFAULT now()
TABLE tributary.seal COLUMN number bigint NOT NULL
TABLE tributary.seal COLUMN revision bigint
TABLE tributary.seal COLUMN through bigint NOT NULL
TABLE tributary.segment COLUMN bucket text NOT NULL
TABLE tributary.segment COLUMN count bigint NOT NULL
TABLE tributary.segment COLUMN fingerprint text NOT NULL
TABLE tributary.segment COLUMN head text NOT NULL
TABLE tributary.segment COLUMN lines bigint NOT NULL
TABLE tributary.segment COLUMN seal bigint NOT NULL
TABLE tributary.segment COLUMN through bigint NOT NULL
TABLE tributary.shard COLUMN fence bigint NOT NULL DEFAULT 0
TABLE tributary.shard COLUMN holder integer
TABLE tributary.shard COLUMN layout bigint NOT NULL DEFAULT 0
TABLE tributary.shard COLUMN lease_until timestamp with time zone
TABLE tributary.shard COLUMN "position" bigint
TABLE tributary.shard COLUMN shard integer NOT NULL
TABLE tributary.told COLUMN through bigint NOT NULL
TABLE tributary.audit CONSTRAINT audit_pkey PRIMARY KEY (origin, seq)
TABLE tributary.bucket CONSTRAINT bucket_pkey PRIMARY KEY (id)
TABLE tributary.case_note CONSTRAINT case_note_pkey PRIMARY KEY (case_id, "position")
TABLE tributary.case_row CONSTRAINT case_row_pkey PRIMARY KEY (view, generation, id)
TABLE tributary.change CONSTRAINT change_pkey PRIMARY KEY (number)
TABLE tributary.change_head CONSTRAINT change_head_is_only_check CHECK (is_only)
TABLE tributary.change_head CONSTRAINT change_head_pkey PRIMARY KEY (is_only)
TABLE tributary.decision_row CONSTRAINT decision_row_pkey PRIMARY KEY (view, generation, entity_id, register, "position", superseded_at)
TABLE tributary.feed CONSTRAINT feed_pkey PRIMARY KEY ("position", ordinal)
TABLE tributary.feed_note CONSTRAINT feed_note_pkey PRIMARY KEY ("position")
TABLE tributary.feed_scope CONSTRAINT feed_scope_pkey PRIMARY KEY (entity_type)
TABLE tributary.feed_shut CONSTRAINT feed_shut_one_check CHECK (one)
TABLE tributary.feed_shut CONSTRAINT feed_shut_pkey PRIMARY KEY (one)
TABLE tributary.fork_case CONSTRAINT fork_case_pkey PRIMARY KEY (id)
TABLE tributary.generation CONSTRAINT generation_pkey PRIMARY KEY (view, generation)
TABLE tributary.held CONSTRAINT held_pkey PRIMARY KEY (entity_type, entity_id)
TABLE tributary.holding CONSTRAINT holding_pkey PRIMARY KEY (n)
TABLE tributary.incarnation CONSTRAINT incarnation_id_key UNIQUE (id)
TABLE tributary.incarnation CONSTRAINT incarnation_pkey PRIMARY KEY (number)
TABLE tributary.migration CONSTRAINT migration_pkey PRIMARY KEY (name)
TABLE tributary.notification CONSTRAINT notification_key_key UNIQUE (key)
TABLE tributary.notification CONSTRAINT notification_pkey PRIMARY KEY (id)
TABLE tributary.origin CONSTRAINT origin_pkey PRIMARY KEY (origin)
TABLE tributary.owner CONSTRAINT owner_pkey PRIMARY KEY (entity_type, entity_id)
TABLE tributary.parked CONSTRAINT parked_pkey PRIMARY KEY (view, generation, entity_id)
TABLE tributary.projector CONSTRAINT projector_pkey PRIMARY KEY (number)
TABLE tributary.quarantine CONSTRAINT quarantine_pkey PRIMARY KEY (origin, seq)
TABLE tributary.reconciliation CONSTRAINT reconciliation_pkey PRIMARY KEY (id)
TABLE tributary.refold CONSTRAINT refold_pkey PRIMARY KEY (view, entity_id)
TABLE tributary.seal CONSTRAINT seal_pkey PRIMARY KEY (number)
TABLE tributary.segment CONSTRAINT segment_pkey PRIMARY KEY (bucket, seal)
TABLE tributary.shard CONSTRAINT shard_pkey PRIMARY KEY (shard)
CREATE INDEX audit_by_entity ON tributary.audit USING btree (entity_type, entity_id, "position")
CREATE INDEX audit_by_position ON tributary.audit USING btree ("position")
CREATE INDEX audit_clipped ON tributary.audit USING btree ("position") WHERE (clipped IS NOT NULL)
CREATE INDEX audit_held_otherwise ON tributary.audit USING btree (((held_otherwise ->> 'entity_id'::text))) WHERE (held_otherwise IS NOT NULL)
CREATE INDEX audit_placing ON tributary.audit USING gist ((
CASE
    WHEN (
    CASE
        WHEN ((data ->> 'from'::text) ~ '^[0-9]{1,16}$'::text) THEN ((data ->> 'from'::text))::bigint
        ELSE NULL::bigint
    END <=
    CASE
        WHEN ((data ->> 'through'::text) ~ '^[0-9]{1,16}$'::text) THEN ((data ->> 'through'::text))::bigint
        ELSE NULL::bigint
    END) THEN numrange((((hashtext(entity_id))::numeric * ('10000000000000000'::bigint)::numeric) + (
    CASE
        WHEN ((data ->> 'from'::text) ~ '^[0-9]{1,16}$'::text) THEN ((data ->> 'from'::text))::bigint
        ELSE NULL::bigint
    END)::numeric), (((hashtext(entity_id))::numeric * ('10000000000000000'::bigint)::numeric) + (
    CASE
        WHEN ((data ->> 'through'::text) ~ '^[0-9]{1,16}$'::text) THEN ((data ->> 'through'::text))::bigint
        ELSE NULL::bigint
    END)::numeric), '[]'::text)
    ELSE NULL::numrange
END)) WHERE ((entity_type = 'order-note'::text) AND (type = 'order.noted'::text) AND (site = 'hub'::text) AND (device = 'order'::text))
CREATE INDEX audit_taken ON tributary.audit USING btree ("position") WHERE (taken_by IS NOT NULL)
CREATE INDEX audit_beyond_by_event ON tributary.audit_beyond USING btree (origin, seq)
CREATE INDEX case_by_id ON tributary.case_row USING btree (id)
CREATE INDEX case_of ON tributary.case_row USING btree (of) WHERE (of IS NOT NULL)
CREATE INDEX case_open ON tributary.case_row USING btree (view, generation) WHERE (closed_position IS NULL)
CREATE UNIQUE INDEX debt_once ON tributary.debt USING btree (device, bucket, seal, COALESCE(entity_id, ''::text))
CREATE INDEX debt_open ON tributary.debt USING btree (since) WHERE ("position" IS NULL)
CREATE INDEX decision_open ON tributary.decision_row USING btree (view, generation, entity_id, register) WHERE ((settled_position IS NULL) AND (superseded_at = '9223372036854775807'::bigint))
CREATE INDEX feed_exits ON tributary.feed USING btree (bucket, seal, "position", ordinal) WHERE ((seal IS NOT NULL) AND (kind = 'exit'::text))
CREATE INDEX feed_of_bucket ON tributary.feed USING btree (bucket, seal, "position", ordinal) WHERE (seal IS NOT NULL)
CREATE INDEX feed_of_entity ON tributary.feed USING btree (entity_type, entity_id, seal, "position", ordinal) WHERE (seal IS NOT NULL)
CREATE INDEX feed_unsealed ON tributary.feed USING btree ("position", ordinal) WHERE (seal IS NULL)
CREATE UNIQUE INDEX generation_live ON tributary.generation USING btree (view) WHERE (state = 'live'::text)
CREATE INDEX held_in_bucket ON tributary.held USING btree (bucket, key)
CREATE UNIQUE INDEX holding_now ON tributary.holding USING btree (holder) WHERE (buckets IS NOT NULL)
CREATE INDEX holding_of ON tributary.holding USING btree (holder, n)
CREATE UNIQUE INDEX member_now ON tributary.member USING btree (entity_type, entity_id) WHERE (until IS NULL)
CREATE INDEX member_past ON tributary.member USING btree (entity_type, entity_id) WHERE (until IS NOT NULL)
CREATE INDEX notification_waiting ON tributary.notification USING btree (next_try_at) WHERE (state = 'waiting'::text)
CREATE INDEX quarantine_held ON tributary.quarantine USING btree ("position") WHERE (state = 'held'::text)
CREATE INDEX segment_by_seal ON tributary.segment USING btree (seal)
SEQUENCE tributary.generation_number integer
SEQUENCE tributary.projector_number integer
VIEW tributary."case" AS
 SELECT case_any.generation,
    case_any.view,
    case_any.id,
    case_any.kind,
    case_any.entity_type,
    case_any.subject,
    case_any.rule,
    case_any.says,
    case_any.about,
    case_any.mark,
    case_any.opened_position,
    case_any.opened_at,
    case_any.changed_position,
    case_any.closed_position,
    case_any.assignee,
    case_any.accepted_position,
    case_any.accepted_by,
    case_any.accepted_note,
    case_any.state,
    case_any.org,
    case_any.accepted_at
   FROM case_any
  WHERE ((case_any.org IS NULL) OR (case_any.org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[])));
VIEW tributary.case_any AS
 SELECT c.generation,
    c.view,
    c.id,
    c.kind,
    c.entity_type,
    c.subject,
    c.rule,
    c.says,
    c.about,
    c.mark,
    c.opened_position,
    c.opened_at,
    c.changed_position,
    c.closed_position,
    n.assignee,
    a."position" AS accepted_position,
    a.actor AS accepted_by,
    a.text AS accepted_note,
        CASE
            WHEN (c.closed_position IS NOT NULL) THEN 'closed'::text
            WHEN (a."position" IS NOT NULL) THEN 'accepted'::text
            ELSE 'open'::text
        END AS state,
    c.org,
    a.recorded_at AS accepted_at
   FROM ((( SELECT r.generation,
            r.view,
            r.id,
            r.kind,
            r.entity_type,
            r.subject,
            r.rule,
            r.says,
            r.about,
            r.mark,
            r.opened_position,
            r.opened_at,
            r.changed_position,
            r.closed_position,
            r.org
           FROM (case_row r
             JOIN generation g USING (view, generation))
          WHERE (g.state = 'live'::text)
        UNION ALL
         SELECT 0,
            'devices'::text,
            fork_case.id,
            'fork'::text,
            'device'::text,
            fork_case.device,
            fork_case.origin,
            fork_case.says,
            fork_case.about,
            fork_case.mark,
            fork_case.opened_position,
            fork_case.opened_at,
            fork_case.opened_position,
            NULL::bigint,
            NULL::text
           FROM fork_case) c
     LEFT JOIN LATERAL ( SELECT n_1.assignee
           FROM case_note n_1
          WHERE ((n_1.case_id = c.id) AND (n_1.kind = 'assigned'::text))
          ORDER BY n_1."position" DESC
         LIMIT 1) n ON (true))
     LEFT JOIN LATERAL ( SELECT n_1."position",
            n_1.actor,
            n_1.text,
            n_1.recorded_at
           FROM case_note n_1
          WHERE ((n_1.case_id = ANY ((ARRAY( SELECT o.id
                   FROM case_row o
                  WHERE ((o.of = c.id) AND (o.generation = c.generation))) || c.id))) AND (n_1.kind = 'accepted'::text) AND (n_1.mark = c.mark))
          ORDER BY n_1."position"
         LIMIT 1) a ON (true));
VIEW tributary.checkpoint AS
 SELECT 'main'::text AS name,
        CASE
            WHEN bool_or((shard."position" IS NULL)) THEN NULL::bigint
            ELSE min(shard."position")
        END AS "position"
   FROM shard;
VIEW tributary.decision AS
 SELECT d.view,
    d.entity_id,
    d.register,
    d."position",
    d.rule,
    d.rule_version,
    d.reason,
    d.winner,
    d.losers,
    d.settled_position,
    d.generation,
    d.value,
    d.is_open
   FROM (decision_row d
     JOIN generation g USING (view, generation))
  WHERE ((g.state = 'live'::text) AND (d.superseded_at = '9223372036854775807'::bigint));
VIEW tributary.decision_superseded AS
 SELECT d.view,
    d.entity_id,
    d.register,
    d."position",
    d.rule,
    d.rule_version,
    d.reason,
    d.winner,
    d.losers,
    d.settled_position,
    d.generation,
    d.value,
    d.is_open,
    GREATEST(d."position", d.known_from) AS known_from,
    d.superseded_at
   FROM (decision_row d
     JOIN generation g USING (view, generation))
  WHERE ((g.state = 'live'::text) AND (d.superseded_at < '9223372036854775807'::bigint));
VIEW tributary.view AS
 SELECT generation.view AS name,
    generation.generation,
    generation.kind,
    generation.shape,
    generation.readers
   FROM generation
  WHERE (generation.state = 'live'::text);
POLICY tributary_overseen ON tributary.audit FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.audit FOR SELECT TO tributary_reader_NAME USING
((org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[])) OR ((quarantine_code IS NULL) AND (EXISTS ( SELECT
   FROM owner o
  WHERE ((o.entity_type = audit.entity_type) AND (o.entity_id = audit.entity_id) AND (o.org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[])))))))
POLICY tributary_overseen ON tributary.audit_beyond FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.audit_beyond FOR SELECT TO tributary_reader_NAME USING
((org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[])) OR ((quarantine_code IS NULL) AND (EXISTS ( SELECT
   FROM owner o
  WHERE ((o.entity_type = audit_beyond.entity_type) AND (o.entity_id = audit_beyond.entity_id) AND (o.org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[])))))))
POLICY tributary_overseen ON tributary.bucket FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_overseen ON tributary.case_note FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.case_note FOR SELECT TO tributary_reader_NAME USING
((EXISTS ( SELECT
   FROM case_row c
  WHERE (c.id = case_note.case_id))) OR (EXISTS ( SELECT
   FROM fork_case f
  WHERE (f.id = case_note.case_id))))
POLICY tributary_overseen ON tributary.case_note_beyond FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.case_note_beyond FOR SELECT TO tributary_reader_NAME USING
((EXISTS ( SELECT
   FROM case_row c
  WHERE (c.id = case_note_beyond.case_id))) OR (EXISTS ( SELECT
   FROM fork_case f
  WHERE (f.id = case_note_beyond.case_id))))
POLICY tributary_overseen ON tributary.case_row FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.case_row FOR SELECT TO tributary_reader_NAME USING
((org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[])) OR (((about -> 'count'::text) IS NULL) AND ((about -> 'values'::text) IS NULL) AND (EXISTS ( SELECT
   FROM owner o
  WHERE ((o.entity_type = case_row.entity_type) AND (o.entity_id = case_row.subject) AND (o.org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[])))))))
POLICY tributary_overseen ON tributary.change FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.change FOR SELECT TO tributary_reader_NAME USING

CASE
    WHEN (kind = 'row'::text) THEN (EXISTS ( SELECT
       FROM owner o
      WHERE ((o.entity_type = change.entity_type) AND (o.entity_id = change.id) AND (o.org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[])))))
    WHEN (kind = ANY (ARRAY['opened'::text, 'case'::text])) THEN ((EXISTS ( SELECT
       FROM case_row c
      WHERE (c.id = change.id))) OR (EXISTS ( SELECT
       FROM fork_case f
      WHERE (f.id = change.id))))
    ELSE (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array) IS NOT NULL)
END
POLICY tributary_overseen ON tributary.debt FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_overseen ON tributary.decision_row FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.decision_row FOR SELECT TO tributary_reader_NAME USING
(EXISTS ( SELECT
   FROM owner o
  WHERE ((o.entity_type = decision_row.entity_type) AND (o.entity_id = decision_row.entity_id) AND (o.org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[])))))
POLICY tributary_overseen ON tributary.feed FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.feed FOR SELECT TO tributary_reader_NAME USING
(EXISTS ( SELECT
   FROM owner o
  WHERE ((o.entity_type = feed.entity_type) AND (o.entity_id = feed.entity_id) AND (o.org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[])))))
POLICY tributary_overseen ON tributary.feed_note FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_overseen ON tributary.fork_case FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.fork_case FOR SELECT TO tributary_reader_NAME USING
(split_part(origin, '.'::text, 1) = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[]))
POLICY tributary_overseen ON tributary.held FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.held FOR SELECT TO tributary_reader_NAME USING
(EXISTS ( SELECT
   FROM owner o
  WHERE ((o.entity_type = held.entity_type) AND (o.entity_id = held.entity_id) AND (o.org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[])))))
POLICY tributary_overseen ON tributary.holding FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_overseen ON tributary.member FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.member FOR SELECT TO tributary_reader_NAME USING
(EXISTS ( SELECT
   FROM owner o
  WHERE ((o.entity_type = member.entity_type) AND (o.entity_id = member.entity_id) AND (o.org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[])))))
POLICY tributary_overseen ON tributary.notification FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_overseen ON tributary.origin FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.origin FOR SELECT TO tributary_reader_NAME USING
(org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[]))
POLICY tributary_overseen ON tributary.owner FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.owner FOR SELECT TO tributary_reader_NAME USING
(org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[]))
POLICY tributary_overseen ON tributary.parked FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.parked FOR SELECT TO tributary_reader_NAME USING
(EXISTS ( SELECT
   FROM owner o
  WHERE ((o.entity_type = parked.entity_type) AND (o.entity_id = parked.entity_id) AND (o.org = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[])))))
POLICY tributary_overseen ON tributary.quarantine FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.quarantine FOR SELECT TO tributary_reader_NAME USING
(split_part(origin, '.'::text, 1) = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[]))
POLICY tributary_overseen ON tributary.quarantine_beyond FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_seen ON tributary.quarantine_beyond FOR SELECT TO tributary_reader_NAME USING
(split_part(origin, '.'::text, 1) = ANY (( SELECT string_to_array(NULLIF(current_setting('tributary.orgs'::text, true), ''::text), ','::text) AS string_to_array)::text[]))
POLICY tributary_overseen ON tributary.reconciliation FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_overseen ON tributary.refold FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
POLICY tributary_overseen ON tributary.segment FOR SELECT TO tributary_all_rows_NAME, tributary_overseer_NAME USING
true
TABLE tributary.audit ENABLE ROW LEVEL SECURITY
TABLE tributary.audit_beyond ENABLE ROW LEVEL SECURITY
TABLE tributary.bucket ENABLE ROW LEVEL SECURITY
TABLE tributary.case_note ENABLE ROW LEVEL SECURITY
TABLE tributary.case_note_beyond ENABLE ROW LEVEL SECURITY
TABLE tributary.case_row ENABLE ROW LEVEL SECURITY
TABLE tributary.change ENABLE ROW LEVEL SECURITY
TABLE tributary.debt ENABLE ROW LEVEL SECURITY
TABLE tributary.decision_row ENABLE ROW LEVEL SECURITY
TABLE tributary.feed ENABLE ROW LEVEL SECURITY
TABLE tributary.feed_note ENABLE ROW LEVEL SECURITY
TABLE tributary.fork_case ENABLE ROW LEVEL SECURITY
TABLE tributary.held ENABLE ROW LEVEL SECURITY
TABLE tributary.holding ENABLE ROW LEVEL SECURITY
TABLE tributary.member ENABLE ROW LEVEL SECURITY
TABLE tributary.notification ENABLE ROW LEVEL SECURITY
TABLE tributary.origin ENABLE ROW LEVEL SECURITY
TABLE tributary.owner ENABLE ROW LEVEL SECURITY
TABLE tributary.parked ENABLE ROW LEVEL SECURITY
TABLE tributary.quarantine ENABLE ROW LEVEL SECURITY
TABLE tributary.quarantine_beyond ENABLE ROW LEVEL SECURITY
TABLE tributary.reconciliation ENABLE ROW LEVEL SECURITY
TABLE tributary.refold ENABLE ROW LEVEL SECURITY
TABLE tributary.segment ENABLE ROW LEVEL SECURITY
