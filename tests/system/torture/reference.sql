-- The log of messages as the reference reader needs it: the ring is small, so that it turns while the torture lasts.
CREATE SCHEMA outbox;
CREATE TABLE outbox.message (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    topic text NOT NULL,
    partition_key text,
    payload text,
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1)
) PARTITION BY LIST ((seq / 500 % 8));
CREATE TABLE outbox.message_0 PARTITION OF outbox.message FOR VALUES IN (0);
CREATE TABLE outbox.message_1 PARTITION OF outbox.message FOR VALUES IN (1);
CREATE TABLE outbox.message_2 PARTITION OF outbox.message FOR VALUES IN (2);
CREATE TABLE outbox.message_3 PARTITION OF outbox.message FOR VALUES IN (3);
CREATE TABLE outbox.message_4 PARTITION OF outbox.message FOR VALUES IN (4);
CREATE TABLE outbox.message_5 PARTITION OF outbox.message FOR VALUES IN (5);
CREATE TABLE outbox.message_6 PARTITION OF outbox.message FOR VALUES IN (6);
CREATE TABLE outbox.message_7 PARTITION OF outbox.message FOR VALUES IN (7);
CREATE INDEX ON outbox.message (seq);
CREATE INDEX ON outbox.message (xid);

CREATE SCHEMA reference;
CREATE TABLE reference.checkpoint (
    epoch bigint NOT NULL,
    s1 pg_snapshot NOT NULL,
    q1 bigint NOT NULL,
    s2 pg_snapshot,
    q2 bigint,
    at bigint NOT NULL,
    drawn bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO reference.checkpoint VALUES (0, pg_current_snapshot(), 0, NULL, NULL, 0, 0);
