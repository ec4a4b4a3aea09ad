//! Collects the recipients of all pages.

use std::collections::HashSet;

use common::store::NewRecipient;
use uuid::Uuid;

use super::page::Entry;
use super::target::{MAX_RECIPIENTS, NoRecipients};
use crate::phone::{self, Country};

/// Longest id that is kept, and longest name, in characters.
const MAX_CHARS: usize = 128;

/// The recipients of a target.
#[derive(Debug, PartialEq)]
pub(crate) struct Found {
    /// At least one, each number once.
    pub(crate) recipients: Vec<NewRecipient>,
    /// Entries without a number that can be read.
    pub(crate) skipped: usize,
}

/// The recipients so far.
pub(super) struct Collected {
    country: Option<Country>,
    phones: HashSet<String>,
    found: Found,
}

impl Collected {
    pub(super) fn new(country: Option<Country>) -> Self {
        Self { country, phones: HashSet::new(), found: Found { recipients: Vec::new(), skipped: 0 } }
    }

    /// Adds a page. Somebody who is in two groups gets one text.
    pub(super) fn with(mut self, entries: Vec<Entry>) -> Result<Self, NoRecipients> {
        for entry in entries {
            let Ok(phone) = phone::read(entry.phone.as_deref().unwrap_or_default(), self.country) else {
                self.found.skipped += 1;
                continue;
            };
            if self.phones.insert(phone.clone()) {
                self.found.recipients.push(recipient(phone, entry));
            }
        }
        if self.phones.len() > MAX_RECIPIENTS { Err(NoRecipients::TooMany) } else { Ok(self) }
    }

    pub(super) fn finish(self) -> Result<Found, NoRecipients> {
        if self.found.recipients.is_empty() { Err(NoRecipients::Nobody) } else { Ok(self.found) }
    }
}

fn recipient(phone: String, entry: Entry) -> NewRecipient {
    NewRecipient {
        id: Uuid::now_v7(),
        phone,
        // An id that is cut could be another member's.
        member_id: line(entry.member_id.filter(|id| id.chars().count() <= MAX_CHARS)),
        first_name: line(entry.first_name),
        last_name: line(entry.last_name),
    }
}

/// A line of bounded length. What a name has too much is cut: nobody misses a text because of that.
fn line(text: Option<String>) -> Option<String> {
    let text: String = text?.chars().filter(|character| !character.is_control()).take(MAX_CHARS).collect();
    Some(text).filter(|text| !text.trim().is_empty())
}
