//! The body of a webhook.

use bytes::Bytes;
use common::status::Rank;
use common::store::{DeliveryReport, WebhookContent};
use time::OffsetDateTime;
use webhook_ingest::parse::webhook;
use webhook_ingest::signature::VerifiedBody;

/// Every signed body can be recorded, and its repetition is known as one.
pub(super) fn parse(data: &[u8]) {
    let verified = VerifiedBody::recorded(Bytes::copy_from_slice(data));
    let read = || webhook(&verified, None, OffsetDateTime::UNIX_EPOCH).webhook;
    let (first, again) = (read(), read());
    assert_eq!(first.event_id, again.event_id, "a repetition is another event");
    assert!(!first.event_id.is_empty(), "an event without an id");
    assert_eq!(first.body, data, "the body is kept as it came");
    for text in [&first.event_id, &first.event_type] {
        assert_storable(text);
    }
    match &first.content {
        WebhookContent::Delivery(report) => check(report),
        WebhookContent::Inbound(text) => {
            for text in text.to.iter().chain([&text.from, &text.content]) {
                assert_storable(text);
            }
        }
        WebhookContent::Ignored { reason } => assert_storable(reason),
    }
}

fn check(report: &DeliveryReport) {
    assert_storable(&report.provider_id);
    for to in &report.to {
        assert!(Rank::from_i16(to.rank).is_some(), "an unknown rank {}", to.rank);
        assert_storable(&to.phone);
        if let Some(failure) = &to.failure {
            assert_storable(&failure.code);
            assert_storable(&failure.reason);
        }
    }
}

/// PostgreSQL takes no text with a zero.
fn assert_storable(text: &str) {
    assert!(!text.contains('\0'), "a text that PostgreSQL refuses: {text:?}");
}
