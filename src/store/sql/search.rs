//! The text that users are searched by: username, e-mail address and real name, folded.
//!
//! The gateway folds it, since SQLite knows the case of ASCII only. A change of a name by other programs removes the
//! text; until the gateway writes it again, the database folds the names.

use unicode_normalization::UnicodeNormalization;

use super::{Change, Database, Read, SqlStore, Statement, parted, row};
use crate::store::{PersonalDetails, StoreError};
use crate::token::SubjectId;

/// Number of users whose text is written in one transaction.
const BATCH: i64 = 500;

/// Folds case and width, so that `ZOË` and `zoë` are the same.
pub(super) fn folded(text: &str) -> String {
    text.nfkc().flat_map(char::to_lowercase).nfkc().collect()
}

/// The argument of `LIKE … ESCAPE '\'` for texts that contain this one.
pub(super) fn containing(text: &str) -> String {
    // No stored text has a zero byte, and PostgreSQL would reject the query with an error.
    let text = folded(&text.replace('\0', "\u{FFFD}"));
    format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"))
}

/// Writes the text of a user.
pub(super) async fn write<C: Change>(
    change: &mut C,
    user: SubjectId,
    names: &PersonalDetails,
) -> Result<(), StoreError> {
    let PersonalDetails { name, email, first_name, last_name, .. } = names;
    let text = [name, email, &format!("{first_name} {last_name}")].map(|text| folded(text)).join("\n");
    let statement = Statement::new("UPDATE users SET search = $1 WHERE id = $2").bind(text).bind(user.0);
    change.execute(statement).await.map(|_| ())
}

row! {
    /// The names of a user.
    struct NamesRow {
        id: i64,
        name: String,
        email: String,
        first_name: String,
        last_name: String,
    }
}

impl<D: Database> SqlStore<D> {
    /// Writes the texts that are missing. Unreadable users keep none.
    pub(super) async fn write_missing_search(&self) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let written = self
                .within(async {
                    let mut change = self.database.begin().await?;
                    let written = write_batch(&mut change, after).await;
                    change.finish(written).await
                })
                .await?;
            match written {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }
}

/// Writes the missing texts of the next users, and returns the last id.
async fn write_batch<C: Change>(change: &mut C, after: i64) -> Result<Option<i64>, StoreError> {
    let statement = "SELECT id, name, email, first_name, last_name FROM users \
                     WHERE search IS NULL AND id > $1 ORDER BY id LIMIT $2";
    let rows: Vec<Read<NamesRow>> = change.rows(Statement::new(statement).bind(after).bind(BATCH)).await?;
    let (rows, unreadable) = parted(rows);
    let last = rows.iter().map(|row| row.id).chain(unreadable.iter().filter_map(|row| row.id)).max();
    for NamesRow { id, name, email, first_name, last_name } in rows {
        write(
            change,
            SubjectId(id),
            &PersonalDetails { name, email, first_name, last_name, ..PersonalDetails::default() },
        )
        .await?;
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_has_one_text_in_every_case_and_width() {
        for (one, other) in [("ZOË", "zoë"), ("ＡＢＣ", "abc"), ("Zoe\u{308}", "zoë"), ("ÉCOLE", "école")] {
            assert_eq!(folded(one), folded(other), "{one}");
        }
        assert_eq!(containing("50%_\\"), "%50\\%\\_\\\\%");
    }
}
