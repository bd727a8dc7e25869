-- Of somebody who is gone only the name is known to who looks into the audit trail.
CREATE INDEX audit_of_name ON audit (user_name, id);
