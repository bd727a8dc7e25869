-- How many requests there were in a day or month, for each quota and each token, user or route.

CREATE TABLE quota_counts (
    -- A digest of the names of the quota and of what it counts, in hexadecimal digits.
    id TEXT NOT NULL,
    -- The beginning of the period, in microseconds since 1970.
    since INTEGER NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (id, since)
) WITHOUT ROWID, STRICT;

CREATE INDEX quota_counts_by_time ON quota_counts (since);
