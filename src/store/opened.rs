//! An opened store: its traits.

use std::sync::Arc;

use super::{
    AccountStore, Actor, AuditTrail, Directory, NoSessions, QuotaStore, SessionStore, TokenLedger, TokenStore,
};

/// An opened store.
#[derive(Clone)]
pub struct Store {
    /// Looks tokens up.
    pub tokens: Arc<dyn TokenStore>,
    /// Issues and revokes tokens.
    pub ledger: Arc<dyn TokenLedger>,
    /// Keeps users.
    pub accounts: Arc<dyn AccountStore>,
    /// Opens sessions, or says why it cannot.
    pub sessions: Result<Arc<dyn SessionStore>, NoSessions>,
    /// Searches users and tokens; `None`: another system manages them.
    pub directory: Option<Arc<dyn Directory>>,
    /// The audit trail; `None`: the store has none.
    pub audit: Option<Arc<dyn AuditTrail>>,
    /// Keeps the counts of quotas; `None`: the store has no table for them.
    pub quotas: Option<Arc<dyn QuotaStore>>,
    /// Whether the store reports changes by other programs. If not, cached entries stay in use until they expire.
    pub pushes_changes: bool,
    /// The errors of incomplete change triggers. With such errors, the store does not report changes.
    pub broken_triggers: Vec<String>,
    /// Warnings for the operator: each a sentence without a full stop.
    pub remarks: Vec<String>,
}

impl Store {
    /// Returns the same store, acting for this actor: the audit trail, if any, records changes under the actor's name.
    #[must_use]
    pub fn acting_as(&self, actor: Actor) -> Store {
        self.audit.as_ref().map_or_else(|| self.clone(), |audit| audit.acting_as(actor))
    }

    /// A store with all capabilities.
    pub(super) fn whole<S>(store: S) -> Store
    where
        S: TokenStore + TokenLedger + AccountStore + SessionStore + Directory + AuditTrail + QuotaStore + 'static,
    {
        let store = Arc::new(store);
        Store {
            tokens: Arc::<S>::clone(&store),
            ledger: Arc::<S>::clone(&store),
            accounts: Arc::<S>::clone(&store),
            sessions: Ok(Arc::<S>::clone(&store)),
            directory: Some(Arc::<S>::clone(&store)),
            audit: Some(Arc::<S>::clone(&store)),
            quotas: Some(store),
            pushes_changes: true,
            broken_triggers: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// A store whose users another system manages.
    pub(super) fn bare<S: TokenStore + TokenLedger + AccountStore + SessionStore + 'static>(store: S) -> Store {
        let store = Arc::new(store);
        Store {
            tokens: Arc::<S>::clone(&store),
            ledger: Arc::<S>::clone(&store),
            accounts: Arc::<S>::clone(&store),
            sessions: Ok(store),
            directory: None,
            audit: None,
            quotas: None,
            pushes_changes: true,
            broken_triggers: Vec::new(),
            remarks: Vec::new(),
        }
    }
}
