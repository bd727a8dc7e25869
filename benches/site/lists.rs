//! The cost of a list page among a million users and two million tokens: first the store's part, then the whole page.

use std::time::Duration;

use tokengate::clock::Clock;
use tokengate::store::{
    self, AuditQuery, AuditTrail, Directory, Mark, PagePosition, SortKey, Store, TokenKind, TokenQuery, TokenView,
    UserOrder, UserQuery,
};
use tokengate::token::SubjectId;
use tokio::time::Instant;

use crate::million::Million;
use crate::{pages, spread};

/// Number of requests per page.
const ROUNDS: usize = 20;
/// The page size of the admin application.
const LIMIT: u32 = 50;

pub async fn run(users: usize) {
    println!(
        "| page of {LIMIT} among {users} users and {} tokens | SQLite p50 | max | PostgreSQL p50 | max |",
        2 * users
    );
    println!("|---|---|---|---|---|");
    let million = Million::of(users).await;
    let (sqlite, server) = (million.sqlite.open().await, million.postgres.open().await);
    let ((users_here, tokens_here), (users_there, tokens_there)) = (deep(&sqlite).await, deep(&server).await);
    for (name, query) in user_pages() {
        let (here, there) = (
            UserQuery { position: begin(query.0, &users_here), ..query.1.clone() },
            UserQuery { position: begin(query.0, &users_there), ..query.1 },
        );
        let here = measure(async || drop(directory(&sqlite).users(&here).await.unwrap())).await;
        tell(&name, here, measure(async || drop(directory(&server).users(&there).await.unwrap())).await);
    }
    for (name, query) in token_pages() {
        let (here, there) = (
            TokenQuery { position: begin(query.0, &tokens_here), ..query.1.clone() },
            TokenQuery { position: begin(query.0, &tokens_there), ..query.1 },
        );
        let here = measure(async || drop(directory(&sqlite).tokens(&here).await.unwrap())).await;
        tell(&name, here, measure(async || drop(directory(&server).tokens(&there).await.unwrap())).await);
    }
    for (name, query) in audit_pages() {
        let here = measure(async || drop(audit(&sqlite).entries(&query).await.unwrap())).await;
        tell(&name, here, measure(async || drop(audit(&server).entries(&query).await.unwrap())).await);
    }
    pages::run(&million).await;
}

/// Each with its name and position.
fn user_pages() -> Vec<(String, (Part, UserQuery))> {
    let page = || UserQuery { limit: LIMIT, ..UserQuery::default() };
    let search = |text: &str| UserQuery { search: text.to_owned(), ..page() };
    [
        ("users by name", Part::First, page()),
        ("users by name, far behind", Part::Behind, page()),
        ("users by name, back from far behind", Part::Before, page()),
        ("newest users", Part::First, UserQuery { order: UserOrder::Newest, ..page() }),
        (
            "users by last login, back from among those who never did",
            Part::Never,
            UserQuery { order: UserOrder::LastLogin, ..page() },
        ),
        ("users by last login", Part::First, UserQuery { order: UserOrder::LastLogin, ..page() }),
        ("`user`: all of them", Part::First, search("user")),
        ("`user`: all of them, newest first", Part::First, UserQuery { order: UserOrder::Newest, ..search("user") }),
        ("`user9999`: a few", Part::First, search("USER9999")),
        ("`user9999`: a few, newest first", Part::First, UserQuery { order: UserOrder::Newest, ..search("USER9999") }),
        ("`nobody`: none", Part::First, search("nobody")),
        ("`u77777@`: by address", Part::First, search("u77777@")),
        ("staff", Part::First, UserQuery { staff: Some(true), ..page() }),
        ("staff by last login", Part::First, UserQuery { staff: Some(true), order: UserOrder::LastLogin, ..page() }),
        ("inactive", Part::First, UserQuery { active: Some(false), ..page() }),
        (
            "inactive by last login",
            Part::First,
            UserQuery { active: Some(false), order: UserOrder::LastLogin, ..page() },
        ),
        ("inactive staff", Part::First, UserQuery { active: Some(false), staff: Some(true), ..page() }),
        ("a group of half of them", Part::First, UserQuery { group: Some("half".to_owned()), ..page() }),
        ("a group of a hundred", Part::First, UserQuery { group: Some("few".to_owned()), ..page() }),
        (
            "newest of a group of a hundred",
            Part::First,
            UserQuery { group: Some("few".to_owned()), order: UserOrder::Newest, ..page() },
        ),
        (
            "`user9` inactive in a group of half of them",
            Part::First,
            UserQuery { active: Some(false), group: Some("half".to_owned()), ..search("user9") },
        ),
    ]
    .into_iter()
    .map(|(name, far, query)| (name.to_owned(), (far, query)))
    .collect()
}

