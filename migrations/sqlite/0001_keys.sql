-- A key: its record, and the SHA-256 of its secret. The secret itself is nowhere.
CREATE TABLE keys (
    id               TEXT    NOT NULL PRIMARY KEY,
    name             TEXT    NOT NULL,
    org_code         TEXT,
    user_id          TEXT,
    api_id           TEXT    NOT NULL,
    scopes           TEXT    NOT NULL, -- separated by spaces
    status           TEXT    NOT NULL CHECK (status IN ('active', 'inactive', 'revoked')),
    digest           BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),
    suffix           TEXT    NOT NULL, -- last four characters, for people
    allowed_networks TEXT    NOT NULL, -- CIDR, separated by spaces
    created_at_ms    INTEGER NOT NULL,
    expires_at_ms    INTEGER
) STRICT;

CREATE INDEX keys_by_age ON keys (created_at_ms DESC, id DESC);

-- What changed, for servers that have the old state in memory. Written in the transaction of the change itself.
CREATE TABLE changes (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL
) STRICT;
