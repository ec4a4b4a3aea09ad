//! Erasing one person.

use bytes::Bytes;
use common::status::Rank;
use common::store::{Erased, Store, Webhook, WebhookContent};
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use time::Duration;
use uuid::Uuid;

use super::church::{accept_all, church, message, now, phone, provider_id, record, state, webhook};

on_both_databases!(erasing_a_person_removes_all_traces_and_touches_no_other_person);

fn with_body(mut webhook: Webhook, number: usize) -> Webhook {
    webhook.body = Bytes::from(format!("{{\"to\":[{{\"phone_number\":\"{}\"}}]}}", phone(number)));
    webhook
}

/// An inbound text from a number, a kind of webhook that is kept and ignored.
fn inbound(number: usize) -> Webhook {
    let content = WebhookContent::Ignored { reason: "inbound".into() };
    let hook = webhook(&format!("inbound-{number}"), "p", &phone(number), state(Rank::Delivered));
    with_body(Webhook { content, ..hook }, number)
}

/// Messages to persons 0 and 1, one sent and one scheduled, with applied, parked and ignored webhooks.
async fn history(store: &Store) -> (Uuid, Uuid) {
    let sent = message("grace", 2);
    record(store, &sent).await;
    accept_all(store).await;
    for (number, to) in sent.recipients.iter().enumerate() {
        let rank = if number == 0 { Rank::Failed } else { Rank::Delivered };
        let mut hook = webhook(&to.id.to_string(), &provider_id(to.id), &phone(number), state(rank));
        if let WebhookContent::Delivery(report) = &mut hook.content
            && let Some(failure) = &mut report.to[0].failure
        {
            failure.reason = format!("{} can't be reached", phone(0));
        }
        let parked = webhook(&format!("parked-{number}"), "nobody", &phone(number), state(Rank::Delivered));
        let hooks = [with_body(hook, number), with_body(parked, number), inbound(number)];
        store.record_webhooks(&hooks).await.unwrap();
    }
    let mut waiting = message("grace", 2);
    waiting.send_at = Some(now() + Duration::hours(1));
    record(store, &waiting).await;
    (sent.id, waiting.id)
}

async fn erasing_a_person_removes_all_traces_and_touches_no_other_person(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let (sent, waiting) = history(&store).await;
    let expected = Erased { recipients: 2, unsent: 1, webhooks: 3, inbound: 0, events: 2 };
    assert_eq!(store.erase_phone(&phone(0), true).await.unwrap(), expected);
    let grace = church("grace");
    assert_eq!(
        store.recipients(&grace, sent, &crate::church::all()).await.unwrap()[0].phone,
        phone(0),
        "it was only counted"
    );
    assert_eq!(store.erase_phone(&phone(0), false).await.unwrap(), expected);
    assert_eq!(store.erase_phone(&phone(0), false).await.unwrap(), Erased::default());

    for id in [sent, waiting] {
        let recipients = store.recipients(&grace, id, &crate::church::all()).await.unwrap();
        assert_eq!((recipients[0].phone.as_str(), &recipients[0].first_name), ("erased", &None));
        assert_eq!(
            (recipients[1].phone.as_str(), recipients[1].first_name.as_deref()),
            (phone(1).as_str(), Some("Ann"))
        );
    }
    let dump = format!("{:?}", store.message(&grace, sent).await.unwrap());
    assert!(!dump.contains(&phone(0)), "{dump}");
    let events = store.waiting_events(100).await.unwrap();
    assert!(!events.iter().any(|event| event.payload.contains(&phone(0))), "{events:?}");
    let failed = store
        .recipients(&grace, waiting, &crate::church::all())
        .await
        .unwrap()
        .swap_remove(0)
        .failure
        .unwrap();
    assert_eq!(failed.code, "erased");
    assert_eq!(store.begin_attempts(10, now() + Duration::hours(2)).await.unwrap().len(), 1);
    let audit = store.audit().await.unwrap();
    assert!(audit.is_sound(), "{audit:?}");
    assert_eq!((audit.parked, audit.ignored), (1, 3), "the parked webhook has no recipient left");
    assert_eq!(store.sweep_parked(None, 10).await.unwrap().0, 0);
}
