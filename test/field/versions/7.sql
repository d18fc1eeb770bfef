-- A device's database as version 6 of its tables had it.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('device', 't1');
INSERT INTO meta VALUES ('hlc', '2026-03-01T08:03:00.000Z-0000');
INSERT INTO meta VALUES ('org', 'relief');
INSERT INTO meta VALUES ('site', 'juba');
CREATE TABLE origin (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, next_seq INTEGER NOT NULL, head TEXT NOT NULL,
    queued_through INTEGER NOT NULL, synced_through INTEGER NOT NULL, position TEXT, incarnation TEXT, kept_through INTEGER, offered_through INTEGER NOT NULL DEFAULT -1) STRICT;
INSERT INTO origin VALUES (1, 'relief.juba.t1.k3v9q2m7', 3, '3f88a4c0bfd1541eabbe790215c511511a361a72574debece28b7e6a33ea2fac', 1, 0, '4711', NULL, NULL, 1);
CREATE TABLE event (
    origin INTEGER NOT NULL, seq INTEGER NOT NULL, head TEXT NOT NULL, data TEXT NOT NULL, hash TEXT NOT NULL, fingerprint TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (origin, seq)) STRICT, WITHOUT ROWID;
INSERT INTO event VALUES (1, 0, '{"type":"beneficiary.registered","origin":"relief.juba.t1.k3v9q2m7","seq":0,"entity":{"type":"beneficiary","id":"JUB-000001"},"schema":{"subject":"beneficiary","version":2},"actor":"deng","org":"relief","occurredAt":"2026-03-01T08:01:00.000Z","hlc":"2026-03-01T08:01:00.000Z-0000","basis":{}}', '{"given_name":"Awɛŋ","registered_on":"2026-01-05","registration_no":"JUB-000001","sex":"female"}', '4d325daefa9a431174588875b85c0b87a8624af24d07d54c421060f89c681130', '6a277a7ea12ef39e');
INSERT INTO event VALUES (1, 1, '{"type":"beneficiary.updated","origin":"relief.juba.t1.k3v9q2m7","seq":1,"entity":{"type":"beneficiary","id":"JUB-000001"},"schema":{"subject":"beneficiary-update","version":1},"actor":"deng","org":"relief","occurredAt":"2026-03-01T08:02:00.000Z","hlc":"2026-03-01T08:02:00.000Z-0000","basis":{"relief.juba.t1.k3v9q2m7":0}}', '{"phone":"+211912345678"}', 'c14e62cdea6349544db45337d8cedd62e53b1503def94265a97689258e990c61', 'a5cc89f746634a2f');
INSERT INTO event VALUES (1, 2, '{"type":"beneficiary.updated","origin":"relief.juba.t1.k3v9q2m7","seq":2,"entity":{"type":"beneficiary","id":"JUB-000001"},"schema":{"subject":"beneficiary-update","version":1},"actor":"deng","org":"relief","occurredAt":"2026-03-01T08:03:00.000Z","hlc":"2026-03-01T08:03:00.000Z-0000","basis":{"relief.juba.t1.k3v9q2m7":1}}', '{"village":"Gumbo"}', '3f88a4c0bfd1541eabbe790215c511511a361a72574debece28b7e6a33ea2fac', 'a5cc89f746634a2f');
CREATE TABLE entity (type TEXT NOT NULL, id TEXT NOT NULL, vector TEXT NOT NULL, PRIMARY KEY (type, id)) STRICT, WITHOUT ROWID;
INSERT INTO entity VALUES ('beneficiary', 'JUB-000001', '{"relief.juba.t1.k3v9q2m7":2}');
CREATE TABLE quarantined (
    origin INTEGER NOT NULL, seq INTEGER NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'held', settled_reason TEXT,
    PRIMARY KEY (origin, seq)) STRICT, WITHOUT ROWID;
