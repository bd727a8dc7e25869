//! Report of an import: each difference by name, then totals.

use anyhow::Result;
use serde_json::{Value, json};

use super::{import_source, show};
use crate::store::{Arrival, DeletedUser, Import, Origin, Stale, Taken, TokenLabel, TokenTaken, Unreadable, UserTaken};

/// Totals.
pub(super) struct Report {
    /// Whether the operator asked to prune.
    asked: bool,
    /// Whether the import prunes.
    prunes: bool,
    /// Whether nothing was written.
    is_rehearsal: bool,
    /// Data from other addresses, which is not compared with the database.
    elsewhere: Vec<Origin>,
    users: Counts,
    tokens: Counts,
    /// Users that differ, and tokens that expire later here than in the source.
    different: u64,
    passwords_lost: u64,
    /// Tokens that were skipped because they are not valid in the source either.
    dead: u64,
    stale_users: u64,
    stale_tokens: u64,
    /// Whether some of these are still valid here.
    some_stay: bool,
    remarks: Vec<Remark>,
}

#[derive(Default)]
struct Counts {
    new: u64,
    there: u64,
    skipped: u64,
}

struct Remark {
    id: i64,
    user: String,
    text: String,
}

impl Report {
    /// Creates an empty report; `asked` says whether the operator asked to prune.
    pub(super) fn new(asked: bool, import: &Import, elsewhere: Vec<Origin>) -> Report {
        Report {
            asked,
            prunes: import.prune,
            is_rehearsal: import.dry_run,
            elsewhere,
            users: Counts::default(),
            tokens: Counts::default(),
            different: 0,
            passwords_lost: 0,
            dead: 0,
            stale_users: 0,
            stale_tokens: 0,
            some_stay: false,
            remarks: Vec::new(),
        }
    }

    /// Returns true if everything that is valid in the source is valid here too.
    pub(super) fn is_whole(&self) -> bool {
        self.users.skipped + self.tokens.skipped + self.different + self.passwords_lost == self.dead
    }

    /// Whether nothing is valid here that is no longer valid in the source, as far as that is known.
    pub(super) fn nothing_stale(&self) -> bool {
        !self.some_stay && self.elsewhere.is_empty()
    }

    /// Records a user with an unreadable row.
    pub(super) fn skip(&mut self, row: &Unreadable) {
        self.users.skipped += 1;
        self.remark(row.id.unwrap_or(0), "?", format!("skipped: its row cannot be read ({})", row.cause));
    }

    /// Records the results for a user, the user's tokens, and unreadable rows of tokens.
    pub(super) fn note(&mut self, arrival: &Arrival, taken: Taken, unreadable: &[Unreadable]) {
        let account = &arrival.user.account;
        let (id, name) = (account.id.0, account.name.as_str());
        let was_skipped = matches!(taken.user, UserTaken::Skipped(_));
        match taken.user {
            UserTaken::New => self.users.new += 1,
            UserTaken::Mapped(here) => {
                self.users.new += 1;
                self.remark(id, name, format!("imported with the id {here}; the id {id} belongs to another user here"));
            }
            UserTaken::There { differs } => {
                self.users.there += 1;
                if !differs.is_empty() {
                    self.different += 1;
                    self.remark(id, name, format!("kept unchanged, although it differs: {}", differs.join(", ")));
                }
            }
            UserTaken::Skipped(why) => {
                self.users.skipped += 1;
                self.remark(id, name, format!("skipped: {why}"));
            }
        }
        if let Some(algorithm) = taken.password_lost {
            self.passwords_lost += 1;
            let text =
                format!("has no password here: hashes of the kind {algorithm} cannot be verified; set a new one");
            self.remark(id, name, text);
        }
        for (token, taken) in taken.tokens {
            let called = called(&token);
            match taken {
                TokenTaken::Login => self.tokens.new += 1,
                TokenTaken::Named(token_name) => {
                    self.tokens.new += 1;
                    self.remark(id, name, format!("{called} became the named token \"{token_name}\""));
                }
                TokenTaken::There => self.tokens.there += 1,
                TokenTaken::Outlives(end) => {
                    self.tokens.there += 1;
                    self.different += 1;
                    self.remark(id, name, format!("{called} expires there at {end}, and later or never here"));
                }
                TokenTaken::Dead(why) => {
                    self.tokens.skipped += 1;
                    self.dead += 1;
                    self.remark(id, name, format!("{called} skipped: {why}"));
                }
                TokenTaken::Refused(why) => {
                    self.tokens.skipped += 1;
                    self.remark(id, name, format!("{called} refused: {why}"));
                }
                TokenTaken::Skipped(why) => {
                    self.tokens.skipped += 1;
                    let why = if was_skipped { "the user was skipped" } else { &why };
                    self.remark(id, name, format!("{called} skipped: {why}"));
                }
            }
        }
        for row in unreadable {
            self.tokens.skipped += 1;
            self.remark(id, name, format!("a token skipped: its row cannot be read ({})", row.cause));
        }
        self.note_stale(id, name, &taken.stale, "inactive", self.prunes && unreadable.is_empty());
    }

