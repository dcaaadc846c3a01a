-- Roles and schema. With the right to create roles there are four: outbox_owner owns everything and cannot log in,
-- outbox_app inserts messages, outbox_relay reads and settles them, outbox_monitor looks. Grant them to your own logins:
-- GRANT outbox_app TO shop. Without that right everything belongs to the user who runs this, and works as well.
DO $$
DECLARE
    role_name text;
    role_before text := current_setting('role');
    may_create boolean;
    owner_serves boolean := false;
BEGIN
    SELECT {roles} AND (rolsuper OR rolcreaterole) INTO may_create FROM pg_roles WHERE rolname = current_user;
    FOREACH role_name IN ARRAY ARRAY['outbox_owner', 'outbox_app', 'outbox_relay', 'outbox_monitor'] LOOP
        IF may_create AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- made by another database's migration at this moment
            END;
        END IF;
    END LOOP;
    IF may_create THEN
        BEGIN
            -- Who has made a role may give it away, but is not yet a member that can act as it (since version 16).
            EXECUTE format('GRANT outbox_owner TO %I', current_user);
        EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation THEN
            NULL; -- another administrator has made it
        END;
    END IF;
    IF {roles} AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'outbox_owner') THEN
        BEGIN
            -- No function tells in every version whether this is allowed.
            PERFORM set_config('role', 'outbox_owner', true);
            PERFORM set_config('role', role_before, true);
            owner_serves := true;
        EXCEPTION WHEN insufficient_privilege THEN
            NULL;
        END;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = '{schema_name}') THEN
        IF owner_serves THEN
            CREATE SCHEMA {schema} AUTHORIZATION outbox_owner;
        ELSE
            CREATE SCHEMA {schema};
        END IF;
    END IF;
    -- What is made from here on belongs to the schema's owner, so that no function runs with more rights than that.
    IF owner_serves AND EXISTS (SELECT FROM pg_namespace AS n JOIN pg_roles AS r ON r.oid = n.nspowner
                                WHERE n.nspname = '{schema_name}' AND r.rolname = 'outbox_owner') THEN
        PERFORM set_config('role', 'outbox_owner', true);
    END IF;
END
$$;

CREATE TABLE {schema}.migration (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Refuses a message that breaks a rule and says which; returns the partition of any other. Called for messages that the
-- table's own expression finds unusual. That one cannot be changed while the table lives, this one can.
CREATE FUNCTION {schema}.examine(seq bigint, topic text, partition_key text, type text, payload text, payload_bytes bytea,
    content_type text, headers jsonb) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken text := CASE
        WHEN octet_length(topic) NOT BETWEEN 1 AND 255 THEN 'topic must be of 1 to 255 bytes'
        WHEN octet_length(partition_key) > 255 THEN 'partition_key must be of at most 255 bytes'
        WHEN octet_length(type) > 255 THEN 'type must be of at most 255 bytes'
        WHEN octet_length(content_type) > 255 THEN 'content_type must be of at most 255 bytes'
        WHEN payload IS NOT NULL AND payload_bytes IS NOT NULL THEN 'at most one of payload and payload_bytes'
        WHEN jsonb_typeof(headers) <> 'object' OR octet_length(headers::text) > 65536
            THEN 'headers must be a JSON object of at most 64 KiB' END;
BEGIN
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'outbox: %', broken USING ERRCODE = 'check_violation';
    END IF;
    RETURN seq / 100000 % 16;
END
$$;

-- The messages. The application only inserts; topic is required, everything else has a default.
-- xid stands first and seq last, since a row's values are computed in this order: the transaction has its id before
-- anything else, and the number is drawn after every other expression, under whatever lock they took. The reader rests
-- on both.
--
-- The table is a ring of 16 partitions with stretches of 100,000 numbers. A stretch that every subscription has passed
-- is emptied as a whole. No partition is ever made or dropped while applications write. What a message may be is checked
-- in the expression that chooses its partition: CHECK constraints are parsed anew by each INSERT, and six of them took
-- as much time as all the rest of it.
CREATE TABLE {schema}.message (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    topic text NOT NULL,
    partition_key text,
    type text,
    payload text,
    payload_bytes bytea,
    content_type text,
    headers jsonb,
    deliver_after timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1)
) PARTITION BY LIST ((CASE
    WHEN greatest(octet_length(topic), octet_length(partition_key), octet_length(type), octet_length(content_type)) > 255
        OR topic = '' OR (payload IS NOT NULL AND payload_bytes IS NOT NULL)
        OR jsonb_typeof(headers) <> 'object' OR octet_length(headers::text) > 65536
    THEN {schema}.examine(seq, topic, partition_key, type, payload, payload_bytes, content_type, headers)
    ELSE seq / 100000 % 16 END));

