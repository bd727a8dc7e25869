//! A product as JSON, and the validation errors that clients get.
//!
//! Pure: takes bodies, returns values or errors. The texts and their order are those of a Django REST Framework
//! `ModelSerializer`, so that clients of such a service see familiar errors.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// A product as the service returns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Product {
    /// Assigned by the service.
    pub id: i64,
    /// 1 to 200 characters.
    pub name: String,
    /// Two decimal places.
    pub price: Price,
    /// Units in stock.
    pub stock: i64,
    /// May be empty.
    pub description: String,
}

/// A price in hundredths, shown as a decimal text such as `"12.50"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price(pub i64);

/// The fields that a client sent for a product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// New name.
    pub name: Option<String>,
    /// New price.
    pub price: Option<Price>,
    /// New stock.
    pub stock: Option<i64>,
    /// New description.
    pub description: Option<String>,
}

/// Whether all required fields must be present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// For POST and PUT.
    Whole,
    /// For PATCH.
    Partial,
}

/// Longest name in characters.
const MAX_NAME: usize = 200;
/// The greatest stock: a 32-bit column.
const MAX_STOCK: i64 = 2_147_483_647;
/// Digits of a price, two of them after the point.
const PRICE_DIGITS: usize = 10;

const REQUIRED: &str = "This field is required.";
const NULL: &str = "This field may not be null.";
const NEGATIVE: &str = "Ensure this value is greater than or equal to 0.";

/// Parses the body of a POST, PUT or PATCH.
///
/// # Errors
/// A JSON object with an error for each invalid field.
pub fn read_draft(body: &[u8], completeness: Completeness) -> Result<Draft, Value> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| json!({"detail": format!("JSON parse error - {error}")}))?;
    let Value::Object(fields) = value else {
        let what = format!("Invalid data. Expected a dictionary, but got {}.", python_type(&value));
        return Err(json!({"non_field_errors": [what]}));
    };
    let mut complaints = Map::new();
    let mut form = Form { fields: &fields, complaints: &mut complaints, completeness };
    let draft = Draft {
        name: form.field("name", true, read_name),
        price: form.field("price", true, read_price),
        stock: form.field("stock", false, read_stock),
        description: form.field("description", false, read_text),
    };
    if complaints.is_empty() { Ok(draft) } else { Err(Value::Object(complaints)) }
}

struct Form<'a> {
    fields: &'a Map<String, Value>,
    complaints: &'a mut Map<String, Value>,
    completeness: Completeness,
}

impl Form<'_> {
    fn field<T>(&mut self, name: &str, required: bool, read: fn(&Value) -> Result<T, String>) -> Option<T> {
        let answer = match self.fields.get(name) {
            None if required && self.completeness == Completeness::Whole => Err(REQUIRED.to_owned()),
            None => return None,
            Some(Value::Null) => Err(NULL.to_owned()),
            Some(value) => read(value),
        };
        match answer {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.complaints.insert(name.to_owned(), json!([complaint]));
                None
            }
        }
    }
}

fn read_name(value: &Value) -> Result<String, String> {
    let name = read_text(value)?;
    match name.chars().count() {
        0 => Err("This field may not be blank.".to_owned()),
        1..=MAX_NAME => Ok(name),
        _ => Err(format!("Ensure this field has no more than {MAX_NAME} characters.")),
    }
}

fn read_text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) if text.contains('\0') => Err("Null characters are not allowed.".to_owned()),
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err("Not a valid string.".to_owned()),
    }
}

