//! Receipts from webhooks and from retrievals, mixed in every order and repeated: the counters are always what the
//! recipients are.

use common::status::{MessageStatus, Rank, RecipientState};
use common::store::{ASKED, AskTimes, NewMessage, Store, Webhook};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::church::{accept_all, all, message, now, patiently, phone, provider_id, record, webhook};

on_both_databases!(counters_equal_recipients_after_any_mix_of_webhooks_and_retrievals);

const RECIPIENTS: usize = 4;
const FIRST_ASK: std::time::Duration = std::time::Duration::from_secs(900);
const TAKEN_FOR: std::time::Duration = std::time::Duration::from_secs(120);

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// A batch of webhooks: whose, which rank, whether it closes, and whether it came before.
    Webhooks(Vec<(usize, i16, bool)>),
    /// Telnyx is asked for what is due, and says this; or the process dies before it asks for it no more.
    Retrieve { rank: i16, closed: bool, dies: bool },
    /// Telnyx has forgotten what is due.
    Forget,
    /// Time passes.
    Wait { hours: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let report = (0..RECIPIENTS, 1..=6i16, any::<bool>());
    let step = prop_oneof![
        4 => prop::collection::vec(report, 1..5).prop_map(Step::Webhooks),
        4 => (1..=6i16, any::<bool>(), any::<bool>())
            .prop_map(|(rank, closed, dies)| Step::Retrieve { rank, closed, dies }),
        1 => Just(Step::Forget),
        3 => (1..30i64).prop_map(|hours| Step::Wait { hours }),
    ];
    prop::collection::vec(step, 1..16)
}

async fn counters_equal_recipients_after_any_mix_of_webhooks_and_retrievals(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let runtime = tokio::runtime::Handle::current();
    let config = Config { cases: 32, failure_persistence: None, ..Config::default() };
    tokio::task::block_in_place(|| {
        TestRunner::new(config)
            .run(&steps(), |steps| runtime.block_on(tell(&store, steps)))
            .unwrap_or_else(|failure| panic!("{failure}"));
    });
    assert!(store.audit().await.unwrap().is_sound());
}

/// Tells one story, and compares after each step.
async fn tell(store: &Store, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let new = message(&format!("church-{}", Uuid::now_v7()), RECIPIENTS);
    record(store, &new).await;
    accept_all(store).await;
    let (mut expected, mut at) = ([RecipientState::NEW; RECIPIENTS], now() + Duration::hours(1));
    let (mut status, mut version) = (MessageStatus::Pending, 0);
    for step in steps {
        match step {
            Step::Webhooks(reports) => {
                let hooks: Vec<_> = reports.iter().map(|report| hook(&new, report, &mut expected)).collect();
                patiently(async || store.record_webhooks(&hooks).await).await;
            }
            Step::Retrieve { rank, closed, dies } => {
                let state = RecipientState { rank: Rank::from_i16(rank).unwrap(), closed };
                retrieve(store, &new, (state, dies), at, &mut expected).await;
            }
            Step::Forget => {
                let forgotten: Vec<_> =
                    asks(store, &new, at).await.iter().map(|(_, id)| (*id, None)).collect();
                patiently(async || store.ask_again(&forgotten).await).await;
            }
            Step::Wait { hours } => at += Duration::hours(hours),
        }
        let read = patiently(async || store.message(&new.church_id, new.id).await).await.unwrap();
        let recipients = patiently(async || store.recipients(&new.church_id, new.id, &all()).await).await;
        let states: Vec<_> = recipients.iter().map(|recipient| recipient.state).collect();
        prop_assert_eq!(&states[..], &expected[..]);
        let count = |is: fn(&RecipientState) -> bool| {
            i32::try_from(states.iter().filter(|state| is(state)).count()).unwrap()
        };
        prop_assert_eq!(read.tally.delivered, count(|state| state.rank >= Rank::Delivered));
        prop_assert_eq!(read.tally.read, count(|state| state.rank == Rank::Read));
        prop_assert_eq!(read.tally.failed, count(|state| state.rank == Rank::Failed));
        let unconfirmed = count(|state| state.is_finished() && state.rank < Rank::Failed);
        prop_assert_eq!(read.tally.unconfirmed, unconfirmed);
        prop_assert!(read.status >= status && read.version >= version, "{:?} after {:?}", read, status);
        (status, version) = (read.status, read.version);
    }
    Ok(())
}

/// A webhook; the same report comes under the same event id.
fn hook(
    new: &NewMessage,
    (who, rank, closed): &(usize, i16, bool),
    expected: &mut [RecipientState; RECIPIENTS],
) -> Webhook {
    let state = RecipientState { rank: Rank::from_i16(*rank).unwrap(), closed: *closed };
    expected[*who] = expected[*who].join(state);
    let provider_id = provider_id(new.recipients[*who].id);
    webhook(&format!("{}-{who}-{rank}-{closed}", new.id), &provider_id, &phone(*who), state)
}

/// What is due to be asked for, of this message: its number and id.
async fn asks(store: &Store, new: &NewMessage, at: OffsetDateTime) -> Vec<(usize, Uuid)> {
    let times = AskTimes::new(at, FIRST_ASK, TAKEN_FOR);
    let taken = patiently(async || store.take_asks(100, &times).await).await;
    let number = |id: Uuid| new.recipients.iter().position(|recipient| recipient.id == id);
    taken.iter().filter_map(|ask| Some((number(ask.recipient_id)?, ask.recipient_id))).collect()
}

/// Asks for what is due, as the reconciler does.
async fn retrieve(
    store: &Store,
    new: &NewMessage,
    (state, dies): (RecipientState, bool),
    at: OffsetDateTime,
    expected: &mut [RecipientState; RECIPIENTS],
) {
    let asks = asks(store, new, at).await;
    let mut reports = Vec::new();
    for (who, id) in &asks {
        expected[*who] = expected[*who].join(state);
        let event = format!("{ASKED}-{}", Uuid::now_v7());
        let mut report = webhook(&event, &provider_id(*id), &phone(*who), state);
        report.event_type = ASKED.into();
        reports.push(report);
    }
    if !reports.is_empty() {
        patiently(async || store.record_webhooks(&reports).await).await;
    }
    if !dies {
        let again: Vec<_> = asks.iter().map(|(_, id)| (*id, Some(at + Duration::hours(2)))).collect();
        patiently(async || store.ask_again(&again).await).await;
    }
}