-- Rows are never updated or deleted, and a partition is truncated when it was read: a vacuum after inserts would be in vain.
DO $$
BEGIN
    FOR i IN 0..15 LOOP
        EXECUTE format('CREATE TABLE {schema}.message_%s PARTITION OF {schema}.message FOR VALUES IN (%s)'
                       ' WITH (autovacuum_vacuum_insert_threshold = -1)', i, i);
    END LOOP;
END
$$;
CREATE INDEX message_seq ON {schema}.message (seq);
CREATE INDEX message_xid ON {schema}.message (xid, seq);

CREATE TABLE {schema}.subscription (
    name text PRIMARY KEY,
    topics text NOT NULL,
    order_by integer NOT NULL,
    sink text NOT NULL,
    hold_key boolean NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    shards integer NOT NULL DEFAULT 1,
    shards_next integer NOT NULL DEFAULT 0,
    common pg_snapshot,
    common_q bigint,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- While the number of shards is being changed, shards_next is the number to come, and common, with the number common_q that
-- was drawn before it, the point at which all present shards end and the next ones begin.

-- The relays that are ready to run shards of a subscription. `member` is random, `beat` rises each time one says so.
CREATE TABLE {schema}.member (
    subscription text NOT NULL,
    member bigint NOT NULL,
    owner text NOT NULL,
    beat bigint NOT NULL DEFAULT 0,
    live_ms bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    joined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (subscription, member)
) WITH (fillfactor = 50);

-- Which of so many shards a message belongs to: by its key, by its id when it has none. FROZEN: parked and dead rows are kept by
-- it, and shards have read by it. To change it, change the number of shards of each subscription in the same transaction.
CREATE FUNCTION {schema}.shard_of(key text, id uuid, shards integer) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ((CASE WHEN key IS NULL THEN pg_catalog.uuid_hash_extended(id, 0)
             ELSE pg_catalog.hashtextextended(key COLLATE pg_catalog."C", 0) END
             OPERATOR(pg_catalog.&) 9223372036854775807) OPERATOR(pg_catalog.%) shards)::pg_catalog.int4
$$;

-- How far a subscription's shard has come. Everything visible in snapshot s1 is settled: delivered, parked or dead. The
-- interval that is being settled is what s2 sees and s1 does not; of it everything up to number `at` is settled. q1 and q2
-- are numbers that were drawn before s1 and s2.
-- A replay reads again what stands behind replay_at and is visible in replay_s1, or in replay_s2 up to number replay_end.
-- `epoch` rises with each owner and each change by a person, `beat` with each settle.
CREATE TABLE {schema}.checkpoint (
    subscription text NOT NULL,
    shard integer NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    s1 pg_snapshot NOT NULL,
    q1 bigint NOT NULL,
    s2 pg_snapshot,
    q2 bigint,
    at bigint NOT NULL DEFAULT 0,
    beat bigint NOT NULL DEFAULT 0,
    replay_s1 pg_snapshot,
    replay_s2 pg_snapshot,
    replay_at bigint,
    replay_end bigint,
    replay_high bigint,
    system_identifier bigint NOT NULL,
    database_oid oid NOT NULL,
    PRIMARY KEY (subscription, shard)
) WITH (fillfactor = 50);

-- The newest snapshot that was taken to open an interval. A server that lacks it, such as a standby that was promoted, is not
-- the one that the relay read from. Apart and narrow, since it is written far more often than anything else.
CREATE TABLE {schema}.opening (
    subscription text NOT NULL,
    shard integer NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    snapshot pg_snapshot NOT NULL,
    PRIMARY KEY (subscription, shard)
) WITH (fillfactor = 50);

-- Who runs a subscription's shard. `holder` is random, `beat` rises with each renewal.
CREATE TABLE {schema}.lease (
    subscription text NOT NULL,
    shard integer NOT NULL,
    holder text NOT NULL DEFAULT '',
    beat bigint NOT NULL DEFAULT 0,
    owner text NOT NULL DEFAULT '',
    member bigint NOT NULL DEFAULT 0,
    lease_ms bigint NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT 'epoch',
    state text NOT NULL DEFAULT '',
    code text NOT NULL DEFAULT '',
    text text NOT NULL DEFAULT '',
    state_since timestamptz,
    delivered bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription, shard)
) WITH (fillfactor = 50);