fn read_price(value: &Value) -> Result<Price, String> {
    let invalid = || "A valid number is required.".to_owned();
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return Err(invalid()),
    };
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.as_str()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || whole.len() + fraction.len() == 0 {
        return Err(invalid());
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() + fraction.len() > PRICE_DIGITS {
        return Err(format!("Ensure that there are no more than {PRICE_DIGITS} digits in total."));
    }
    if fraction.len() > 2 {
        return Err("Ensure that there are no more than 2 decimal places.".to_owned());
    }
    if whole.len() > PRICE_DIGITS - 2 {
        return Err(format!(
            "Ensure that there are no more than {} digits before the decimal point.",
            PRICE_DIGITS - 2
        ));
    }
    let hundredths: i64 = format!("{whole}{fraction:0<2}").parse().map_err(|_| invalid())?;
    if sign < 0 && hundredths > 0 { Err(NEGATIVE.to_owned()) } else { Ok(Price(hundredths)) }
}

fn read_stock(value: &Value) -> Result<i64, String> {
    let stock = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match stock {
        None => Err("A valid integer is required.".to_owned()),
        Some(..0) => Err(NEGATIVE.to_owned()),
        Some(stock @ 0..=MAX_STOCK) => Ok(stock),
        Some(_) => Err(format!("Ensure this value is less than or equal to {MAX_STOCK}.")),
    }
}

/// Python's name for the type of a JSON value, as DRF's message has it.
fn python_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

impl Serialize for Price {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}.{:02}", self.0 / 100, self.0 % 100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(body: &Value) -> Result<Draft, Value> {
        read_draft(body.to_string().as_bytes(), Completeness::Whole)
    }

    #[test]
    fn all_invalid_fields_are_reported_at_once_in_the_words_of_drf() {
        assert_eq!(
            whole(&json!({"stock": "many", "description": null})).unwrap_err(),
            json!({
                "name": ["This field is required."],
                "price": ["This field is required."],
                "stock": ["A valid integer is required."],
                "description": ["This field may not be null."],
            })
        );
        assert_eq!(read_draft(b"{}", Completeness::Partial), Ok(Draft::default()));
    }

    #[test]
    fn prices_have_two_places_and_ten_digits() {
        let price = |value: Value| whole(&json!({"name": "x", "price": value}));
        for (given, hundredths) in [
            (json!("12.5"), 1250),
            (json!(12), 1200),
            (json!(0.05), 5),
            (json!(" 7. "), 700),
            (json!(".5"), 50),
            (json!("-0"), 0),
            (json!("0099999999.99"), 9_999_999_999),
        ] {
            assert_eq!(price(given.clone()).unwrap().price, Some(Price(hundredths)), "{given}");
        }
        for (given, complaint) in [
            (json!("x"), "A valid number is required."),
            (json!("."), "A valid number is required."),
            (json!(true), "A valid number is required."),
            (json!("1e3"), "A valid number is required."),
            (json!("-1"), "Ensure this value is greater than or equal to 0."),
            (json!("1.234"), "Ensure that there are no more than 2 decimal places."),
            (json!("123456789"), "Ensure that there are no more than 8 digits before the decimal point."),
            (json!("12345678901"), "Ensure that there are no more than 10 digits in total."),
        ] {
            assert_eq!(price(given.clone()).unwrap_err(), json!({"price": [complaint]}), "{given}");
        }
        assert_eq!(json!(Price(5)), json!("0.05"));
    }

    #[test]
    fn names_are_trimmed_and_bounded() {
        let name = |value: Value| whole(&json!({"name": value, "price": 1}));
        assert_eq!(name(json!(" tea ")).unwrap().name.as_deref(), Some("tea"));
        for (given, complaint) in [
            (json!("  "), "This field may not be blank."),
            (json!(false), "Not a valid string."),
            (json!("a\0"), "Null characters are not allowed."),
            (json!("ö".repeat(201)), "Ensure this field has no more than 200 characters."),
        ] {
            assert_eq!(name(given.clone()).unwrap_err(), json!({"name": [complaint]}), "{given}");
        }
    }

    #[test]
    fn a_body_must_be_a_json_object() {
        let told = |body: &str| read_draft(body.as_bytes(), Completeness::Whole).unwrap_err();
        assert!(told("{").get("detail").unwrap().as_str().unwrap().starts_with("JSON parse error - "));
        let expected = json!({"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]});
        assert_eq!(told("[]"), expected);
    }
}
