//! The audit trail.

use serde_json::{Value, json};

use super::{Exported, Format, row};
use crate::admin::operations::{Caller, OperationError, Operations};
use crate::store::{AuditEntry, AuditQuery, Listing, PagePosition};

/// The first line of a CSV file.
pub(crate) const COLUMNS: &str = "id,at,actor,actor_id,via,from,act,user,user_id,token_id,detail\r\n";

impl Exported for AuditQuery {
    type Entry = AuditEntry;
    const NAME: &'static str = "audit";
    const COLUMNS: &'static str = COLUMNS;

    async fn read(
        &self,
        operations: &Operations,
        caller: &Caller,
        position: PagePosition,
        limit: u32,
    ) -> Result<Listing<AuditEntry>, OperationError> {
        operations.act_for(caller).audit(&AuditQuery { position, limit, ..self.clone() }).await
    }

    fn write(&self, text: &mut String, entry: &AuditEntry, format: Format) {
        write(text, entry, format);
    }
}

/// An entry as JSON.
pub(crate) fn as_json(entry: &AuditEntry) -> Value {
    let actor = &entry.actor;
    json!({
        "id": entry.id, "at": entry.at.to_string(), "actor": actor.name, "actor_id": actor.id.map(|id| id.0),
        "via": actor.via.as_str(), "from": actor.from.map(|from| from.to_string()), "act": entry.act.as_str(),
        "user": entry.user_name, "user_id": entry.user.map(|id| id.0), "token_id": entry.token.map(|id| id.0),
        "detail": entry.detail,
    })
}

/// Adds an entry to a file.
pub(crate) fn write(text: &mut String, entry: &AuditEntry, format: Format) {
    if format == Format::JsonLines {
        text.push_str(&as_json(entry).to_string());
        text.push('\n');
        return;
    }
    let id = |id: Option<i64>| id.map(|id| id.to_string()).unwrap_or_default();
    let actor = &entry.actor;
    let (actor_id, user, token) = (actor.id.map(|id| id.0), entry.user.map(|id| id.0), entry.token.map(|id| id.0));
    row(
        text,
        &[
            &entry.id.to_string(),
            &entry.at.to_string(),
            &actor.name,
            &id(actor_id),
            actor.via.as_str(),
            &actor.from.map(|from| from.to_string()).unwrap_or_default(),
            entry.act.as_str(),
            &entry.user_name,
            &id(user),
            &id(token),
            &entry.detail,
        ],
    );
}
