-- The application's own tables, beside the outbox that `outbox init` makes. Each program of this folder takes orders on them.
CREATE TABLE customers (
    name text PRIMARY KEY,
    credit integer NOT NULL,
    orders integer NOT NULL DEFAULT 0
);
CREATE TABLE orders (
    customer text REFERENCES customers,
    number integer,
    total integer NOT NULL,
    PRIMARY KEY (customer, number)
);
INSERT INTO customers (name, credit) VALUES ('alice', 100), ('bob', 100);

-- All that a program needs: these rights, and the role that lets it write messages.
CREATE ROLE shop LOGIN;
GRANT SELECT, UPDATE ON customers TO shop;
GRANT INSERT ON orders TO shop;
GRANT outbox_app TO shop;
