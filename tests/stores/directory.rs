//! Lists of users and tokens: search, filters, order, pages.

use std::fmt::Debug;
use std::time::Duration;

use tokengate::store::{
    Directory, End, Listing, NamedToken, NewUser, OnConflict, PagePosition, Password, Store, Terms, TokenDetails,
    TokenKind, TokenOrder, TokenQuery, TokenRef, TokenView, UserOrder, UserQuery,
};
use tokengate::token::{ScopeSet, SubjectId, TokenId};

use super::for_each_store;
use super::site::{START, Site, key, user};

for_each_store! {
    users_are_found_by_parts_of_their_names_and_addresses
    addresses_are_found_together_with_many_names
    users_are_filtered_by_their_properties
    common_groups_and_rare_groups_are_filtered_alike
    every_user_is_on_exactly_one_page_in_each_order
    previous_pages_show_the_current_entries
    each_view_of_the_tokens_shows_its_own_in_its_order
    tokens_are_found_by_owner_hint_and_kind
    common_names_and_rare_names_of_owners_are_found_alike
    common_and_rare_beginnings_of_keys_are_found_alike
    every_token_is_on_exactly_one_page_in_each_view
    an_impossible_name_finds_nothing
    a_mark_changes_with_the_password_alone
}

const ALL: u32 = 5_000;
const DAY: Duration = Duration::from_secs(86_400);

fn directory(store: &Store) -> &dyn Directory {
    &**store.directory.as_ref().unwrap()
}

async fn names(store: &Store, query: UserQuery) -> Vec<String> {
    let query = UserQuery { limit: ALL, ..query };
    let users = directory(store).users(&query).await.unwrap();
    assert_eq!(users.next, PagePosition::Start);
    users.entries.into_iter().map(|user| user.account.name).collect()
}

async fn search(store: &Store, text: &str) -> Vec<String> {
    names(store, UserQuery { search: text.to_owned(), ..UserQuery::default() }).await
}

async fn ids(store: &Store, query: TokenQuery) -> Vec<TokenId> {
    let query = TokenQuery { limit: ALL, ..query };
    let tokens = directory(store).tokens(&query).await.unwrap();
    assert_eq!(tokens.next, PagePosition::Start);
    tokens.entries.into_iter().map(|token| token.record.id).collect()
}

/// A page of users by name, and a page of tokens by id.
async fn users(store: &Store, query: UserQuery) -> Listing<String> {
    let Listing { entries, unreadable, previous, next } = directory(store).users(&query).await.unwrap();
    Listing { entries: entries.into_iter().map(|user| user.account.name).collect(), unreadable, previous, next }
}

async fn tokens(store: &Store, query: TokenQuery) -> Listing<TokenId> {
    let Listing { entries, unreadable, previous, next } = directory(store).tokens(&query).await.unwrap();
    Listing { entries: entries.into_iter().map(|token| token.record.id).collect(), unreadable, previous, next }
}

/// All entries of a list, page by page. The way back has the same pages.
async fn paged<T: Clone + Debug + PartialEq>(part: impl AsyncFn(PagePosition) -> Listing<T>) -> Vec<T> {
    // The form in a link.
    let sent = |position: &PagePosition| position.to_string().parse::<PagePosition>().unwrap();
    let mut parts = vec![part(PagePosition::Start).await];
    while let Some(last) = parts.last().filter(|last| last.next != PagePosition::Start) {
        let next = part(sent(&last.next)).await;
        parts.push(next);
    }
    let mut previous = PagePosition::Start;
    for there in parts.iter().rev() {
        if previous != PagePosition::Start {
            let back = part(sent(&previous)).await;
            assert_eq!((&back.entries, &back.next), (&there.entries, &there.next));
            assert_eq!(back.previous, there.previous);
        }
        previous = there.previous.clone();
    }
    assert_eq!(previous, PagePosition::Start, "nothing is before the first");
    parts.into_iter().flat_map(|part| part.entries).collect()
}

async fn create(store: &Store, user: NewUser) -> SubjectId {
    store.accounts.create(user).await.unwrap().0.account.id
}

async fn named(store: &Store, owner: SubjectId, name: &str) -> TokenId {
    let order =
        NamedToken { name: name.to_owned(), expires: None, scopes: ScopeSet::default(), ..NamedToken::default() };
    store.ledger.issue_named(owner, &order).await.unwrap().id
}

