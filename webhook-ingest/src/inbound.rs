//! Texts that people send to a church, as Telnyx reports them.

use common::inbound::OptOut;
use common::store::InboundText;
use common::telnyx_message::TelnyxMessage;
use time::OffsetDateTime;

use crate::settings::DefaultNumber;

/// The words after which Telnyx sends a person no more texts. A text counts only if it has no other word.
const STOP: [&str; 7] = ["STOP", "STOPALL", "STOP ALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"];
/// The words after which it does again. `YES` is none: it answers many questions.
const START: [&str; 2] = ["START", "UNSTOP"];
/// The words that ask who sends the texts.
const HELP: [&str; 2] = ["HELP", "INFO"];

/// Reads a received message, or says why it is none that can be recorded.
///
/// # Errors
/// It names no sender, no receiver, or was sent.
pub(crate) fn read(
    message: TelnyxMessage<'_>,
    default: Option<&DefaultNumber>,
    arrived_at: OffsetDateTime,
) -> Result<InboundText, &'static str> {
    if message.is_outbound() {
        return Err("the message was sent, not received");
    }
    let from = message.sender().ok_or("it does not say who sent it")?;
    let to: Vec<String> = message.recipients().map(|recipient| recipient.phone.to_owned()).collect();
    if to.is_empty() {
        return Err("it names no number that received it");
    }
    let default = default.filter(|default| to.contains(&default.number));
    // No database keeps a text with this character.
    let content = message.content().replace('\0', "");
    Ok(InboundText {
        default_church: default.map(|default| default.church.clone()),
        to,
        from: from.to_owned(),
        media_count: u32::try_from(message.media_count()).unwrap_or(u32::MAX),
        opt_out: opt_out(message.autoresponse(), &content),
        content,
        // A clock that is ahead must not put it before the texts that come next.
        received_at: message.received_at().map_or(arrived_at, |at| at.min(arrived_at)),
    })
}

/// What Telnyx took the text for, which may know more words; else what the text says.
fn opt_out(autoresponse: Option<&str>, content: &str) -> Option<OptOut> {
    autoresponse.and_then(of_word).or_else(|| of_word(content))
}

fn of_word(text: &str) -> Option<OptOut> {
    let words: Vec<&str> = text.split_whitespace().take(3).collect();
    let text = words.join(" ").to_uppercase();
    let meanings = [(&STOP[..], OptOut::Stop), (&START, OptOut::Start), (&HELP, OptOut::Help)];
    meanings.into_iter().find(|(words, _)| words.contains(&text.as_str())).map(|(_, meaning)| meaning)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use time::macros::datetime;

    use super::*;

    const ARRIVED: OffsetDateTime = datetime!(2026-11-22 20:15:32 UTC);

    fn payload() -> Value {
        json!({
            "direction": "inbound",
            "id": "84cca175-9755-4859-b67f-4730d7f58aa3",
            "type": "SMS",
            "from": {"phone_number": "+15550000101", "carrier": "A", "line_type": "Wireless"},
            "to": [{"phone_number": "+15550000000", "carrier": "Telnyx", "line_type": "Wireless", "status": "webhook_delivered"}],
            "text": "Thank you",
            "media": [],
            "received_at": "2026-11-22T20:15:31.123+00:00",
        })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut payload = payload();
        payload[field] = value;
        payload
    }

    fn read_from(payload: &Value, default: Option<&DefaultNumber>) -> Result<InboundText, &'static str> {
        read(TelnyxMessage::new(payload.as_object().unwrap()), default, ARRIVED)
    }

    #[test]
    fn a_text_is_read_in_every_form_that_telnyx_writes() {
        let expected = InboundText {
            to: vec!["+15550000000".into()],
            default_church: None,
            from: "+15550000101".into(),
            content: "Thank you".into(),
            media_count: 0,
            opt_out: None,
            received_at: datetime!(2026-11-22 20:15:31.123 UTC),
        };
        for (field, value) in [
            ("invented", json!({"deep": [1]})),
            ("from", json!("+15550000101")),
            ("to", json!("+15550000000")),
            ("to", json!(["+15550000000"])),
            ("direction", Value::Null),
            ("media", Value::Null),
            ("text", json!("Thank\u{0} you")),
        ] {
            assert_eq!(read_from(&with(field, value.clone()), None), Ok(expected.clone()), "{field} {value}");
        }
        let picture = with("text", Value::Null);
        assert_eq!(read_from(&picture, None).unwrap().content, "");
        let two = with("media", json!([{"url": "https://x/1"}, {"url": "https://x/2"}]));
        assert_eq!(read_from(&two, None).unwrap().media_count, 2);
    }

    #[test]
    fn a_time_that_is_missing_or_ahead_is_that_of_the_arrival() {
        for received_at in [Value::Null, json!("yesterday"), json!("2026-11-22T20:15:33Z")] {
            let text = read_from(&with("received_at", received_at), None).unwrap();
            assert_eq!(text.received_at, ARRIVED);
        }
    }

    #[test]
    fn a_text_without_sender_or_receiver_is_none() {
        for (field, value, part) in [
            ("from", Value::Null, "who sent it"),
            ("from", json!({"phone_number": "two words"}), "who sent it"),
            ("to", json!([]), "no number"),
            ("direction", json!("outbound"), "sent, not received"),
        ] {
            let why = read_from(&with(field, value), None).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn only_texts_to_the_default_number_have_its_church() {
        let default =
            |number: &str| DefaultNumber { number: number.into(), church: "grace".parse().unwrap() };
        let church = |number| read_from(&payload(), Some(&default(number))).unwrap().default_church;
        assert_eq!(church("+15550000000"), Some("grace".parse().unwrap()));
        assert_eq!(church("+15550000009"), None);
    }

    #[test]
    fn a_text_that_is_only_a_prescribed_word_asks_for_that() {
        for (text, expected) in [
            ("STOP", Some(OptOut::Stop)),
            (" stop \n", Some(OptOut::Stop)),
            ("Stop  All", Some(OptOut::Stop)),
            ("stopall", Some(OptOut::Stop)),
            ("Unsubscribe", Some(OptOut::Stop)),
            ("cancel", Some(OptOut::Stop)),
            ("END", Some(OptOut::Stop)),
            ("quit", Some(OptOut::Stop)),
            ("Start", Some(OptOut::Start)),
            ("unstop", Some(OptOut::Start)),
            ("help", Some(OptOut::Help)),
            ("INFO", Some(OptOut::Help)),
            ("yes", None),
            ("please stop", None),
            ("stop it now", None),
            ("stop all of it", None),
            ("", None),
        ] {
            assert_eq!(opt_out(None, text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_telnyx_took_it_for_counts_before_the_text() {
        assert_eq!(opt_out(Some("STOP"), "arrêt"), Some(OptOut::Stop));
        assert_eq!(opt_out(Some("HELP"), "STOP"), Some(OptOut::Help));
        assert_eq!(opt_out(Some("INVENTED"), "STOP"), Some(OptOut::Stop));
    }
}