-- Messages that wait for a later try, with a copy of the message. Of each lane (the hash of the key) the head is tried
-- and the others wait behind it; lane 0 holds no key.
CREATE TABLE {schema}.parked (
    subscription text NOT NULL,
    position bigint NOT NULL,
    shard integer NOT NULL,
    lane bigint NOT NULL,
    scheduled boolean NOT NULL,
    head boolean NOT NULL,
    due_at timestamptz,
    attempts integer NOT NULL,
    first_try_at timestamptz,
    parked_at timestamptz NOT NULL,
    code text NOT NULL,
    text text NOT NULL,
    tries text NOT NULL,
    id uuid NOT NULL,
    topic text NOT NULL,
    partition_key text,
    type text,
    payload text,
    payload_bytes bytea,
    content_type text,
    headers jsonb,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (subscription, position)
);
CREATE INDEX parked_due ON {schema}.parked (subscription, shard, due_at) WHERE head;
CREATE INDEX parked_head ON {schema}.parked (subscription, lane) WHERE head AND NOT scheduled;
CREATE INDEX parked_lane ON {schema}.parked (subscription, lane, position) WHERE NOT scheduled;

-- Messages that were given up. `holds_key`: the later messages of the key wait for a person.
CREATE TABLE {schema}.dead (
    subscription text NOT NULL,
    position bigint NOT NULL,
    shard integer NOT NULL,
    lane bigint NOT NULL,
    holds_key boolean NOT NULL,
    attempts integer NOT NULL,
    first_try_at timestamptz,
    dead_at timestamptz NOT NULL,
    code text NOT NULL,
    text text NOT NULL,
    tries text NOT NULL,
    id uuid NOT NULL,
    topic text NOT NULL,
    partition_key text,
    type text,
    payload text,
    payload_bytes bytea,
    content_type text,
    headers jsonb,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (subscription, position)
);
CREATE INDEX dead_held ON {schema}.dead (subscription, lane) WHERE holds_key;

-- When the ring was last turned; its row is what two turners wait for each other at.
CREATE TABLE {schema}.ring (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    turned_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    turns bigint NOT NULL DEFAULT 0
);
INSERT INTO {schema}.ring DEFAULT VALUES;

-- A hint for a relay that sleeps, where the application's role has SET outbox.notify = on: see notify.c.
CREATE FUNCTION {schema}.wake() RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF pg_catalog.pg_try_advisory_lock(1868721780, pg_catalog.hashtext('{schema_name}')) THEN
        PERFORM pg_catalog.pg_advisory_unlock(1868721780, pg_catalog.hashtext('{schema_name}'));
    ELSE
        PERFORM pg_catalog.pg_notify('{schema_name}', '');
    END IF;
