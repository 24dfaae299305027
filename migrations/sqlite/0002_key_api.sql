-- What the key API knows of a key beyond its record.
ALTER TABLE keys ADD COLUMN key_type TEXT NOT NULL DEFAULT 'organization'
    CHECK (key_type IN ('organization', 'user', 'environment'));
ALTER TABLE keys ADD COLUMN prefix TEXT NOT NULL DEFAULT ''; -- first characters, for people
ALTER TABLE keys ADD COLUMN created_by TEXT;
ALTER TABLE keys ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}'; -- a JSON object
ALTER TABLE keys ADD COLUMN rate_limit INTEGER; -- requests in rate_window_ms; both or neither
ALTER TABLE keys ADD COLUMN rate_window_ms INTEGER;
ALTER TABLE keys ADD COLUMN last_verified_at_ms INTEGER;
ALTER TABLE keys ADD COLUMN last_verified_ip TEXT;
ALTER TABLE keys ADD COLUMN verification_count INTEGER NOT NULL DEFAULT 0;

-- The secret before the last rotation, while it has a grace time.
ALTER TABLE keys ADD COLUMN old_digest BLOB CHECK (length(old_digest) = 32);
ALTER TABLE keys ADD COLUMN old_suffix TEXT;
ALTER TABLE keys ADD COLUMN old_until_ms INTEGER;
ALTER TABLE keys ADD COLUMN old_used_at_ms INTEGER;
ALTER TABLE keys ADD COLUMN old_used_ip TEXT;

-- Whether the passing of time alone may make it inactive, or it is inactive already.
ALTER TABLE keys ADD COLUMN may_be_inactive INTEGER NOT NULL
    GENERATED ALWAYS AS (status = 'inactive' OR (status = 'active' AND expires_at_ms IS NOT NULL)) VIRTUAL;

UPDATE keys SET key_type = 'user' WHERE user_id IS NOT NULL;

CREATE UNIQUE INDEX keys_by_old_digest ON keys (old_digest) WHERE old_digest IS NOT NULL;
CREATE INDEX keys_by_org ON keys (org_code, created_at_ms DESC, id DESC);
CREATE INDEX keys_by_user ON keys (user_id, created_at_ms DESC, id DESC);
CREATE INDEX keys_by_type ON keys (key_type, created_at_ms DESC, id DESC);
CREATE INDEX keys_by_status ON keys (status, created_at_ms DESC, id DESC);
CREATE INDEX keys_by_type_and_status ON keys (key_type, status, created_at_ms DESC, id DESC);
CREATE INDEX keys_by_inactivity ON keys (may_be_inactive, created_at_ms DESC, id DESC);

-- How imported keys begin that are not of our own shape, so that everything else of a foreign shape is refused unseen.
CREATE TABLE imported_prefixes (
    prefix TEXT NOT NULL PRIMARY KEY
) STRICT;

-- Who did what, when, and what came of it.
CREATE TABLE audit_events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms   INTEGER NOT NULL,
    actor   TEXT, -- unknown where nobody was proven
    action  TEXT    NOT NULL,
    target  TEXT,
    result  TEXT    NOT NULL CHECK (result IN ('done', 'refused', 'failed')),
    code    TEXT,
    address TEXT
) STRICT;

CREATE INDEX audit_events_by_actor ON audit_events (actor, seq DESC);
CREATE INDEX audit_events_by_action ON audit_events (action, seq DESC);
CREATE INDEX audit_events_by_target ON audit_events (target, seq DESC);