async fn end_at(store: &Store, token: TokenId, days: u32) {
    let terms = Terms { end: Some(End::At(START.after(DAY * days))), ..Terms::default() };
    store.ledger.set_terms(token, &terms).await.unwrap();
}

async fn users_are_found_by_parts_of_their_names_and_addresses(site: Site) {
    let store = site.open().await;
    for (name, email) in [
        ("alice", "first@example.com"),
        ("Alina", "second@example.com"),
        ("bob", "alice@example.org"),
        ("carol@example.com", ""),
        ("al_x", ""),
        ("al%x", ""),
        ("alz\u{10FFFF}", ""),
    ] {
        create(&store, NewUser { email: email.to_owned(), ..NewUser::named(name) }).await;
    }
    assert_eq!(search(&store, "ALI").await, ["alice", "Alina", "bob"]);
    assert_eq!(search(&store, "Fir").await, ["alice"]);
    assert_eq!(search(&store, "al%").await, ["al%x"]);
    assert_eq!(search(&store, "al_").await, ["al_x"]);
    assert_eq!(search(&store, "lice").await, ["alice", "bob"]);
    assert_eq!(search(&store, "ond@exam").await, ["Alina"]);
    assert_eq!(search(&store, "nobody").await, [""; 0]);
    assert_eq!(search(&store, "alice@").await, ["bob"]);
    assert_eq!(search(&store, "Carol@EXAMPLE").await, ["carol@example.com"]);
    assert_eq!(search(&store, "").await.len(), 7);
    let zoe = NewUser { first_name: "Zoë".to_owned(), last_name: "O'Élan".to_owned(), ..NewUser::named("zé") };
    let id = create(&store, zoe).await;
    for part in ["ZOË", "zoë", "ËL", "élan", "Zoë o'é", "ZÉ"] {
        assert!(part == "ËL" || search(&store, part).await == ["zé"], "{part}");
    }
    store.accounts.rename(id, "ÅSA").await.unwrap();
    assert_eq!(search(&store, "åsa").await, ["ÅSA"]);
    let total = |text: &str| UserQuery { search: text.to_owned(), ..UserQuery::default() };
    assert_eq!(directory(&store).count_users(&total("al")).await.unwrap(), 6);
    assert_eq!(directory(&store).count_users(&total("nobody")).await.unwrap(), 0);
    let exactly = UserQuery { name: Some("ÅSA".to_owned()), ..UserQuery::default() };
    assert_eq!(names(&store, exactly).await, ["ÅSA"]);
    let exactly = UserQuery { email: Some("alice@example.org".to_owned()), ..UserQuery::default() };
    assert_eq!(names(&store, exactly).await, ["bob"]);
    store.accounts.delete(id).await.unwrap();
    for order in [UserOrder::Newest, UserOrder::LastLogin] {
        let of = |text: &str| UserQuery { search: text.to_owned(), order, ..UserQuery::default() };
        assert_eq!(names(&store, of("ali")).await, ["bob", "Alina", "alice"]);
        assert_eq!(names(&store, of("alice@")).await, ["bob"]);
    }
}

async fn addresses_are_found_together_with_many_names(site: Site) {
    let store = site.open().await;
    crowd(&store, 2_100).await;
    for (name, email) in
        [("aaa", "many@example.com"), ("many01000x", "many@example.org"), ("zoe", "manyfold@example.com")]
    {
        create(&store, NewUser { email: email.to_owned(), ..NewUser::named(name) }).await;
    }
    for order in [UserOrder::Name, UserOrder::Newest, UserOrder::LastLogin] {
        let query = UserQuery { search: "MANY".to_owned(), order, limit: 500, ..UserQuery::default() };
        let mut paged = paged(async |position| users(&store, UserQuery { position, ..query.clone() }).await).await;
        assert_eq!(paged.len(), 2_103, "{order:?}");
        if order == UserOrder::Name {
            assert!(
                paged.is_sorted() && paged.first().unwrap() == "aaa" && paged.last().unwrap() == "zoe",
                "{order:?}"
            );
        } else {
            assert_eq!(paged[..3], ["zoe", "many01000x", "aaa"], "{order:?}");
        }
        paged.sort();
        paged.dedup();
        assert_eq!(paged.len(), 2_103, "{order:?}: each once");
    }
    let inactive = UserQuery { search: "many".to_owned(), active: Some(false), ..UserQuery::default() };
    assert_eq!(names(&store, inactive).await, [""; 0]);
}

