//! Lists of tokens. They have the beginnings of keys, as the pages do, and no key.

use serde_json::json;

use super::{Exported, Format, row};
use crate::admin::operations::{Caller, OperationError, Operations, TokenState};
use crate::clock::Timestamp;
use crate::store::{Listing, PagePosition, TokenDetails, TokenKind, TokenQuery};

/// A list of tokens, with their states at this time.
pub(in crate::admin) struct TokensAt {
    pub query: TokenQuery,
    pub now: Timestamp,
}

impl Exported for TokensAt {
    type Entry = TokenDetails;
    const NAME: &'static str = "tokens";
    const COLUMNS: &'static str =
        "id,hint,user,user_id,kind,name,scopes,state,created,expires,last_used,revoked,disabled,exposed,note\r\n";

    async fn read(
        &self,
        operations: &Operations,
        caller: &Caller,
        position: PagePosition,
        limit: u32,
    ) -> Result<Listing<TokenDetails>, OperationError> {
        operations.act_for(caller).tokens(&TokenQuery { position, limit, ..self.query.clone() }).await
    }

    fn write(&self, text: &mut String, token: &TokenDetails, format: Format) {
        let (record, at) = (&token.record, |at: Option<Timestamp>| at.map(|at| at.to_string()));
        let kind = match token.kind {
            TokenKind::Login => "login",
            TokenKind::Named => "named",
        };
        let (scopes, state) = (record.scopes.to_string(), TokenState::of(token, self.now).as_str());
        let times =
            [Some(record.created), record.expires, token.last_used, record.revoked, token.disabled, token.exposed];
        let [created, expires, last_used, revoked, disabled, exposed] = times.map(at);
        if format == Format::JsonLines {
            let line = json!({
                "id": record.id.0, "hint": token.hint.as_str(), "user": record.owner.name, "user_id": record.owner.id.0,
                "kind": kind, "name": token.name, "scopes": scopes, "state": state, "created": created,
                "expires": expires, "last_used": last_used, "revoked": revoked, "disabled": disabled,
                "exposed": exposed, "note": token.note,
            });
            text.push_str(&line.to_string());
            text.push('\n');
            return;
        }
        let or_empty = |at: Option<String>| at.unwrap_or_default();
        row(
            text,
            &[
                &record.id.0.to_string(),
                token.hint.as_str(),
                &record.owner.name,
                &record.owner.id.0.to_string(),
                kind,
                &token.name,
                &scopes,
                state,
                &or_empty(created),
                &or_empty(expires),
                &or_empty(last_used),
                &or_empty(revoked),
                &or_empty(disabled),
                &or_empty(exposed),
                &token.note,
            ],
        );
    }
}
