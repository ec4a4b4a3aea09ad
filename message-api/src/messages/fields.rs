//! Reads the fields of a send request, checks each, and adds what is wrong to the problems.

use std::collections::HashSet;

use common::event::timestamp;
use common::store::NewRecipient;
use reqwest::Url;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::body::{Field, RecipientEntry};
use super::limits::{MAX_DAYS_AHEAD, MAX_ID_CHARS, MAX_MEDIA, MAX_NAME_CHARS, MAX_URL_LEN};
use crate::characters::is_blank;
use crate::directory::{MAX_RECIPIENTS, TARGET_TYPES};
use crate::error::Problems;
use crate::phone::{self, Country};
use crate::segments;

impl Problems {
    /// A text. A blank one counts as absent.
    pub(super) fn text(&mut self, field: &str, given: Option<Field<String>>) -> Option<String> {
        match given? {
            Field::Value(text) => Some(text).filter(|text| !is_blank(text)),
            Field::WrongType(_) => {
                self.add(field, "give a text");
                None
            }
        }
    }

    /// A list.
    pub(super) fn list<T>(&mut self, field: &str, given: Option<Field<Vec<T>>>) -> Option<Vec<T>> {
        match given? {
            Field::Value(list) => Some(list),
            Field::WrongType(_) => {
                self.add(field, "give a list");
                None
            }
        }
    }

    /// An id or a name: one line of bounded length.
    fn line(&mut self, field: &str, given: Option<Field<String>>, most: usize) -> Option<String> {
        let text = self.text(field, given)?;
        if text.chars().count() > most || text.chars().any(char::is_control) {
            self.add(field, format!("give at most {most} characters, in one line"));
        }
        Some(text)
    }

    pub(super) fn id(&mut self, field: &str, given: Option<Field<String>>) -> Option<String> {
        self.line(field, given, MAX_ID_CHARS)
    }

    pub(super) fn content(&mut self, given: Option<Field<String>>) -> String {
        let is_text = !matches!(given, Some(Field::WrongType(_)));
        let content = self.text("content", given).unwrap_or_default();
        let segments = segments::count(&content);
        if content.is_empty() && is_text {
            self.add("content", "write a text with visible characters");
        } else if content.contains('\0') {
            self.add("content", "the text has a character that can't be sent (NUL)");
        } else if segments > segments::MAX_SEGMENTS {
            let most = segments::MAX_SEGMENTS;
            let help =
                format!("the text takes {segments} SMS for each recipient; at most {most} are allowed");
            self.add("content", help);
        }
        content
    }

    pub(super) fn target_type(&mut self, target_type: Option<String>) -> String {
        let target_type = target_type.unwrap_or_else(|| TARGET_TYPES[0].to_owned());
        if !TARGET_TYPES.contains(&target_type.as_str()) {
            self.add("targetType", format!("give one of {}", TARGET_TYPES.join(", ")));
        }
        target_type
    }

    pub(super) fn target_ids(&mut self, ids: Vec<Field<String>>) -> Vec<String> {
        if ids.len() > MAX_RECIPIENTS {
            self.add("targetIds", format!("give at most {MAX_RECIPIENTS}"));
        }
        let ids = ids.into_iter().take(MAX_RECIPIENTS).enumerate();
        ids.filter_map(|(index, id)| self.id(&format!("targetIds[{index}]"), Some(id))).collect()
    }

    /// Only everybody needs no id. A back end may take an empty list for no limit.
    pub(super) fn needed_ids(&mut self, target_type: &str, ids: &[String]) {
        if target_type != "all" && ids.is_empty() {
            self.add("targetIds", "give at least one id");
        }
    }

    pub(super) fn media(&mut self, given: Option<Field<Vec<Field<String>>>>) -> Vec<String> {
        let urls = self.list("mediaUrls", given).unwrap_or_default();
        if urls.len() > MAX_MEDIA {
            self.add("mediaUrls", format!("give at most {MAX_MEDIA}"));
        }
        let mut media = Vec::new();
        for (index, url) in urls.into_iter().take(MAX_MEDIA).enumerate() {
            let field = format!("mediaUrls[{index}]");
            let Some(url) = self.text(&field, Some(url)) else { continue };
            let is_web = url.parse::<Url>().is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            if !is_web || url.len() > MAX_URL_LEN || url.contains(char::is_control) {
                let help = format!("give an http or https address of at most {MAX_URL_LEN} characters");
                self.add(field, help);
            }
            media.push(url);
        }
        media
    }

    /// A past time means now, so that a repeated request stays valid.
    pub(super) fn send_at(
        &mut self,
        given: Option<Field<String>>,
        now: OffsetDateTime,
    ) -> Option<OffsetDateTime> {
        let text = self.text("sendAt", given)?;
        let send_at = timestamp::parse(text.trim());
        match send_at {
            None => self.add("sendAt", "give a time as 2026-11-22T20:15:00Z"),
            Some(at) if at > now + Duration::days(MAX_DAYS_AHEAD) => {
                self.add("sendAt", format!("give a time within the next {MAX_DAYS_AHEAD} days"));
            }
            Some(_) => {}
        }
        send_at.filter(|at| *at > now)
    }

    pub(super) fn recipients(
        &mut self,
        entries: Vec<Field<RecipientEntry>>,
        country: Option<Country>,
    ) -> Vec<NewRecipient> {
        if entries.len() > MAX_RECIPIENTS {
            self.add("recipients", format!("give at most {MAX_RECIPIENTS}"));
            return Vec::new();
        }
        let mut phones = HashSet::with_capacity(entries.len());
        let mut recipients = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let place = format!("recipients[{index}]");
            let Field::Value(entry) = entry else {
                self.add(place, "give an object with a phone");
                continue;
            };
            let recipient = self.recipient(&place, entry, country);
            // A person who is in two groups gets one message.
            if phones.insert(recipient.phone.clone()) {
                recipients.push(recipient);
            }
        }
        recipients
    }

    fn recipient(&mut self, place: &str, entry: RecipientEntry, country: Option<Country>) -> NewRecipient {
        let field = |name: &str| format!("{place}.{name}");
        NewRecipient {
            id: Uuid::now_v7(),
            phone: self.phone(&field("phone"), entry.phone, country),
            member_id: self.id(&field("memberId"), entry.member_id),
            first_name: self.line(&field("firstName"), entry.first_name, MAX_NAME_CHARS),
            last_name: self.line(&field("lastName"), entry.last_name, MAX_NAME_CHARS),
        }
    }

    fn phone(&mut self, field: &str, given: Option<Field<String>>, country: Option<Country>) -> String {
        let text = match given {
            None => String::new(),
            Some(Field::Value(text)) => text,
            Some(Field::WrongType(_)) => {
                self.add(field, "give the number as a text, as in \"+15551230000\"");
                return String::new();
            }
        };
        phone::read(&text, country).unwrap_or_else(|reason| {
            self.add(field, reason);
            String::new()
        })
    }
}