async fn users_are_filtered_by_their_properties(site: Site) {
    let store = site.open().await;
    create(&store, NewUser::named("ann")).await;
    create(&store, NewUser { staff: true, ..NewUser::named("sam") }).await;
    create(&store, NewUser { superuser: true, active: false, ..NewUser::named("sue") }).await;
    create(&store, NewUser { active: false, ..NewUser::named("ida") }).await;
    for (active, staff, found) in [
        (None, None, vec!["ann", "ida", "sam", "sue"]),
        (Some(true), None, vec!["ann", "sam"]),
        (Some(false), None, vec!["ida", "sue"]),
        (None, Some(true), vec!["sam", "sue"]),
        (None, Some(false), vec!["ann", "ida"]),
        (Some(false), Some(true), vec!["sue"]),
    ] {
        assert_eq!(
            names(&store, UserQuery { active, staff, ..UserQuery::default() }).await,
            found,
            "{active:?} {staff:?}"
        );
    }
    let query = UserQuery { search: "s".to_owned(), active: Some(true), ..UserQuery::default() };
    assert_eq!(names(&store, query).await, ["sam"]);
}

async fn common_groups_and_rare_groups_are_filtered_alike(site: Site) {
    let store = site.open().await;
    for name in ["ann", "bea", "cid", "dan"] {
        let groups = if name == "cid" { vec!["rare".to_owned(), "all".to_owned()] } else { vec!["all".to_owned()] };
        create(&store, NewUser { groups, ..NewUser::named(name) }).await;
    }
    let crowd = crowd(&store, 2_100).await;
    let of = |group: &str| UserQuery { group: Some(group.to_owned()), limit: 5_000, ..UserQuery::default() };
    assert_eq!(names(&store, of("rare")).await, ["cid"]);
    assert_eq!(names(&store, of("none")).await, [""; 0]);
    let all = directory(&store).users(&of("all")).await.unwrap();
    assert_eq!(all.entries.len(), crowd + 4);
    assert_eq!(directory(&store).groups(10).await.unwrap(), ["all", "rare"]);
}

/// Creates many users of the group "all", each with a token.
async fn crowd(store: &Store, count: usize) -> usize {
    for number in 0..count {
        let user = NewUser { groups: vec!["all".to_owned()], ..NewUser::named(format!("many{number:05}")) };
        let id = create(store, user).await;
        if number % 2 == 0 {
            store.ledger.issue_login(id).await.unwrap();
        }
    }
    count
}

async fn every_user_is_on_exactly_one_page_in_each_order(site: Site) {
    let store = site.open().await;
    for number in 0..10 {
        // Names that differ only in case, and equal times.
        let name = if number % 2 == 0 { format!("user{number}") } else { format!("USER{}", number - 1) };
        let password = Some(Password::parse("wonderland".to_owned()).unwrap());
        create(&store, NewUser { password, ..NewUser::named(name) }).await;
        site.hand.advance(Duration::from_secs(number % 3));
    }
    let sessions = store.sessions.as_ref().unwrap();
    for name in ["user4", "USER0", "user8"] {
        let password = Password::parse("wonderland".to_owned()).unwrap();
        sessions.open(name, password, DAY).await.unwrap().expect("the password fits");
    }
    for order in [
        UserOrder::Name,
        UserOrder::NameReversed,
        UserOrder::Newest,
        UserOrder::Oldest,
        UserOrder::LastLogin,
        UserOrder::LastLoginReversed,
    ] {
        let all = names(&store, UserQuery { order, ..UserQuery::default() }).await;
        let part =
            async |position| users(&store, UserQuery { order, limit: 3, position, ..UserQuery::default() }).await;
        assert_eq!(paged(part).await, all, "{order:?}");
        assert_eq!(all.len(), 10);
    }
    let newest = names(&store, UserQuery { order: UserOrder::Newest, ..UserQuery::default() }).await;
    assert_eq!((newest[0].as_str(), newest[9].as_str()), ("USER8", "user0"));
    let login = names(&store, UserQuery { order: UserOrder::LastLogin, ..UserQuery::default() }).await;
    assert_eq!(login[..3], ["user8", "user4", "USER0"]);
}

