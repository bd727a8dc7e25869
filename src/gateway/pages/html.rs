//! The pages as text. Everything that comes from elsewhere goes through [`Html::text`], which leaves no markup in it.
//!
//! No script, nothing from outside; the one style sheet stands in the page and its digest in the policy.

use aws_lc_rs::digest::{SHA256, digest};
use base64ct::{Base64, Encoding};

use super::Offers;
use crate::clock::Timestamp;
use crate::store::{TokenDetails, TokenKind};

const STYLE: &str = include_str!("style.css");

/// A piece of a page.
#[derive(Default)]
pub(super) struct Html(String);

/// What a form of ours needs beside its own fields.
pub(super) struct FormSeal<'a> {
    /// Where it goes.
    pub action: &'a str,
    /// The secret, under a mask.
    pub csrf: &'a str,
}

/// What is told above a form.
pub(super) enum Notice<'a> {
    None,
    /// Something did not work.
    Error(&'a str),
    /// Something did.
    Done(&'a str),
    /// A key, to be shown once.
    Key {
        what: &'a str,
        key: &'a str,
    },
}

/// The policy that all pages have: nothing is loaded, nothing runs, nobody frames them, forms go nowhere else.
pub(super) fn policy() -> String {
    let style = Base64::encode_string(digest(&SHA256, STYLE.as_bytes()).as_ref());
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

impl Html {
    fn raw(mut self, markup: &'static str) -> Html {
        self.0.push_str(markup);
        self
    }

    fn text(mut self, text: &str) -> Html {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#x27;"),
                c => self.0.push(c),
            }
        }
        self
    }

    fn then(self, more: impl FnOnce(Html) -> Html) -> Html {
        more(self)
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }

    fn begin(title: &str, main: &'static str) -> Html {
        let begin = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
                     <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
                     <meta name=\"robots\" content=\"noindex\">\n<title>";
        Html::default()
            .raw(begin)
            .text(title)
            .raw("</title>\n<style>")
            .raw(STYLE)
            .raw("</style>\n</head>\n<body>\n")
            .raw(main)
    }

    fn end(self) -> Html {
        self.raw("</main>\n</body>\n</html>\n")
    }

    fn form(self, seal: &FormSeal<'_>) -> Html {
        let html = self.raw("<form method=\"post\" action=\"").text(seal.action);
        html.raw("\">\n<input type=\"hidden\" name=\"csrfmiddlewaretoken\" value=\"").text(seal.csrf).raw("\">\n")
    }

    /// Whose password a form asks for: not sent, but password managers look for it.
    fn user(self, name: &str) -> Html {
        self.raw("<input type=\"text\" autocomplete=\"username\" value=\"").text(name).raw("\" readonly hidden>\n")
    }

    /// A cell of a table. Narrow screens show its head beside it.
    fn cell(self, head: &'static str, text: &str) -> Html {
        self.raw("<td data-head=\"").raw(head).raw("\">").text(text).raw("</td>")
    }

    fn notice(self, notice: &Notice<'_>) -> Html {
        match notice {
            Notice::None => self,
            Notice::Error(text) => self.raw("<p class=\"note error\" role=\"alert\">").text(text).raw("</p>\n"),
            Notice::Done(text) => self.raw("<p class=\"note\" role=\"status\">").text(text).raw("</p>\n"),
            Notice::Key { what, key } => {
                let html = self.raw("<div class=\"note\" role=\"status\">\n<p>").text(what);
                html.raw("</p>\n<p><code>").text(key).raw("</code></p>\n</div>\n")
            }
        }
    }
}

/// The page to log in on.
/// `user`: what was typed before.
pub(super) fn login(seal: &FormSeal<'_>, next: Option<&str>, user: &str, notice: &Notice<'_>) -> Html {
    Html::begin("Log in", "<main>\n<section>\n<h1>Log in</h1>\n")
        .notice(notice)
        .form(seal)
        .raw("<input type=\"hidden\" name=\"next\" value=\"")
        .text(next.unwrap_or_default())
        .raw(
            "\">\n<label for=\"username\">Username</label>\n\
             <input id=\"username\" name=\"username\" type=\"text\" maxlength=\"150\" autocomplete=\"username\" \
             autocapitalize=\"none\" spellcheck=\"false\" autofocus required value=\"",
        )
        .text(user)
        .raw(
            "\">\n<label for=\"password\">Password</label>\n\
             <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required>\n\
             <button type=\"submit\">Log in</button>\n</form>\n</section>\n",
        )
        .end()
}

/// A page that only tells something, with a way to go on.
pub(super) fn message(title: &str, text: &str, link: Option<(&str, &str)>) -> Html {
    let html = Html::begin(title, "<main>\n<section>\n<h1>").text(title).raw("</h1>\n<p>").text(text).raw("</p>\n");
    let html = match link {
        None => html,
        Some((to, name)) => html.raw("<p><a href=\"").text(to).raw("\">").text(name).raw("</a></p>\n"),
    };
    html.raw("</section>\n").end()
}

/// What the account page shows.
pub(super) struct Account<'a> {
    pub user: &'a str,
    pub tokens: &'a [TokenDetails],
    pub offers: Offers,
    pub seal: FormSeal<'a>,
    pub logout: &'a str,
    pub notice: Notice<'a>,
}

