-- Adoption is of a subscription (outbox_instance.adopted is not read any more). A relay that refuses a database which
-- went back in time holds no lease in it, so it says here that it does: since when, by the last look, and why.
ALTER TABLE outbox_lease ADD COLUMN adopted_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox_lease ADD COLUMN refused_by TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox_lease ADD COLUMN refused_code TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox_lease ADD COLUMN refused_text TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox_lease ADD COLUMN refused_since INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox_lease ADD COLUMN refused_at INTEGER NOT NULL DEFAULT 0;