async fn previous_pages_show_the_current_entries(site: Site) {
    let store = site.open().await;
    let mut ids = Vec::new();
    for name in ["b", "c", "d", "e", "f", "g"] {
        ids.push(create(&store, NewUser::named(name)).await);
    }
    let part = async |position| users(&store, UserQuery { limit: 2, position, ..UserQuery::default() }).await;
    let second = part(part(PagePosition::Start).await.next).await;
    assert_eq!(second.entries, ["d", "e"]);
    create(&store, NewUser::named("a")).await;
    let back = part(second.previous.clone()).await;
    assert_eq!(back.entries, ["b", "c"], "a new entry moves no other one");
    let first = part(back.previous).await;
    assert_eq!(
        (&*first.entries, &first.previous),
        (&["a".to_owned(), "b".to_owned()][..], &PagePosition::Start),
        "a first part is whole"
    );
    assert_eq!(part(first.next).await.entries, ["c", "d"]);
    for id in &ids[..2] {
        store.accounts.delete(*id).await.unwrap();
    }
    let first = part(second.previous).await;
    assert_eq!((&*first.entries, first.previous), (&["a".to_owned(), "d".to_owned()][..], PagePosition::Start));
}

async fn each_view_of_the_tokens_shows_its_own_in_its_order(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let mut tokens = Vec::new();
    for name in ["soon", "later", "over", "revoked", "exposed", "used", "plain"] {
        tokens.push(named(&store, alice, name).await);
    }
    let [soon, later, over, revoked, exposed, used, plain] = tokens[..] else { panic!("seven tokens") };
    for (token, days) in [(soon, 20), (later, 300), (over, 1)] {
        end_at(&store, token, days).await;
    }
    store.ledger.revoke(TokenRef::Id(revoked)).await.unwrap();
    let digest = store.ledger.show(TokenRef::Id(exposed)).await.unwrap().unwrap().record.digest;
    store.tokens.mark_exposed(digest, [192, 0, 2, 9].into(), START).await.unwrap();
    site.hand.advance(2 * DAY);
    let now = START.after(2 * DAY);
    store.ledger.mark_used(&[(used, now)]).await.unwrap();
    let view = |view| TokenQuery { view, ..TokenQuery::default() };
    assert_eq!(ids(&store, view(TokenView::All)).await, [plain, used, exposed, revoked, over, later, soon]);
    assert_eq!(ids(&store, view(TokenView::Live)).await, [plain, used, exposed, later, soon]);
    assert_eq!(ids(&store, view(TokenView::UnusedSince(now))).await, [soon, later, exposed, plain]);
    assert_eq!(ids(&store, view(TokenView::EndingBefore(now.after(30 * DAY)))).await, [soon]);
    assert_eq!(ids(&store, view(TokenView::EndingBefore(now.after(400 * DAY)))).await, [soon, later]);
    assert_eq!(ids(&store, view(TokenView::Expired)).await, [over]);
    assert_eq!(ids(&store, view(TokenView::Revoked)).await, [revoked]);
    assert_eq!(ids(&store, view(TokenView::Exposed)).await, [exposed]);
}

async fn tokens_are_found_by_owner_hint_and_kind(site: Site) {
    let store = site.open().await;
    let (alice, sam) =
        (user(&store, "Alice").await, create(&store, NewUser { staff: true, ..NewUser::named("sam") }).await);
    let login = store.ledger.issue_login(alice).await.unwrap();
    let (first, second) = (named(&store, alice, "one").await, named(&store, sam, "two").await);
    assert_eq!(ids(&store, TokenQuery { owner: Some(alice), ..TokenQuery::default() }).await, [first, login.id]);
    assert_eq!(
        ids(&store, TokenQuery { owner_name: "ali".to_owned(), ..TokenQuery::default() }).await,
        [first, login.id]
    );
    assert_eq!(
        ids(&store, TokenQuery { owner_name: "LIC".to_owned(), ..TokenQuery::default() }).await,
        [first, login.id]
    );
    assert_eq!(ids(&store, TokenQuery { owner_name: "nobody".to_owned(), ..TokenQuery::default() }).await, []);
    assert_eq!(ids(&store, TokenQuery { name: Some("two".to_owned()), ..TokenQuery::default() }).await, [second]);
    for (order, wanted) in
        [(TokenOrder::Newest, [second, first, login.id]), (TokenOrder::Oldest, [login.id, first, second])]
    {
        assert_eq!(ids(&store, TokenQuery { order: Some(order), ..TokenQuery::default() }).await, wanted, "{order:?}");
    }
    let hint = login.key.hint().as_str()[..5].to_owned();
    assert_eq!(ids(&store, TokenQuery { hint, ..TokenQuery::default() }).await, [login.id]);
    assert_eq!(ids(&store, TokenQuery { kind: Some(TokenKind::Login), ..TokenQuery::default() }).await, [login.id]);
    assert_eq!(
        ids(&store, TokenQuery { kind: Some(TokenKind::Named), ..TokenQuery::default() }).await,
        [second, first]
    );
    assert_eq!(ids(&store, TokenQuery { ordinary: true, ..TokenQuery::default() }).await, [first, login.id]);
    let both = TokenQuery { ordinary: true, owner_name: "s".to_owned(), ..TokenQuery::default() };
    assert_eq!(ids(&store, both).await, []);
}

