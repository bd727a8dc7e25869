//! Names that one table defines and others refer to: certificates, upstreams and rates.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::document::Document;
use super::nearest::nearest;
use super::reader::Named;
use super::value::{Fault, Key};

/// The names of one table, and which of them are referred to.
pub(super) struct Names {
    table: &'static str,
    kind: &'static str,
    all: Vec<(String, Option<usize>)>,
    used: RefCell<BTreeSet<usize>>,
}

impl Names {
    /// The names that `table` defines. An invalid definition is included, so that it is reported once and not at each
    /// use.
    pub(super) fn of<T>(table: &'static str, kind: &'static str, defined: &[Named<T>]) -> Names {
        let all = defined.iter().map(|named| (named.name.clone(), named.line)).collect();
        Names { table, kind, all, used: RefCell::default() }
    }

    /// The index of the name in the value of `key`.
    pub(super) fn find(&self, key: &Key<'_>) -> Option<usize> {
        let index = key.parse(|text| {
            self.all.iter().position(|(name, _)| name == text).ok_or_else(|| {
                let known: Vec<&str> = self.all.iter().map(|(name, _)| name.as_str()).collect();
                let mend = nearest(text, &known).unwrap_or_else(|| format!("add [{}.{text}]", self.table));
                Fault::new(format!("is not the name of any {} in this file", self.kind), mend)
            })
        })?;
        self.used.borrow_mut().insert(index);
        Some(index)
    }

    /// The name with this index.
    pub(super) fn name(&self, index: usize) -> Option<Arc<str>> {
        self.all.get(index).map(|(name, _)| name.as_str().into())
    }

    /// The indices of the names in a list.
    pub(super) fn find_all(&self, key: &Key<'_>) -> Vec<usize> {
        key.each(|name| self.find(name))
    }

    /// Warns of every unused name.
    pub(super) fn warn_unused(&self, document: &Document<'_>) {
        for (index, (name, line)) in self.all.iter().enumerate() {
            if !self.used.borrow().contains(&index) {
                let key = format!("{}.{name}", self.table);
                document.warning(*line, Some(&key), "nothing uses it".to_owned(), Some("remove it".to_owned()));
            }
        }
    }
}
