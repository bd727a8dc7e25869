//! Lists and their totals, heads and pages; views that are empty; forms that change nothing.

use std::time::Duration;

use tokengate::store::{NewUser, TokenRef};
use tokengate::token::TokenKey;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_says_whether_there_is_nothing_or_nothing_matches() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    for (list, nothing, no_match) in [
        ("/tokens", "No tokens yet", Some(("?owner=nobody", "No token matches your search."))),
        ("/groups", "No groups yet", None),
        ("/traffic/errors", "No errors", Some(("?route=none", "No request of this route has failed"))),
        ("/traffic", "No requests in this period.", None),
    ] {
        let page = browser.page(list).await;
        assert!(page.contains(nothing) && !page.contains("No match"), "{list}: {page}");
        if let Some((filter, told)) = no_match {
            let page = browser.page(&format!("{list}{filter}")).await;
            assert!(page.contains(told) && page.contains("No matches") && !page.contains(nothing), "{list}: {page}");
        }
    }
    for (path, told) in [
        ("/users?q=nobody", "No user matches your search."),
        ("/users?active=no", "No user matches your search."),
        ("/tokens?view=revoked", "No token matches your search."),
        ("/audit?actor=nobody", "No matching entries"),
    ] {
        let page = browser.page(path).await;
        assert!(page.contains(told) && page.contains("Show "), "{path}: {page}");
    }
    // Staff sees only ordinary users: there is one.
    gateway.store.accounts.delete(id_of(&gateway, "alice").await).await.unwrap();
    let page = Browser::of(&gateway, "helper").await.page("/users").await;
    assert!(page.contains("No users yet") && !page.contains("Add a user"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_totals_heads_that_sort_and_pages_above_and_below_and_keep_their_filters() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    for number in 0..60 {
        gateway.issue(&format!("member{number:02}")).await;
    }
    let browser = Browser::of(&gateway, "root").await;
    for (list, filter, total, sorts) in [
        ("/users", "q=member&active=yes&", "60 users", &["name_reversed", "newest", "last_login"][..]),
        ("/tokens", "owner=member&kind=login&", "60 tokens", &["newest", "expires", "used"]),
    ] {
        let kept = filter.replace('&', "&#38;");
        let page = browser.page(&format!("{list}?{filter}")).await;
        assert!(page.contains(&format!("<p class=\"total soft\">{total}")), "{list}: {page}");
        assert_eq!(page.matches("rel=\"next\"").count(), 2, "above and below: {page}");
        assert!(page.contains("aria-label=\"Pages, above the list\"") && page.contains("aria-label=\"Pages\""));
        for sort in sorts {
            assert!(page.contains(&format!("href=\"{list}?{kept}order={sort}&#38;\"")), "{list} {sort}: {page}");
            let sorted = browser.page(&format!("{list}?{filter}order={sort}")).await;
            assert_eq!(sorted.matches(" aria-sort=\"").count(), 1, "{list} {sort}");
            assert!(sorted.contains(&format!("name=\"order\" value=\"{sort}\"")), "a search keeps the order");
            let next = sorted.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap();
            assert!(next.starts_with(&format!("{list}?{kept}order={sort}&#38;page=")), "{next}");
            let next = browser.page(&next.replace("&#38;", "&")).await;
            assert_eq!((next.matches("<tr>\n<td").count(), next.matches("rel=\"prev\"").count()), (10, 2), "{sort}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_listed_with_their_members() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    for (name, groups) in [("ada", &["editors", "a & b"][..]), ("bob", &["editors"])] {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        gateway.store.accounts.create(NewUser { groups, ..NewUser::named(name) }).await.unwrap();
    }
    let browser = Browser::of(&gateway, "root").await;
    let page = browser.page("/groups").await;
    for (href, group, size) in [("editors", "editors", "2"), ("a+%26+b", "a &#38; b", "1")] {
        let row = format!("<a href=\"/users?group={href}\">{group}</a></th><td data-label=\"Members\">{size}</td>");
        assert!(page.contains(&row), "{page}");
    }
    let members = browser.page("/users?group=a+%26+b").await;
    assert!(members.contains(">ada</a>") && !members.contains(">bob</a>"), "{members}");
    assert_eq!(Browser::of(&gateway, "helper").await.get("/groups").await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_changes_nothing_says_so_and_leaves_no_entry() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let key = gateway.issue_named("alice", "read", None, &gateway.clock()).await;
    let digest = TokenKey::parse(&key).unwrap().digest();
    let token = gateway.store.ledger.show(TokenRef::Digest(digest)).await.unwrap().unwrap();
    let (user, name) = (format!("/users/{}", token.record.owner.id), token.name.clone());
    let token = format!("/tokens/{}", token.record.id);
    let browser = Browser::of(&gateway, "root").await;
    let own = ("own_password", PASSWORD);
    let before = browser.page("/audit/export?format=jsonl").await.lines().count();
    for (path, fields) in [
        (format!("{user}/edit"), vec![("username", "alice"), ("email", "alice@example.test")]),
        (format!("{user}/groups"), vec![("more", "")]),
        (format!("{user}/rights"), vec![own]),
        (format!("{user}/active"), vec![("active", "yes")]),
        (format!("{token}/terms"), vec![("name", &*name), ("scopes", "read"), own]),
        (format!("{token}/disabled"), vec![("disabled", "no")]),
    ] {
        let page = browser.submit_and_follow("/users", &path, &fields).await;
        assert!(page.contains("Nothing was changed."), "{path}: {page}");
    }
    assert_eq!(browser.page("/audit/export?format=jsonl").await.lines().count(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_to_be_changed_at_the_next_sign_in_opens_nothing_else() {
    const GIVEN: &str = "given by a superuser";
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let helper = format!("/users/{}", id_of(&gateway, "helper").await);
    let root = Browser::of(&gateway, "root").await;
    let fields = [("password", GIVEN), ("password_again", GIVEN), ("must_change", "on"), ("own_password", PASSWORD)];
    let page = root.submit_and_follow(&helper, &format!("{helper}/password"), &fields).await;
    assert!(page.contains("to be changed at the next sign-in"), "{page}");
    let mut staff = Browser::new(&gateway);
    let asked = staff.sign_in("helper", GIVEN).await;
    let text = asked.text();
    assert!(asked.status == 403 && text.contains("hoose a new password"), "{text}");
    let new = text.split("id=\"new_password\"").nth(1).unwrap().split('>').next().unwrap();
    assert!(new.ends_with(" aria-invalid=\"true\" aria-describedby=\"problem\" autofocus"), "{new}");
    assert_eq!(text.matches(" autofocus").count(), 1, "{text}");
    for (new, again, told) in [
        ("password1", "password1", "too common"),
        ("a walk of seven miles", "another", "do not match"),
        (GIVEN, GIVEN, "must differ"),
        ("a walk of seven miles", "a walk of seven miles", ""),
    ] {
        let (secret, kept) = sign_in_form(&staff.get("/sign-in").await);
        let body = encoded(&[
            ("username", "helper"),
            ("password", GIVEN),
            ("new_password", new),
            ("new_password_again", again),
            ("csrf", &secret),
        ]);
        let answer = Browser { gateway: &gateway, cookie: kept }.send(staff.form("/sign-in", body)).await;
        if told.is_empty() {
            assert_eq!(answer.status, 303, "{}", answer.text());
        } else {
            assert!(answer.text().contains(told) && answer.text().contains("aria-invalid"), "{}", answer.text());
        }
    }
    assert_eq!(staff.sign_in("helper", GIVEN).await.status, 403);
    assert_eq!(staff.sign_in("helper", "a walk of seven miles").await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_shows_the_days_of_its_use() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let key = gateway.issue("alice").await;
    let digest = TokenKey::parse(&key).unwrap().digest();
    let token = gateway.store.ledger.show(TokenRef::Digest(digest)).await.unwrap().unwrap().record.id;
    let page_of = async || Browser::of(&gateway, "root").await.page(&format!("/tokens/{token}")).await;
    assert!(page_of().await.contains("Used on 0 of the last 30 days"));
    for used in 1..=2 {
        assert_eq!(Ask::get("/api/").token(&key).to(&gateway).await.status, 200);
        let told = format!("Used on {used} of the last 30 days");
        eventually(PATIENCE, "the use is written", || async { page_of().await.contains(&told) }).await;
        gateway.hand.advance(Duration::from_secs(3 * 86_400));
    }
    assert_eq!(page_of().await.matches("<li class=\"used\"").count(), 2);
}
