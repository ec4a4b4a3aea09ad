//! The limits of requests. The API's document states them.

/// Items on a page of the history or of the received texts, unless the request asks for another number.
pub(super) const PAGE: u32 = 20;
/// Most items on such a page.
pub(super) const MAX_PAGE: u32 = 100;
/// The last page of the history by number. Beyond it, clients page by cursor.
pub(super) const LAST_PAGE: u32 = 100_000;
/// Recipients on a page, unless the request asks for fewer.
pub(super) const MAX_RECIPIENTS_PAGE: u32 = 1_000;
/// Most media of a message.
pub(super) const MAX_MEDIA: usize = 10;
/// Longest address of a medium, in bytes.
pub(super) const MAX_URL_LEN: usize = 2_000;
/// Longest id of a member, conversation or target.
pub(super) const MAX_ID_CHARS: usize = 128;
/// Longest first or last name.
pub(super) const MAX_NAME_CHARS: usize = 100;
/// How far ahead a message may be scheduled, in days. We hold it until then, so Telnyx's limits of five minutes and five
/// days do not apply.
pub(super) const MAX_DAYS_AHEAD: i64 = 90;
