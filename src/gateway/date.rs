//! The `Date` header of responses.

use std::cell::RefCell;

use http::HeaderValue;

use crate::clock::{Clock, Timestamp};

/// The `Date` header of the current second, cached: most responses fall into the same second as the one before.
#[derive(Default)]
pub struct DateHeader(RefCell<Option<(i64, HeaderValue)>>);

impl DateHeader {
    /// Returns the header for this moment.
    pub fn now(&self, clock: &Clock) -> HeaderValue {
        let now = clock.now();
        match &mut *self.0.borrow_mut() {
            Some((second, value)) if *second == now.as_seconds() => value.clone(),
            cached => {
                let value = format(now);
                *cached = Some((now.as_seconds(), value.clone()));
                value
            }
        }
    }
}

fn format(time: Timestamp) -> HeaderValue {
    // The text of a date is a valid value.
    HeaderValue::try_from(time.http_date()).unwrap_or(HeaderValue::from_static(""))
}
