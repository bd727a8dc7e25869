//! Filters in the address of a list that are not valid: the list stays, with the error at its field.

use super::*;

/// The input or menu with this id.
fn input<'p>(page: &'p str, id: &str) -> &'p str {
    let rest = page.split(&format!(" id=\"{id}\"")).nth(1).unwrap_or_else(|| panic!("no field {id}: {page}"));
    rest.split('>').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_not_valid_stays_in_its_field_with_the_error() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    gateway.issue("alice").await;
    let browser = Browser::of(&gateway, "root").await;
    let long = "x".repeat(300);
    for (path, field, typed) in [
        ("/users?active=perhaps&q=ali", "active", "<option selected>perhaps</option>"),
        ("/users?role=king", "role", "<option selected>king</option>"),
        (&format!("/users?q={long}"), "q", &*format!("value=\"{long}\"")),
        (&format!("/users?group={long}"), "group", "<option selected>xxx"),
        ("/tokens?kind=odd&owner=ali", "kind", "<option selected>odd</option>"),
        (&format!("/tokens?owner={long}"), "owner", "value=\"xxx"),
        ("/tokens?user=seven", "user", "value=\"seven\""),
        ("/tokens?user=-1", "user", "value=\"-1\""),
        ("/tokens?user=0", "user", "value=\"0\""),
        ("/tokens?user=99999999999999999999", "user", "value=\"99999999999999999999\""),
        ("/tokens?user=4711", "user", "User 4711 does not exist."),
        ("/audit?since=yesterday&actor=ro", "since", "type=\"text\" value=\"yesterday\""),
        ("/audit?since=2026-02-31", "since", "value=\"2026-02-31\""),
        ("/audit?since=2026-13-01", "since", "value=\"2026-13-01\""),
        ("/audit?since=%00", "since", "This is not a date"),
        ("/audit?until=24.11.2026", "until", "value=\"24.11.2026\""),
        ("/audit?since=2026-11-02&until=2026-11-01", "until", "value=\"2026-11-01\""),
        ("/audit?act=sing", "act", "<option selected>sing</option>"),
        ("/audit?via=moon", "via", "<option selected>moon</option>"),
        ("/audit?user=%23seven", "user", "value=\"#seven\""),
        ("/audit?user=%2399999999999999999999", "user", "Write # and the user id"),
        (&format!("/audit?actor={long}"), "actor", "value=\"xxx"),
        (&format!("/audit?user={long}"), "user", "value=\"xxx"),
    ] {
        let answer = browser.get(path).await;
        let text = answer.text();
        assert_eq!(answer.status, 400, "{path}: {text}");
        let input = input(text, field);
        let marked = format!(" aria-invalid=\"true\" aria-describedby=\"{field}-wrong");
        assert!(input.contains(&marked) && input.ends_with(" autofocus"), "{path}: {input}");
        assert_eq!(text.matches(&format!("class=\"wrong\" id=\"{field}-wrong\"")).count(), 1, "{path}");
        let list = path.split('?').next().unwrap();
        assert!(text.contains(typed) && text.contains(&format!("action=\"{list}\"")), "{path}: {text}");
        assert!(text.contains("Not searched") && !text.contains("<tbody>"), "unknown means no entries: {path}");
        assert!(!text.contains("No matches") && !text.contains("/export"), "{path}: {text}");
    }
    // What was typed into the other fields stays as well.
    for (path, other) in [
        ("/users?active=perhaps&q=ali", "value=\"ali\""),
        ("/tokens?kind=odd&owner=ali", "value=\"ali\""),
        ("/audit?since=yesterday&actor=ro", "value=\"ro\""),
    ] {
        assert!(browser.get(path).await.text().contains(other), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_a_view_a_page_or_a_period_that_does_not_exist_is_told_above_its_list() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    gateway.issue("alice").await;
    let browser = Browser::of(&gateway, "root").await;
    for (path, told) in [
        ("/users?order=size", "cannot be sorted by `size`"),
        ("/tokens?order=name", "cannot be sorted by `name`"),
        ("/tokens?view=blue", "no view `blue`"),
        ("/users?page=next", "page link is no longer valid"),
        ("/tokens?page=999999999999999999999", "page link is no longer valid"),
        ("/audit?page=%00", "page link is no longer valid"),
        ("/traffic?minutes=7", "choose 5, 15 or 60 minutes"),
        ("/traffic?minutes=-5", "choose 5, 15 or 60 minutes"),
    ] {
        let answer = browser.get(path).await;
        let (text, list) = (answer.text(), path.split('?').next().unwrap());
        assert_eq!(answer.status, 400, "{path}: {text}");
        let notice = text.split("role=\"alert\"").nth(1).unwrap_or_else(|| panic!("{path}: {text}"));
        assert!(notice.starts_with(" tabindex=\"-1\" autofocus") && notice.contains(told), "{path}: {notice}");
        assert!(text.contains(&format!("href=\"{list}\" aria-current=\"page\"")), "{path}: {text}");
        // The traffic of the usual period is shown.
        assert!(list == "/traffic" || !text.contains("<tbody>"), "{path}: {text}");
    }
    // A page of one list is none of another.
    for number in 0..51 {
        gateway.user(&format!("user{number}")).await;
    }
    let first = browser.page("/users").await;
    let page = first.split("rel=\"next\" href=\"/users?page=").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(browser.get(&format!("/users?page={page}")).await.status, 200);
    for list in ["/tokens", "/audit", "/users?order=newest&"] {
        let answer = browser.get(&format!("{list}?page={page}").replace("&?", "&")).await;
        assert!(answer.status == 400 && answer.text().contains("page link is no longer valid"), "{list}");
    }
    for path in ["/traffic?route=nowhere", "/traffic?upstream=nowhere"] {
        let answer = browser.get(path).await;
        assert!(answer.status == 404 && answer.text().contains("no route or upstream of this name"), "{path}");
    }
    let none = browser.page("/traffic/errors?route=nowhere").await;
    assert!(none.contains("No matches") && none.contains("No request of this route has failed"), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_in_no_menu_stays_selected() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let page = Browser::of(&gateway, "root").await.page("/users?group=former").await;
    assert!(page.contains("<option selected>former</option>") && page.contains("No matches"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_action_from_a_list_whose_filter_is_not_valid_tells_both() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let alice = id_of(&gateway, "alice").await.to_string();
    let fields =
        [("user", alice.as_str()), ("action", "deactivate"), ("back", "active=perhaps"), ("own_password", "no")];
    let answer = browser.submit("/users", "/users/act", &fields).await;
    assert!(answer.status == 400 && answer.text().contains("active-wrong"), "{}", answer.text());
    assert!(gateway.store.accounts.find("alice").await.unwrap().unwrap().account.active);
}