async fn common_names_and_rare_names_of_owners_are_found_alike(site: Site) {
    let store = site.open().await;
    let crowd = crowd(&store, 2_100).await;
    let of = |name: &str, ordinary| TokenQuery {
        owner_name: name.to_owned(),
        ordinary,
        limit: 5_000,
        ..TokenQuery::default()
    };
    for ordinary in [false, true] {
        let all = directory(&store).tokens(&of("MANY", ordinary)).await.unwrap().entries;
        assert_eq!(all.len(), crowd / 2);
        assert!(all.is_sorted_by_key(|token: &TokenDetails| std::cmp::Reverse(token.record.id.0)));
        let few = directory(&store).tokens(&of("many0001", ordinary)).await.unwrap().entries;
        let few: Vec<_> = few.into_iter().map(|token| token.record.owner.name).collect();
        assert_eq!(few, ["many00018", "many00016", "many00014", "many00012", "many00010"]);
    }
}

async fn common_and_rare_beginnings_of_keys_are_found_alike(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let mut issued = Vec::new();
    for number in 0..2_100 {
        let key = key(&format!("feed{number:036}"));
        issued.push(store.ledger.import(alice, key, OnConflict::Replace).await.unwrap().id);
    }
    let other = store
        .ledger
        .import(alice, key("fee1000000000000000000000000000000000000"), OnConflict::Replace)
        .await
        .unwrap()
        .id;
    issued.reverse();
    let of = |hint: &str| TokenQuery { hint: hint.to_owned(), ..TokenQuery::default() };
    assert_eq!(ids(&store, of("feed")).await, issued);
    assert_eq!(ids(&store, of("fee1")).await, [other]);
    assert_eq!(ids(&store, of("fee")).await, [&[other], &issued[..]].concat());
}

async fn every_token_is_on_exactly_one_page_in_each_view(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    for number in 0..9 {
        let token = named(&store, alice, "x").await;
        // Some have the same expiry.
        end_at(&store, token, 10 + number / 2).await;
    }
    for view in [
        TokenView::All,
        TokenView::Live,
        TokenView::UnusedSince(START.after(DAY)),
        TokenView::EndingBefore(START.after(99 * DAY)),
    ] {
        let all = ids(&store, TokenQuery { view, ..TokenQuery::default() }).await;
        let part =
            async |position| tokens(&store, TokenQuery { view, limit: 2, position, ..TokenQuery::default() }).await;
        assert_eq!(paged(part).await, all, "{view:?}");
        assert_eq!(all.len(), 9);
    }
}

async fn an_impossible_name_finds_nothing(site: Site) {
    let store = site.open().await;
    user(&store, "alice").await;
    for text in ["\0", "a\0", "'; DROP TABLE users; --", "$1", "\u{10FFFF}"] {
        assert_eq!(search(&store, text).await, [""; 0], "{text:?}");
        let group = UserQuery { group: Some(text.to_owned()), ..UserQuery::default() };
        assert_eq!(names(&store, group).await, [""; 0]);
        let tokens = TokenQuery { owner_name: text.to_owned(), hint: text.to_owned(), ..TokenQuery::default() };
        assert_eq!(ids(&store, tokens).await, []);
    }
}

async fn a_mark_changes_with_the_password_alone(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let mark = async || directory(&store).standing(alice).await.unwrap().unwrap().1;
    let first = mark().await;
    store.accounts.rename(alice, "alice2").await.unwrap();
    assert_eq!(mark().await, first);
    store.accounts.set_password(alice, Some(Password::parse("wonderland".to_owned()).unwrap())).await.unwrap();
    assert_ne!(mark().await, first);
    store.accounts.delete(alice).await.unwrap();
    assert!(directory(&store).standing(alice).await.unwrap().is_none());
}