INSERT INTO quarantined VALUES (1, 0, 'invalid', 'it was tried', 'held', NULL);
CREATE TABLE imported_last (type TEXT NOT NULL, id TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (type, id)) STRICT, WITHOUT ROWID;
INSERT INTO imported_last VALUES ('beneficiary.registered', 'JUB-000001', 'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd');
CREATE TABLE imported_file (only INTEGER PRIMARY KEY CHECK (only = 1), digest TEXT NOT NULL, rows INTEGER NOT NULL) STRICT;
CREATE TABLE schema (subject TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL, refs TEXT NOT NULL,
    PRIMARY KEY (subject, version)) STRICT;
CREATE TABLE aside (
    origin INTEGER NOT NULL, seq INTEGER NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (origin, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE replica_bucket (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, scope TEXT NOT NULL, rank INTEGER NOT NULL, priority INTEGER NOT NULL,
    states_only INTEGER NOT NULL, phase TEXT NOT NULL, after TEXT, seal INTEGER NOT NULL, head TEXT NOT NULL, line INTEGER NOT NULL, digest TEXT NOT NULL,
    hub_end TEXT) STRICT;
CREATE TABLE replica_todo (bucket INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (bucket, kind, name)) STRICT, WITHOUT ROWID;
CREATE TABLE replica_part (bucket INTEGER NOT NULL, id TEXT NOT NULL, n INTEGER NOT NULL, event TEXT NOT NULL, PRIMARY KEY (bucket, id, n)) STRICT, WITHOUT ROWID;
CREATE TABLE replica_entity (n INTEGER PRIMARY KEY, type TEXT NOT NULL, id TEXT NOT NULL, leaving INTEGER, UNIQUE (type, id)) STRICT;
CREATE INDEX replica_entity_leaving ON replica_entity (leaving) WHERE leaving IS NOT NULL;
CREATE TABLE replica_member (
    bucket INTEGER NOT NULL, key TEXT NOT NULL, entity INTEGER NOT NULL, digest TEXT NOT NULL, has_events INTEGER NOT NULL,
    PRIMARY KEY (bucket, key, entity)) STRICT, WITHOUT ROWID;
CREATE INDEX replica_member_entity ON replica_member (entity);
CREATE TABLE replica_origin (n INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE replica_event (
    n INTEGER PRIMARY KEY, entity INTEGER NOT NULL, origin INTEGER NOT NULL, seq INTEGER NOT NULL, position INTEGER NOT NULL, recorded_at INTEGER NOT NULL,
    prev BLOB NOT NULL, hash BLOB NOT NULL, note TEXT, head TEXT NOT NULL, data TEXT, UNIQUE (entity, origin, seq)) STRICT;
CREATE TABLE replica_own (
    origin INTEGER NOT NULL, seq INTEGER NOT NULL, entity INTEGER NOT NULL, state TEXT NOT NULL, placed INTEGER NOT NULL,
    PRIMARY KEY (origin, seq)) STRICT, WITHOUT ROWID;
CREATE INDEX replica_own_entity ON replica_own (entity, state, placed);
CREATE INDEX replica_own_pending ON replica_own (origin, seq) WHERE state = 'pending';
CREATE INDEX replica_own_apart ON replica_own (origin, seq) WHERE state IN ('quarantined', 'settled', 'aside');
CREATE TABLE replica_own_through (origin INTEGER PRIMARY KEY, through INTEGER NOT NULL, purged_from INTEGER) STRICT;
CREATE TABLE replica_purge (
    n INTEGER PRIMARY KEY, bucket TEXT NOT NULL, seal INTEGER NOT NULL, entities INTEGER NOT NULL, events INTEGER NOT NULL, fingerprint TEXT NOT NULL,
    reason TEXT NOT NULL) STRICT;
CREATE TABLE replica_view (name TEXT PRIMARY KEY, shape TEXT NOT NULL, readers TEXT NOT NULL, is_older INTEGER NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = 7;
