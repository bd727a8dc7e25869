//! The `Date` header of responses.

use std::cell::RefCell;

use http::HeaderValue;

use crate::clock::Timestamp;

/// The `Date` header of responses. The worker's tick keeps it current, so that a response need not read the clock.
pub struct DateHeader(RefCell<(i64, HeaderValue)>);

impl DateHeader {
    /// The header at this time.
    pub fn new(now: Timestamp) -> DateHeader {
        DateHeader(RefCell::new((now.as_seconds(), format(now))))
    }

    /// Sets the time.
    pub fn set(&self, now: Timestamp) {
        let mut current = self.0.borrow_mut();
        if current.0 != now.as_seconds() {
            *current = (now.as_seconds(), format(now));
        }
    }

    /// Returns the header.
    pub fn value(&self) -> HeaderValue {
        self.0.borrow().1.clone()
    }
}

fn format(time: Timestamp) -> HeaderValue {
    // The text of a date is a valid value.
    HeaderValue::try_from(time.http_date()).unwrap_or(HeaderValue::from_static(""))
}
