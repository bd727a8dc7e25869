//! Text constraints for the document. The store enforces them.

use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, SchemaType, Type};

/// Names: no control characters, not only white space.
const LABEL: &str = concat!(
    r"^[^\u0000-\u001F\u007F-\u009F]*",
    r"[^\u0000-\u0020\u007F-\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]",
    r"[^\u0000-\u001F\u007F-\u009F]*$"
);
/// Like names, without format characters. The pattern leaves out those beyond U+FFFF.
const USER_NAME: &str = concat!(
    r"^[^\u0000-\u001F\u007F-\u009F\u00AD\u0600-\u0605\u061C\u06DD\u070F\u0890\u0891\u08E2\u180E\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFEFF\uFFF9-\uFFFB]*",
    r"[^\u0000-\u0020\u007F-\u00A0\u00AD\u0600-\u0605\u061C\u06DD\u070F\u0890\u0891\u08E2\u1680\u180E\u2000-\u200F\u2028-\u202F\u205F-\u206F\u3000\uFEFF\uFFF9-\uFFFB]",
    r"[^\u0000-\u001F\u007F-\u009F\u00AD\u0600-\u0605\u061C\u06DD\u070F\u0890\u0891\u08E2\u180E\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFEFF\uFFF9-\uFFFB]*$"
);
/// No control characters.
const PLAIN: &str = r"^[^\u0000-\u001F\u007F-\u009F]*$";
/// A single scope.
const SCOPE: &str = "^[a-z0-9._:-]{1,64}$";

pub(super) fn user_name() -> ObjectBuilder {
    let described = "Username, without invisible characters (Unicode Cf). At most 1024 bytes when percent-encoded.";
    label(150).pattern(Some(USER_NAME)).description(Some(described))
}

pub(super) fn email() -> ObjectBuilder {
    plain(254).description(Some("E-mail address; may be empty. At most 1024 bytes when percent-encoded."))
}

pub(super) fn personal_name() -> ObjectBuilder {
    plain(150).description(Some("May be empty."))
}

pub(super) fn groups() -> ArrayBuilder {
    let described = "Missing groups are created. At most 1024 bytes together, percent-encoded and joined by commas.";
    ArrayBuilder::new().items(label(150)).description(Some(described))
}

pub(super) fn token_name() -> ObjectBuilder {
    label(100).description(Some("The name of the token."))
}

pub(super) fn note() -> ObjectBuilder {
    plain(1_000).description(Some("Note of the administrators; may be empty."))
}

pub(super) fn scopes() -> ArrayBuilder {
    let described = "The permissions of the token. At most 1024 characters together, separated by spaces.";
    ArrayBuilder::new().items(text().pattern(Some(SCOPE))).description(Some(described))
}

pub(super) fn networks() -> ArrayBuilder {
    let described = "Networks such as `10.0.0.0/8` or `2001:db8::/32`; `null`: all. At most 1024 characters together, \
                     separated by commas.";
    let types = SchemaType::from_iter([Type::Array, Type::Null]);
    ArrayBuilder::new().schema_type(types).items(text()).min_items(Some(1)).description(Some(described))
}

fn label(longest: usize) -> ObjectBuilder {
    text().min_length(Some(1)).max_length(Some(longest)).pattern(Some(LABEL))
}

fn plain(longest: usize) -> ObjectBuilder {
    text().max_length(Some(longest)).pattern(Some(PLAIN))
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}
