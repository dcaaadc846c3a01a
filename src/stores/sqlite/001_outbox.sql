-- The messages. The application only inserts; topic is required, everything else has a default.
-- seq is the order of the commits: one transaction writes at a time, and AUTOINCREMENT gives no
-- number out again. The payload stands last, so that a large one does not have to be read past.
-- Only functions that every connection allows are used (json_valid() is refused with trusted_schema=OFF),
-- so what stands between the braces of the headers is looked at when they are sent.
-- An id that is not given is a UUID of version 7 (RFC 9562): milliseconds since 1970, then chance.
-- The names of the constraints are what the application is told when an insert is refused.
CREATE TABLE outbox_message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL DEFAULT (lower(printf('%08x-%04x-7%s-%s%s-%s',
        CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) >> 16,
        CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) & 65535,
        substr(hex(randomblob(2)), 2), substr('89ab', 1 + (random() & 3), 1), substr(hex(randomblob(2)), 2),
        hex(randomblob(6)))))
        CONSTRAINT "outbox: id must be text of 1 to 255 bytes"
        CHECK (typeof(id) = 'text' AND length(CAST(id AS BLOB)) BETWEEN 1 AND 255),
    topic TEXT NOT NULL
        CONSTRAINT "outbox: topic must be text of 1 to 255 bytes"
        CHECK (typeof(topic) = 'text' AND length(CAST(topic AS BLOB)) BETWEEN 1 AND 255),
    partition_key TEXT
        CONSTRAINT "outbox: partition_key must be text of at most 255 bytes"
        CHECK (partition_key IS NULL OR
               typeof(partition_key) = 'text' AND length(CAST(partition_key AS BLOB)) <= 255),
    type TEXT
        CONSTRAINT "outbox: type must be text of at most 255 bytes"
        CHECK (type IS NULL OR typeof(type) = 'text' AND length(CAST(type AS BLOB)) <= 255),
    content_type TEXT
        CONSTRAINT "outbox: content_type must be text of at most 255 bytes"
        CHECK (content_type IS NULL OR
               typeof(content_type) = 'text' AND length(CAST(content_type AS BLOB)) <= 255),
    headers TEXT
        CONSTRAINT "outbox: headers must be a JSON object of at most 64 KiB"
        CHECK (headers IS NULL OR
               typeof(headers) = 'text' AND length(CAST(headers AS BLOB)) <= 65536 AND
               trim(headers, char(32, 9, 10, 13)) GLOB '{*}'),
    deliver_after TEXT
        CONSTRAINT "outbox: deliver_after must be a time such as 2030-01-31T12:00:00.000Z"
        CHECK (deliver_after IS NULL OR
               deliver_after GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
               AND julianday(deliver_after) IS NOT NULL),
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    payload
);

-- Which outbox this is. `adopted` names the file that a person has adopted after it was replaced.
CREATE TABLE outbox_instance (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    adopted TEXT NOT NULL DEFAULT ''
);
INSERT INTO outbox_instance (one, id) VALUES (1, lower(hex(randomblob(16))));

CREATE TABLE outbox_subscription (
    name TEXT PRIMARY KEY,
    topics TEXT NOT NULL,
    order_by INTEGER NOT NULL,
    sink TEXT NOT NULL,
    hold_key INTEGER NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) WITHOUT ROWID;

-- Every message up to `position` is settled: delivered, parked or dead. A replay reads those behind
-- replay_position up to replay_end once more.
CREATE TABLE outbox_checkpoint (
    subscription TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    replay_position INTEGER,
    replay_end INTEGER
) WITHOUT ROWID;

-- Who runs a subscription. `holder` is random and `beat` rises with each renewal, so that a file that
-- went back in time cannot match what a relay remembers. Times are milliseconds since 1970.
CREATE TABLE outbox_lease (
    subscription TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL,
    holder TEXT NOT NULL DEFAULT '',
    beat INTEGER NOT NULL DEFAULT 0,
    owner TEXT NOT NULL DEFAULT '',
    lease_ms INTEGER NOT NULL DEFAULT 0,
    expires_at INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT '',
    code TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL DEFAULT '',
    state_since INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Messages that wait for a later try, with a copy of the message. Of each lane (the hash of the key)
-- the head is tried and the others wait behind it; `lane` 0 holds no key. `payload_bytes` is set when
-- the payload was too large to copy: it then stays in the log.
CREATE TABLE outbox_parked (
    subscription TEXT NOT NULL,
    position INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    scheduled INTEGER NOT NULL,
    head INTEGER NOT NULL,
    due_at INTEGER,
    attempts INTEGER NOT NULL,
    first_try_at INTEGER,
    parked_at INTEGER NOT NULL,
    code TEXT NOT NULL,
    text TEXT NOT NULL,
    tries TEXT NOT NULL,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition_key TEXT,
    type TEXT,
    content_type TEXT,
    headers TEXT,
    created_at TEXT NOT NULL,
    payload_bytes INTEGER,
    payload
);
CREATE UNIQUE INDEX outbox_parked_position ON outbox_parked (subscription, position);
CREATE INDEX outbox_parked_due ON outbox_parked (subscription, due_at) WHERE head = 1;
CREATE INDEX outbox_parked_head ON outbox_parked (subscription, lane) WHERE head = 1;
CREATE INDEX outbox_parked_lane ON outbox_parked (subscription, scheduled, lane, position);
CREATE INDEX outbox_parked_log ON outbox_parked (position) WHERE payload_bytes IS NOT NULL;

-- Messages that were given up. `holds_key`: the later messages of the key wait for a person.
CREATE TABLE outbox_dead (
    subscription TEXT NOT NULL,
    position INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    holds_key INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    first_try_at INTEGER,
    dead_at INTEGER NOT NULL,
    code TEXT NOT NULL,
    text TEXT NOT NULL,
    tries TEXT NOT NULL,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition_key TEXT,
    type TEXT,
    content_type TEXT,
    headers TEXT,
    created_at TEXT NOT NULL,
    payload_bytes INTEGER,
    payload
);
CREATE UNIQUE INDEX outbox_dead_position ON outbox_dead (subscription, position);
CREATE INDEX outbox_dead_held ON outbox_dead (subscription, lane) WHERE holds_key = 1;
CREATE INDEX outbox_dead_log ON outbox_dead (position) WHERE payload_bytes IS NOT NULL;