/// The page of a user's tokens.
pub(super) fn account(page: &Account<'_>) -> Html {
    let leave = FormSeal { action: page.logout, csrf: page.seal.csrf };
    Html::begin("Your tokens", "<main class=\"wide\">\n<header>\n<h1>")
        .text(page.user)
        .raw("</h1>\n")
        .form(&leave)
        .raw("<button class=\"quiet\" type=\"submit\">Log out</button>\n</form>\n</header>\n")
        .notice(&page.notice)
        .raw("<section>\n<h2>Tokens</h2>\n")
        .then(|html| table(html, page))
        .raw("</section>\n<section>\n<h2>Login token</h2>\n")
        .raw("<p class=\"soft\">The token returned when you log in with your password. Resetting revokes the current one.</p>\n")
        .form(&page.seal)
        .user(page.user)
        .raw("<label for=\"login-password\">Password</label>\n")
        .raw("<input id=\"login-password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required>\n")
        .raw("<div class=\"row\">\n")
        .raw(if page.offers.recoverable { "<button name=\"action\" value=\"reveal\">Show</button>\n" } else { "" })
        .raw("<button class=\"quiet\" name=\"action\" value=\"reset\">Reset</button>\n</div>\n</form>\n</section>\n")
        .then(|html| if page.offers.named { new_token(html, page) } else { html })
        .end()
}

fn new_token(html: Html, page: &Account<'_>) -> Html {
    html.raw("<section>\n<h2>New token</h2>\n")
        .raw("<p class=\"soft\">Issue one for each program or device, so that each can be revoked alone. The key is shown once.</p>\n")
        .form(&page.seal)
        .user(page.user)
        .raw("<div class=\"row\">\n<div>\n<label for=\"token-name\">Name</label>\n")
        .raw("<input id=\"token-name\" name=\"name\" type=\"text\" maxlength=\"100\" autocomplete=\"off\" required>\n</div>\n")
        .raw("<div>\n<label for=\"token-password\">Password</label>\n")
        .raw("<input id=\"token-password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required>\n")
        .raw("</div>\n</div>\n<button name=\"action\" value=\"create\">Create</button>\n</form>\n</section>\n")
}

fn table(html: Html, page: &Account<'_>) -> Html {
    if page.tokens.is_empty() {
        return html.raw("<p class=\"soft\">You have no tokens yet.</p>\n");
    }
    // Without named tokens there is one, which nothing has to tell from others, and whose uses nobody notes.
    let head = if page.offers.named {
        "<th>Key</th><th>Kind</th><th>Name</th><th>Created</th><th>Expires</th><th>Last used</th><td></td>"
    } else {
        "<th>Key</th><th>Created</th><td></td>"
    };
    let html = html.raw("<table>\n<thead><tr>").raw(head).raw("</tr></thead>\n<tbody>\n");
    let rows = page.tokens.iter().fold(html, |html, token| row(html, token, page));
    rows.raw("</tbody>\n</table>\n")
}

fn row(html: Html, token: &TokenDetails, page: &Account<'_>) -> Html {
    let key = html.raw("<tr><td data-head=\"Key\"><code>").text(token.hint.as_str()).raw("…</code></td>");
    let created = time(token.record.created);
    let cells = if page.offers.named {
        let kind = match token.kind {
            TokenKind::Login => "login",
            TokenKind::Named => "named",
        };
        let [expires, last_used] =
            [token.record.expires, token.last_used].map(|at| at.map_or("never".to_owned(), time));
        key.cell("Kind", kind)
            .cell("Name", &token.name)
            .cell("Created", &created)
            .cell("Expires", &expires)
            .cell("Last used", &last_used)
    } else {
        key.cell("Created", &created)
    };
    cells
        .raw("<td>")
        .form(&page.seal)
        .raw("<input type=\"hidden\" name=\"token\" value=\"")
        .text(&token.record.id.to_string())
        .raw("\"><button class=\"bad\" name=\"action\" value=\"revoke\" aria-label=\"Revoke ")
        .text(token.hint.as_str())
        .raw("\">Revoke</button></form></td></tr>\n")
}

/// To the minute, in UTC.
fn time(at: Timestamp) -> String {
    let text = at.to_string();
    let minute = text.get(..16).map(|begin| begin.replace('T', " "));
    minute.unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_leave_no_markup() {
        let html = Html::default().text("<b a=\"x\" b='y'>&amp;</b>").into_string();
        assert_eq!(html, "&lt;b a=&quot;x&quot; b=&#x27;y&#x27;&gt;&amp;amp;&lt;/b&gt;");
    }

    #[test]
    fn times_are_told_to_the_minute() {
        assert_eq!(time(Timestamp::from_micros(1_767_225_600_000_000)), "2026-01-01 00:00");
    }

    #[test]
    fn the_policy_names_the_style_that_stands_in_the_page() {
        let page = message("a", "b", None).into_string();
        let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        let hash = Base64::encode_string(digest(&SHA256, style.as_bytes()).as_ref());
        assert!(policy().contains(&format!("style-src 'sha256-{hash}';")), "{}", policy());
    }
}
