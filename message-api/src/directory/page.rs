//! The JSON that message-api and the back end exchange (docs/recipients.md).

use common::claims::Claims;
use serde::{Deserialize, Serialize};

use super::target::Target;

/// What is asked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Question<'a> {
    church_id: &'a str,
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    target_type: &'a str,
    target_ids: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
}

impl<'a> Question<'a> {
    /// The question for the page at a cursor; without one, for the first page.
    pub(super) fn new(caller: &'a Claims, target: &'a Target, cursor: Option<&'a str>) -> Self {
        Self {
            church_id: caller.church_id.as_str(),
            user_id: &caller.user_id,
            role: caller.role.as_deref(),
            target_type: &target.kind,
            target_ids: &target.ids,
            cursor,
        }
    }
}

/// A page of the answer.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) recipients: Vec<Entry>,
    /// Comes back as `cursor`.
    pub(super) next: Option<String>,
    /// Ids that are not known.
    pub(super) unknown: Option<Vec<String>>,
}

/// A recipient as the back end names it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) phone: Option<String>,
    pub(super) member_id: Option<String>,
    pub(super) first_name: Option<String>,
    pub(super) last_name: Option<String>,
}
