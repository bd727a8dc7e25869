//! `[store.django]`: table and column names of an existing Django database, and how it is used.

use super::django_columns::{self, Columns};
use super::reader::Table;
use super::sql_name::checked_name;

/// Table and column names of a Django database, and the access mode. Names are letters, digits and `_`; a table name
/// may begin with a schema and a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Django {
    /// The access mode.
    pub mode: DjangoMode,
    /// The table of users.
    pub user_table: String,
    /// The table of Django REST Framework's tokens.
    pub token_table: String,
    /// The table of groups.
    pub group_table: String,
    /// The table that maps users to groups.
    pub membership_table: String,
    /// The table of sessions.
    pub session_table: String,
    /// The column of `membership_table` with the user's id.
    pub membership_user_column: String,
    /// The column of the user table with the name that users log in with.
    pub user_name_column: String,
    /// The column of the user table with the e-mail address.
    pub user_email_column: String,
    /// The meaning of further columns of tokens and users.
    pub columns: Columns,
}

/// The access mode of a Django database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DjangoMode {
    /// The gateway never writes.
    ReadOnly,
    /// The gateway creates and deletes tokens like Django REST Framework, and stores browser sessions.
    ReadWrite,
}

impl Default for Django {
    fn default() -> Django {
        Django {
            mode: DjangoMode::ReadOnly,
            user_table: "auth_user".to_owned(),
            token_table: "authtoken_token".to_owned(),
            group_table: "auth_group".to_owned(),
            membership_table: "auth_user_groups".to_owned(),
            session_table: "django_session".to_owned(),
            membership_user_column: "user_id".to_owned(),
            user_name_column: "username".to_owned(),
            user_email_column: "email".to_owned(),
            columns: Columns::default(),
        }
    }
}

/// `[store.django]`; `in_use`: whether the store is a Django database.
pub(super) fn read(store: &Table<'_>, in_use: bool) -> Django {
    store.table_if(in_use, "django", |table| {
        let default = Django::default();
        let name = |key, dots, default| table.key(key).parse_or(default, |text| checked_name(text, dots));
        let modes = [("read-only", DjangoMode::ReadOnly), ("read-write", DjangoMode::ReadWrite)];
        let names = Django {
            mode: table.key("mode").choice(&modes, default.mode),
            user_table: name("user_table", 1, default.user_table),
            token_table: name("token_table", 1, default.token_table),
            group_table: name("group_table", 1, default.group_table),
            membership_table: name("membership_table", 1, default.membership_table),
            session_table: name("session_table", 1, default.session_table),
            membership_user_column: name("membership_user_column", 0, default.membership_user_column),
            user_name_column: name("user_name_column", 0, default.user_name_column),
            user_email_column: name("user_email_column", 0, default.user_email_column),
            columns: default.columns,
        };
        let columns = django_columns::read(table, &names.token_table, &names.user_table);
        Django { columns, ..names }
    })
}
