-- What the torture's writers and its oracle use beside the outbox. psql is not needed: these are plain statements.
CREATE SCHEMA torture;

-- The truth. Much room in each page, so that the many versions of a row stay on it.
CREATE TABLE torture.account (
    key int PRIMARY KEY,
    number bigint NOT NULL DEFAULT 0,
    nonces bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
CREATE TABLE torture.scrap (n bigint);

CREATE FUNCTION torture.payload(key int, number bigint, nonce bigint, padding int) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT key || ' ' || number || ' ' || nonce || E'\n' || repeat('x', padding) $$;

-- Takes the key's lock while the row of the message is being made.
CREATE FUNCTION torture.take(of_key int, nonce bigint, padding int) RETURNS text LANGUAGE sql VOLATILE AS
$$ UPDATE torture.account SET number = number + 1, nonces = nonces # nonce WHERE key = of_key
   RETURNING torture.payload(key, number, nonce, padding) $$;

-- The product's own function where there is one.
CREATE FUNCTION torture.publish(key text, payload text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF to_regproc('outbox.publish') IS NOT NULL THEN
        EXECUTE 'SELECT outbox.publish(''torture'', $2, partition_key => $1)' USING key, payload;
    ELSE
        INSERT INTO outbox.message (topic, partition_key, payload) VALUES ('torture', key, payload);
    END IF;
END $$;