    /// Records a user who was deleted in the source.
    pub(super) fn miss(&mut self, gone: &DeletedUser) {
        self.note_stale(gone.id.0, &gone.name, &gone.stale, "deleted", self.prunes);
    }

    fn note_stale(&mut self, id: i64, name: &str, stale: &Stale, there: &str, ended: bool) {
        self.some_stay |= !ended && (stale.user || !stale.tokens.is_empty());
        if stale.user {
            self.stale_users += 1;
            let here = if ended { "deactivated here" } else { "active here" };
            self.remark(id, name, format!("is {there} in the Django database: {here}"));
        }
        for token in &stale.tokens {
            self.stale_tokens += 1;
            let here = if ended { "revoked here" } else { "valid here" };
            self.remark(
                id,
                name,
                format!("{} is invalid or more restricted in the Django database: {here}", called(token)),
            );
        }
    }

    fn remark(&mut self, id: i64, user: &str, text: String) {
        self.remarks.push(Remark { id, user: user.to_owned(), text });
    }

    /// Prints the report.
    pub(super) fn print(&self, json: bool) -> Result<()> {
        let Report { prunes, different, passwords_lost, stale_users, stale_tokens, .. } = self;
        if json {
            let remarks = self.remarks.iter();
            let remarks = remarks.map(|Remark { id, user, text }| json!({ "id": id, "user": user, "remark": text }));
            let elsewhere = self
                .elsewhere
                .iter()
                .map(|Origin { source, users, tokens }| json!({ "source": source, "users": users, "tokens": tokens }));
            return show::json(&json!({
                "users": self.users.as_json(),
                "tokens": self.tokens.as_json(),
                "different": different,
                "passwords_left_out": passwords_lost,
                "came_from_elsewhere": elsewhere.collect::<Vec<_>>(),
                "gone": { "users": stale_users, "tokens": stale_tokens, "ended": prunes },
                "dry_run": self.is_rehearsal,
                "remarks": remarks.collect::<Vec<_>>(),
            }));
        }
        let row = |Remark { id, user, text }: &Remark| {
            [user.clone(), id.to_string(), text.clone()].map(|text| (text, None)).to_vec()
        };
        show::Table::new(&["USER", "ID", "WHAT"]).print(&self.remarks.iter().map(row).collect::<Vec<_>>())?;
        if *different > 0 {
            show::line(format!("different: {different}; nothing here was overwritten"))?;
        }
        if *passwords_lost > 0 {
            show::line(format!("passwords: {passwords_lost} cannot be verified and were left out"))?;
        }
        if stale_users + stale_tokens > 0 {
            let then = match (prunes, self.asked) {
                (true, _) => "deactivated or revoked here",
                (false, true) => "still valid here",
                (false, false) => "still valid here; --prune revokes them",
            };
            let what = format!("{}, {}", counted(*stale_users, "user"), counted(*stale_tokens, "token"));
            show::line(format!("no longer valid in the Django database: {what}, {then}"))?;
        }
        if self.is_rehearsal {
            show::line("dry run: nothing was written")?;
        }
        for origin in &self.elsewhere {
            show::line(import_source::told(origin))?;
        }
        for (what, counts) in [("users", &self.users), ("tokens", &self.tokens)] {
            let Counts { new, there, skipped } = counts;
            show::line(format!("{what}: {new} imported, {there} there already, {skipped} skipped"))?;
        }
        Ok(())
    }
}

impl Counts {
    fn as_json(&self) -> Value {
        json!({ "imported": self.new, "there": self.there, "skipped": self.skipped })
    }
}

fn called(token: &TokenLabel) -> String {
    let day = TokenLabel::day(token.created);
    match &token.hint {
        Some(hint) => format!("token {hint}… of {day}"),
        None => format!("token of {day}"),
    }
}

fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
