-- The change log is swept, and searched, by time.

CREATE INDEX change_log_at ON change_log (at);