fn token_pages() -> Vec<(String, (Part, TokenQuery))> {
    let now = Clock::system().now();
    let day = Duration::from_secs(86_400);
    let page = || TokenQuery { limit: LIMIT, ..TokenQuery::default() };
    let view = |view| TokenQuery { view, ..page() };
    let of = |name: &str| TokenQuery { owner_name: name.to_owned(), ..page() };
    let unused = TokenView::UnusedSince(now.before(90 * day));
    let mut pages = vec![
        ("tokens", Part::First, page()),
        ("tokens, far behind", Part::Behind, page()),
        ("tokens, back from far behind", Part::Before, page()),
        ("live", Part::First, view(TokenView::Live)),
        ("unused for 90 days", Part::First, view(unused)),
        ("ending within 30 days", Part::First, view(TokenView::EndingBefore(now.after(30 * day)))),
        ("expired", Part::First, view(TokenView::Expired)),
        ("revoked", Part::First, view(TokenView::Revoked)),
        ("exposed: none", Part::First, view(TokenView::Exposed)),
        ("tokens of `user`: all", Part::First, of("user")),
        ("tokens of `user9999`: a few", Part::First, of("user9999")),
        ("tokens of `nobody`: none", Part::First, of("nobody")),
        ("expired tokens of `user99`", Part::First, TokenQuery { view: TokenView::Expired, ..of("user99") }),
        ("of one user", Part::First, TokenQuery { owner: Some(SubjectId(77_777)), ..page() }),
        ("by hint", Part::First, TokenQuery { hint: "0001".to_owned(), ..page() }),
    ];
    for (name, view) in
        [("all", TokenView::All), ("live", TokenView::Live), ("unused", unused), ("expired", TokenView::Expired)]
    {
        let name: &str = match name {
            "all" => "named tokens of ordinary users",
            "live" => "live named tokens of ordinary users",
            "unused" => "unused named tokens of ordinary users",
            _ => "expired named tokens of ordinary users",
        };
        pages.push((name, Part::First, TokenQuery { view, kind: Some(TokenKind::Named), ordinary: true, ..page() }));
    }
    pages.into_iter().map(|(name, far, query)| (name.to_owned(), (far, query))).collect()
}

fn audit_pages() -> Vec<(String, AuditQuery)> {
    let page = || AuditQuery { limit: LIMIT, ..AuditQuery::default() };
    [
        ("audit trail", page()),
        ("audit trail of one user", AuditQuery { user: Some(SubjectId(4_711)), ..page() }),
        ("audit trail of a rare actor", AuditQuery { actor: Some("rare".to_owned()), ..page() }),
        ("failed logins", AuditQuery { act: Some(store::Act::LoginFailed), ..page() }),
        ("an act that never was", AuditQuery { act: Some(store::Act::RightsSet), ..page() }),
    ]
    .into_iter()
    .map(|(name, query)| (name.to_owned(), query))
    .collect()
}

fn directory(store: &Store) -> &dyn Directory {
    &**store.directory.as_ref().unwrap()
}

fn audit(store: &Store) -> &dyn AuditTrail {
    &**store.audit.as_ref().unwrap()
}

/// Positions far from the first page.
async fn deep(store: &Store) -> (PagePosition, PagePosition) {
    let users = UserQuery { search: "user7".to_owned(), limit: 1_000, ..UserQuery::default() };
    let tokens = TokenQuery { limit: 100_000, ..TokenQuery::default() };
    (directory(store).users(&users).await.unwrap().next, directory(store).tokens(&tokens).await.unwrap().next)
}

/// The position of a page in a list.
#[derive(Clone, Copy)]
enum Part {
    First,
    /// The page after an entry far from the first.
    Behind,
    /// The page before that entry.
    Before,
    /// The page before a user who never logged in.
    Never,
}

fn begin(part: Part, far: &PagePosition) -> PagePosition {
    match (part, far) {
        (Part::Behind, far) => far.clone(),
        (Part::Before, PagePosition::Behind(mark)) => PagePosition::Before(mark.clone()),
        (Part::Never, PagePosition::Behind(mark)) => {
            PagePosition::Before(Mark { list: UserOrder::LastLogin.list(), key: SortKey::Number(0), id: mark.id })
        }
        (Part::First | Part::Before | Part::Never, _) => PagePosition::Start,
    }
}

pub async fn measure(page: impl AsyncFn()) -> (Duration, Duration) {
    page().await;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let asked = Instant::now();
        page().await;
        times.push(asked.elapsed());
    }
    let (middle, _, most) = spread(times);
    (middle, most)
}

pub fn tell(name: &str, here: (Duration, Duration), there: (Duration, Duration)) {
    println!("| {name} | {:.1?} | {:.1?} | {:.1?} | {:.1?} |", here.0, here.1, there.0, there.1);
}
