//! Errors of the public pages: each stands at its field, which has the focus, and what was typed stays.

use tokengate::store::Password;

use super::{Browser, PASSWORD, gateway, user};
use crate::support::Origin;

const NEW: &str = "a walk of seven miles";

/// The tag of the input or menu with this id.
fn input<'p>(page: &'p str, id: &str) -> &'p str {
    let rest = page.split(&format!(" id=\"{id}\"")).nth(1).unwrap_or_else(|| panic!("no field {id}: {page}"));
    rest.split('>').next().unwrap()
}

/// The field is marked, described by its error, and the only one with the focus.
fn is_wrong(page: &str, id: &str, told: &str) {
    let tag = input(page, id);
    let marked = format!(" aria-invalid=\"true\" aria-describedby=\"{id}-wrong\" autofocus");
    assert!(tag.ends_with(&marked), "{id}: {tag}");
    let error =
        page.split(&format!("<p class=\"wrong\" id=\"{id}-wrong\">")).nth(1).unwrap_or_else(|| panic!("{page}"));
    assert!(error.split('<').next().unwrap().contains(told), "{id}: {error}");
    assert_eq!((page.matches(" autofocus").count(), page.matches(" aria-invalid=").count()), (1, 1), "{page}");
    assert!(page.contains("<title>Error: "), "{page}");
}

#[tokio::test]
async fn an_error_of_the_account_page_stands_at_its_field_and_what_was_typed_stays() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    for name in ["other", "ci"] {
        let fields = [("action", "create"), ("name", name), ("password", PASSWORD)];
        alice.submit(&gateway, "/auth/account/", "/auth/account/", &fields).await;
    }
    let page = alice.get(&gateway, "/auth/account/").await;
    let row = page.text().split("<tr>").find(|row| row.contains("data-head=\"Name\">ci<")).unwrap();
    let id = row.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let of_token = |input: &str| format!("{input}-{id}");
    let (name, expires, password) = (of_token("name"), of_token("expires"), of_token("password"));
    let long = "x".repeat(101);
    let change = |name, expires, password| {
        vec![("action", "change"), ("token", &*id), ("name", name), ("expires", expires), ("password", password)]
    };
    let change_password = |old, new, again| {
        vec![("action", "password"), ("password", old), ("new_password", new), ("new_password_again", again)]
    };
    let create = |name, password| vec![("action", "create"), ("name", name), ("password", password)];
    let (wrong, renamed) = ("Wrong password.", ("name", "value=\"build\""));
    for (fields, field, told, stays) in [
        (vec![("action", "reveal"), ("password", "nope")], "login-password", wrong, vec![]),
        (vec![("action", "reset"), ("password", "")], "login-password", wrong, vec![]),
        (create("laptop", "nope"), "token-password", wrong, vec![("token-name", "value=\"laptop\"")]),
        (create("", PASSWORD), "token-name", "1 to 100 characters", vec![]),
        (create(&long, PASSWORD), "token-name", "1 to 100 characters", vec![("token-name", &*long)]),
        (change("build", "30", "nope"), &password, wrong, vec![renamed, ("expires", "value=\"30\" selected")]),
        (change("", "never", PASSWORD), &name, "1 to 100 characters", vec![("expires", "value=\"never\" selected")]),
        (change(&long, "", PASSWORD), &name, "1 to 100 characters", vec![("name", &long)]),
        (change("build", "soon", PASSWORD), &expires, "Choose when the token expires.", vec![renamed]),
        (change_password("nope", NEW, NEW), "old-password", wrong, vec![]),
        (change_password(PASSWORD, NEW, "other"), "new-password", "do not match", vec![]),
        (change_password(PASSWORD, "", ""), "new-password", "Enter a new password.", vec![]),
        (change_password(PASSWORD, PASSWORD, PASSWORD), "new-password", "must differ", vec![]),
        (change_password(PASSWORD, "password1", "password1"), "new-password", "too common", vec![]),
    ] {
        let answer = alice.submit(&gateway, "/auth/account/", "/auth/account/", &fields).await;
        let page = answer.text();
        assert_eq!(answer.status, 200, "{fields:?}: {page}");
        is_wrong(page, field, told);
        for (input, value) in stays {
            let form = page.split("<form").find(|form| form.contains(&format!(" id=\"{field}\""))).unwrap();
            let field = form.split(&format!(" name=\"{input}\"")).nth(1);
            let field = field.or_else(|| form.split(&format!(" id=\"{input}\"")).nth(1));
            assert!(field.unwrap_or_else(|| panic!("{input}: {form}")).contains(value), "{input} {value}: {form}");
        }
        // The form that was sent is open, and no other.
        let is_change = fields.contains(&("action", "change"));
        assert_eq!(page.matches("<details open>").count(), usize::from(is_change), "{fields:?}: {page}");
        assert!(![PASSWORD, NEW, "nope", "password1"].iter().any(|typed| page.contains(typed)), "{fields:?}: {page}");
    }
    let page = alice.get(&gateway, "/auth/account/").await;
    assert!(!page.text().contains("aria-invalid=") && page.text().contains("<title>Your tokens"), "{}", page.text());
}

#[tokio::test]
async fn an_error_that_belongs_to_no_field_has_the_focus_itself() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    user(&gateway, "mallory").await;
    for fields in [
        vec![("action", "revoke"), ("token", "4711")],
        vec![("action", "change"), ("token", "x"), ("name", "a"), ("password", PASSWORD)],
        vec![("action", "sing"), ("password", PASSWORD)],
    ] {
        let answer = alice.submit(&gateway, "/auth/account/", "/auth/account/", &fields).await;
        let page = answer.text();
        assert!(page.contains("role=\"alert\" id=\"problem\" tabindex=\"-1\" autofocus>"), "{fields:?}: {page}");
        assert!(page.matches(" autofocus").count() == 1 && !page.contains("aria-invalid="), "{fields:?}: {page}");
    }
}

#[tokio::test]
async fn a_sign_in_that_fails_puts_the_focus_where_the_next_try_begins() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut browser = Browser::default();
    let first = browser.get(&gateway, "/auth/login/").await;
    assert!(input(first.text(), "username").ends_with(" autofocus"), "{}", first.text());
    for (name, field) in [("alice", "password"), ("", "username")] {
        let answer = browser.log_in(&gateway, name, "nope").await;
        let tag = input(answer.text(), field);
        assert!(tag.ends_with(" aria-describedby=\"problem\" autofocus"), "{tag}");
        assert_eq!(answer.text().matches(" autofocus").count(), 1, "{}", answer.text());
    }
    let id = gateway.user("alice").await;
    let given = "given by an administrator";
    gateway.store.accounts.set_temporary_password(id, Password::parse(given).unwrap()).await.unwrap();
    is_wrong(browser.log_in(&gateway, "alice", given).await.text(), "new-password", "Choose a new password.");
    for (new, again, told) in
        [("password1", "password1", "common"), (NEW, "x", "do not match"), (given, given, "differ")]
    {
        let fields = [("username", "alice"), ("password", given), ("new_password", new), ("new_password_again", again)];
        let answer = browser.submit(&gateway, "/auth/login/", "/auth/login/", &fields).await;
        is_wrong(answer.text(), "new-password", told);
        assert!(!answer.text().contains(given), "{}", answer.text());
    }
}
