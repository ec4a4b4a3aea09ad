//! The cursor: a client's position in the stream. It is opaque to clients and the same for every socket of a church.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::subject::ChurchId;
use uuid::Uuid;

/// The version of the layout below.
const FORMAT: u8 = 1;
/// Bytes of format, creation, sequence, fingerprint and church.
const LEN: usize = 1 + 8 + 8 + 8 + 8;
/// Longer text is refused before it is decoded.
const MAX_TEXT_LEN: usize = 64;

/// Eight bytes that tell one message at a sequence from another one at the same sequence of another stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fingerprint([u8; 8]);

impl Fingerprint {
    /// The random half of an event's id.
    pub(crate) fn of_event(id: Uuid) -> Self {
        Self(low_half(id.as_bytes()))
    }

    /// A part of the payload's hash, for a message that is no event.
    pub(crate) fn of_bytes(payload: &[u8]) -> Self {
        Self(short_hash(payload))
    }
}

/// A position in the stream: the client has everything up to and including this sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// When the stream was created, in nanoseconds since the epoch. It tells streams apart.
    pub(crate) created: u64,
    /// The sequence; 0 is before the first message.
    pub(crate) sequence: u64,
    /// The fingerprint there; zeros before the first message.
    pub(crate) fingerprint: Fingerprint,
}

impl Position {
    /// This position as a cursor of a church.
    pub(crate) fn cursor(&self, church: &ChurchId) -> String {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.push(FORMAT);
        bytes.extend(self.created.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.fingerprint.0);
        bytes.extend(short_hash(church.as_str().as_bytes()));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position that a cursor names; `None` for text that is no cursor of this church.
    pub(crate) fn parse(cursor: &str, church: &ChurchId) -> Option<Self> {
        if cursor.len() > MAX_TEXT_LEN {
            return None;
        }
        let bytes: [u8; LEN] = URL_SAFE_NO_PAD.decode(cursor).ok()?.try_into().ok()?;
        let (format, rest) = bytes.split_first()?;
        let (created, rest) = rest.split_first_chunk::<8>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (fingerprint, of_church) = rest.split_first_chunk::<8>()?;
        let ours = *format == FORMAT && of_church == short_hash(church.as_str().as_bytes());
        ours.then(|| Self {
            created: u64::from_be_bytes(*created),
            sequence: u64::from_be_bytes(*sequence),
            fingerprint: Fingerprint(*fingerprint),
        })
    }
}

fn short_hash(bytes: &[u8]) -> [u8; 8] {
    let hash = digest(&SHA256, bytes);
    hash.as_ref().first_chunk().copied().unwrap_or_default()
}

fn low_half(bytes: &[u8; 16]) -> [u8; 8] {
    bytes.last_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn church(id: &str) -> ChurchId {
        id.parse().unwrap()
    }

    fn position() -> Position {
        Position { created: u64::MAX, sequence: 7, fingerprint: Fingerprint::of_event(Uuid::now_v7()) }
    }

    #[test]
    fn a_cursor_is_short_and_only_its_own_church_can_read_it() {
        let (grace, hope) = (church("grace"), church("hope"));
        let cursor = position().cursor(&grace);
        assert!(cursor.len() <= MAX_TEXT_LEN, "{cursor}");
        assert!(Position::parse(&cursor, &grace).is_some_and(|p| p.cursor(&grace) == cursor));
        assert_eq!(Position::parse(&cursor, &hope), None);
    }

    #[test]
    fn malformed_text_is_no_cursor() {
        let grace = church("grace");
        let good = position().cursor(&grace);
        let other_format = format!("Ag{}", &good[2..]);
        let too_long = "A".repeat(1 << 20);
        let padded = format!("{good}=");
        for text in
            ["", "undefined", "null", "0", &good[1..], &good[..10], &padded, "ä", &other_format, &too_long]
        {
            assert_eq!(Position::parse(text, &grace), None, "{}", &text[..text.len().min(60)]);
        }
    }
}