END
$$;

-- Writes a message in the caller's transaction and returns its id. It has the caller's rights, and does what an INSERT does.
-- Every name has its schema, since the search path is the caller's; setting one would make each call slower.
CREATE FUNCTION {schema}.publish(topic text, payload text DEFAULT NULL, partition_key text DEFAULT NULL,
    type text DEFAULT NULL, headers jsonb DEFAULT NULL, deliver_after timestamptz DEFAULT NULL,
    content_type text DEFAULT NULL, id uuid DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    made pg_catalog.uuid := coalesce(publish.id, pg_catalog.gen_random_uuid());
BEGIN
    INSERT INTO {schema}.message (id, topic, partition_key, type, payload, content_type, headers, deliver_after)
    VALUES (made, publish.topic, publish.partition_key, publish.type, publish.payload, publish.content_type,
            publish.headers, publish.deliver_after);
    IF pg_catalog.current_setting('outbox.notify', true) OPERATOR(pg_catalog.=) 'on' THEN
        PERFORM {schema}.wake();
    END IF;
    RETURN made;
END
$$;
CREATE FUNCTION {schema}.publish(topic text, payload jsonb, partition_key text DEFAULT NULL,
    type text DEFAULT NULL, headers jsonb DEFAULT NULL, deliver_after timestamptz DEFAULT NULL,
    content_type text DEFAULT NULL, id uuid DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN {schema}.publish(publish.topic, publish.payload::pg_catalog.text, publish.partition_key, publish.type, publish.headers,
                            publish.deliver_after, publish.content_type, publish.id);
END
$$;
CREATE FUNCTION {schema}.publish(topic text, payload json, partition_key text DEFAULT NULL,
    type text DEFAULT NULL, headers jsonb DEFAULT NULL, deliver_after timestamptz DEFAULT NULL,
    content_type text DEFAULT NULL, id uuid DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN {schema}.publish(publish.topic, publish.payload::pg_catalog.text, publish.partition_key, publish.type, publish.headers,
                            publish.deliver_after, publish.content_type, publish.id);
END
$$;
CREATE FUNCTION {schema}.publish(topic text, payload bytea, partition_key text DEFAULT NULL,
    type text DEFAULT NULL, headers jsonb DEFAULT NULL, deliver_after timestamptz DEFAULT NULL,
    content_type text DEFAULT NULL, id uuid DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    made pg_catalog.uuid := coalesce(publish.id, pg_catalog.gen_random_uuid());
BEGIN
    INSERT INTO {schema}.message (id, topic, partition_key, type, payload_bytes, content_type, headers, deliver_after)
    VALUES (made, publish.topic, publish.partition_key, publish.type, publish.payload, publish.content_type,
            publish.headers, publish.deliver_after);
    IF pg_catalog.current_setting('outbox.notify', true) OPERATOR(pg_catalog.=) 'on' THEN
        PERFORM {schema}.wake();
    END IF;
    RETURN made;
END
$$;

-- House-keeping, with the owner's rights: the relay may neither truncate nor draw numbers nor change a message.

-- Whether something of a partition is still to be read: by a subscription that has not passed it, or by a replay. Looks into the
-- indexes alone: within an interval, a partition all of whose numbers are done is needed only if s2 does not see all of it.
CREATE FUNCTION {schema}.is_needed(partition integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = {schema}, pg_temp SET jit = off SET enable_seqscan = off AS $$
DECLARE
    needed boolean;
BEGIN
    -- A number within bounds is all that goes into the statement.
    EXECUTE pg_catalog.format('SELECT count(*) = 0 OR bool_or('
        ' EXISTS (SELECT FROM {schema}.message_%1$s AS m WHERE m.xid >= pg_snapshot_xmax(c.seen))'
        ' OR EXISTS (SELECT FROM pg_snapshot_xip(c.seen) AS late (xid),'
        ' LATERAL (SELECT FROM {schema}.message_%1$s AS m WHERE m.xid = late.xid LIMIT 1) AS one)'
        ' OR EXISTS (SELECT FROM {schema}.message_%1$s AS m WHERE m.seq > c.replay_at AND m.seq <= c.replay_high))'
        ' FROM (SELECT replay_at, replay_high, CASE WHEN at >= (SELECT max(seq) FROM {schema}.message_%1$s)'
        ' THEN coalesce(s2, s1) ELSE s1 END AS seen FROM {schema}.checkpoint) AS c', partition & 15) INTO needed;
    RETURN needed;
END
$$;

-- Empties a partition whose rows everybody has passed and whose retention is over; returns how many there were. Not the newest:
-- into that one the application writes. A writer that drew its number long ago and inserts only now waits for the lock and
-- then inserts, so its row is not lost. The checks are made again under the lock, and each statement must see what was
-- committed before it, which is so in READ COMMITTED alone.
CREATE FUNCTION {schema}.empty(partition integer, retention interval) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = {schema}, pg_temp SET lock_timeout = '40ms' AS $$
DECLARE
    rows bigint;
    youngest timestamptz;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'outbox: a partition can be emptied in READ COMMITTED alone';
    END IF;
    IF partition NOT BETWEEN 0 AND 15 THEN
        RAISE EXCEPTION 'outbox: there is no partition %', partition;
    END IF;
    IF coalesce(pg_sequence_last_value('{schema}.message_seq_seq'), 0) / 100000 % 16 = partition THEN
        RETURN 0;
    END IF;
    EXECUTE pg_catalog.format('SELECT created_at FROM {schema}.message_%s ORDER BY seq DESC LIMIT 1', partition) INTO youngest;
    IF youngest > clock_timestamp() - retention OR {schema}.is_needed(partition) THEN
        RETURN 0;
    END IF;
    -- One at a time, and only when nobody writes into it any more, or it would be counted again and again.
    EXECUTE pg_catalog.format('LOCK TABLE {schema}.message_%s IN SHARE ROW EXCLUSIVE MODE', partition);
    EXECUTE pg_catalog.format('SELECT count(*) FROM {schema}.message_%s', partition) INTO rows;
    EXECUTE pg_catalog.format('LOCK TABLE {schema}.message_%s IN ACCESS EXCLUSIVE MODE', partition);
    IF {schema}.is_needed(partition) THEN
        RETURN 0;
    END IF;
    EXECUTE pg_catalog.format('TRUNCATE {schema}.message_%s', partition);
    RETURN rows;
END
$$;

-- Turns the ring: burns the numbers that are left of the newest stretch, so that its partition is no longer the newest and can be
-- emptied. Only when it has rows, all of them passed, or has grown too large; never backwards, whoever else is drawing.
CREATE FUNCTION {schema}.turn(age interval, bytes bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = {schema}, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    last bigint;
    partition integer;
    turned timestamptz;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'outbox: the ring can be turned in READ COMMITTED alone';
    END IF;
    SELECT turned_at INTO turned FROM {schema}.ring FOR UPDATE;
    last := coalesce(pg_sequence_last_value('{schema}.message_seq_seq'), 0);
    partition := last / 100000 % 16;
    IF pg_relation_size(pg_catalog.format('{schema}.message_%s', partition)) = 0 THEN
        RETURN false;
    END IF;
    IF pg_table_size(pg_catalog.format('{schema}.message_%s', partition)) >= bytes THEN
        -- With the next one still full nothing would be won.
        IF pg_relation_size(pg_catalog.format('{schema}.message_%s', (partition + 1) % 16)) > 0 THEN
            RETURN false;
        END IF;
    ELSIF turned > clock_timestamp() - age OR {schema}.is_needed(partition) THEN
        RETURN false;
    END IF;
    PERFORM nextval('{schema}.message_seq_seq') FROM generate_series(last, (last / 100000 + 1) * 100000 - 1);
    UPDATE {schema}.ring SET turned_at = clock_timestamp(), turns = turns + 1;
    RETURN true;
END
$$;

-- For a database that was copied from another one. The transaction ids of its rows mean nothing here, and some would come up as
-- committed at some later time; a row that is visible although its id is not can only be of that kind. Gives all of
-- them the id of what was there before everything, which every snapshot sees. Their order is that of their numbers.
CREATE FUNCTION {schema}.stamp_anew() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    rows bigint;
BEGIN
    UPDATE {schema}.message SET xid = '3' WHERE NOT pg_visible_in_snapshot(xid, pg_current_snapshot());
    GET DIAGNOSTICS rows = ROW_COUNT;
    RETURN rows;
END
$$;

-- Nobody has a right that was not given here.
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC;
DO $$
BEGIN
    IF {roles} AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'outbox_app') THEN
        GRANT USAGE ON SCHEMA {schema} TO outbox_app;
        -- Reading back the id is what object-relational mappers need.
        GRANT INSERT (id, topic, partition_key, type, payload, payload_bytes, content_type, headers, deliver_after),
              SELECT (id) ON {schema}.message TO outbox_app;
        GRANT EXECUTE ON FUNCTION
            {schema}.examine(bigint, text, text, text, text, bytea, text, jsonb),
            {schema}.wake(),
            {schema}.publish(text, text, text, text, jsonb, timestamptz, text, uuid),
            {schema}.publish(text, jsonb, text, text, jsonb, timestamptz, text, uuid),
            {schema}.publish(text, json, text, text, jsonb, timestamptz, text, uuid),
            {schema}.publish(text, bytea, text, text, jsonb, timestamptz, text, uuid) TO outbox_app;
    END IF;
    IF {roles} AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'outbox_relay') THEN
        GRANT USAGE ON SCHEMA {schema} TO outbox_relay;
        GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO outbox_relay;
        GRANT SELECT ON SEQUENCE {schema}.message_seq_seq TO outbox_relay;
        GRANT INSERT, UPDATE, DELETE ON {schema}.subscription, {schema}.checkpoint, {schema}.opening, {schema}.lease,
              {schema}.member, {schema}.parked, {schema}.dead TO outbox_relay;
        GRANT EXECUTE ON FUNCTION {schema}.is_needed(integer), {schema}.empty(integer, interval),
            {schema}.turn(interval, bigint), {schema}.stamp_anew(), {schema}.shard_of(text, uuid, integer)
            TO outbox_relay;
    END IF;
    IF {roles} AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'outbox_monitor') THEN
        GRANT USAGE ON SCHEMA {schema} TO outbox_monitor;
        GRANT SELECT ON {schema}.migration, {schema}.subscription, {schema}.checkpoint, {schema}.opening, {schema}.lease,
              {schema}.member TO outbox_monitor;
        GRANT EXECUTE ON FUNCTION {schema}.shard_of(text, uuid, integer) TO outbox_monitor;
        -- Of messages only what tells them apart: no payload, no headers.
        GRANT SELECT (xid, id, topic, partition_key, type, content_type, deliver_after, created_at, seq)
              ON {schema}.message TO outbox_monitor;
        GRANT SELECT (subscription, position, shard, lane, scheduled, head, due_at, attempts, first_try_at, parked_at, code,
              text, tries, id, topic, partition_key, type, content_type, created_at) ON {schema}.parked TO outbox_monitor;
        GRANT SELECT (subscription, position, shard, lane, holds_key, attempts, first_try_at, dead_at, code, text, tries,
              id, topic, partition_key, type, content_type, created_at) ON {schema}.dead TO outbox_monitor;
        GRANT SELECT ON SEQUENCE {schema}.message_seq_seq TO outbox_monitor;
    END IF;
END
$$;
