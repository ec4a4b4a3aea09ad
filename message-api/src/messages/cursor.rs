//! Cursors of pages, opaque to clients, in base64url. Of the history and of inbound texts: a format number, and the
//! creation time in microseconds and the id of the last row. Of recipients: a format number, and the ordinal of the last
//! one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;
use uuid::Uuid;

const FORMAT: u8 = 1;
const RECIPIENTS: u8 = 2;
const INBOUND: u8 = 3;

/// The cursor after a message.
pub(super) fn encode(created_at: OffsetDateTime, id: Uuid) -> String {
    encode_place(FORMAT, created_at, id)
}

/// The cursor after an inbound text.
pub(super) fn encode_inbound(recorded_at: OffsetDateTime, id: Uuid) -> String {
    encode_place(INBOUND, recorded_at, id)
}

fn encode_place(format: u8, created_at: OffsetDateTime, id: Uuid) -> String {
    let micros = i64::try_from(created_at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX);
    let mut bytes = [format; 25];
    bytes[1..9].copy_from_slice(&micros.to_be_bytes());
    bytes[9..].copy_from_slice(id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes a cursor; `None` if it is malformed.
pub(super) fn decode(text: &str) -> Option<(OffsetDateTime, Uuid)> {
    decode_place(FORMAT, text)
}

/// Decodes a cursor of inbound texts; `None` if it is malformed.
pub(super) fn decode_inbound(text: &str) -> Option<(OffsetDateTime, Uuid)> {
    decode_place(INBOUND, text)
}

fn decode_place(wanted: u8, text: &str) -> Option<(OffsetDateTime, Uuid)> {
    let bytes: [u8; 25] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let [format, rest @ ..] = bytes;
    if format != wanted {
        return None;
    }
    let (micros, id) = rest.split_first_chunk::<8>()?;
    // Nothing was recorded before 1970, and PostgreSQL refuses times long before it.
    let nanos = u64::try_from(i64::from_be_bytes(*micros)).ok().map(i128::from)? * 1_000;
    Some((OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?, Uuid::from_slice(id).ok()?))
}

/// The cursor after a recipient.
pub(super) fn encode_ordinal(ordinal: i64) -> String {
    let mut bytes = [RECIPIENTS; 9];
    bytes[1..].copy_from_slice(&ordinal.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes a cursor of recipients; `None` if it is malformed.
pub(super) fn decode_ordinal(text: &str) -> Option<i64> {
    let bytes: [u8; 9] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let [RECIPIENTS, ordinal @ ..] = bytes else { return None };
    Some(i64::from_be_bytes(ordinal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_round_trips() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_790_000_000_123_456_000).unwrap();
        let id = Uuid::now_v7();
        assert_eq!(decode(&encode(at, id)), Some((at, id)));
        assert_eq!(decode_ordinal(&encode_ordinal(999)), Some(999));
        assert_eq!(decode_inbound(&encode_inbound(at, id)), Some((at, id)));
        assert_eq!((decode(&encode_inbound(at, id)), decode_inbound(&encode(at, id))), (None, None));
        assert_eq!((decode(&encode_ordinal(999)), decode_ordinal(&encode(at, id))), (None, None));
    }

    #[test]
    fn a_malformed_cursor_is_refused() {
        let at = OffsetDateTime::UNIX_EPOCH;
        let cursor = encode(at, Uuid::nil());
        for wrong in
            ["", "x", &cursor[1..], &format!("{cursor}AA"), &format!("Ag{}", &cursor[2..]), "====", "ä"]
        {
            assert_eq!(decode(wrong), None, "{wrong}");
            assert_eq!(decode_ordinal(wrong), None, "{wrong}");
        }
        let early = OffsetDateTime::from_unix_timestamp(-1).unwrap();
        assert_eq!(decode(&encode(early, Uuid::nil())), None);
        assert!(decode(&cursor).is_some());
    }
}
