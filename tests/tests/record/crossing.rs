//! Two processes send while people cancel and retry, all at the same time. Telnyx's book is the judge.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use common::status::{MessageStatus, Rank};
use common::store::{Answer, Attempt, CANCELLED, Failure, NewMessage, NewRetry, Retried, Store};
use common::subject::ChurchId;
use futures_util::future::{join, join_all};
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use uuid::Uuid;

use super::church::{all, cancel_of, hinted, message, now, patiently, provider_id, record, state, webhook};

on_both_databases!(what_is_cancelled_or_retried_while_two_processes_send_is_sent_once_or_not_at_all);

const RECIPIENTS: usize = 30;
/// Each of a church of its own, so that all are sent at the same time.
const MESSAGES: usize = 8;
const ROUNDS: usize = 6;

/// What Telnyx took, by recipient, and what it refused for now.
#[derive(Default)]
struct Telnyx {
    taken: Mutex<BTreeMap<Uuid, u32>>,
    requests: Mutex<usize>,
}

impl Telnyx {
    /// Takes every second request, refuses some for good and the others for now.
    fn answer(&self, attempt: &Attempt) -> Answer {
        let mut requests = self.requests.lock().unwrap();
        *requests += 1;
        match *requests % 6 {
            0 | 1 => Answer::NotAccepted { again_at: now(), setback: None },
            2 => Answer::Refused(Failure { code: "40318".into(), reason: "busy".into() }),
            _ => {
                *self.taken.lock().unwrap().entry(attempt.recipient_id).or_default() += 1;
                Answer::Accepted { provider_id: provider_id(attempt.recipient_id) }
            }
        }
    }
}

/// Claims, posts and records until everything is sent and nobody orders anything any more.
async fn dispatch(store: &Store, telnyx: &Telnyx, is_over: &AtomicBool) {
    loop {
        let was_over = is_over.load(Ordering::SeqCst);
        let attempts = patiently(async || store.begin_attempts(7, now()).await).await;
        if attempts.is_empty() && was_over {
            return;
        }
        let answers: Vec<_> = attempts.iter().map(|attempt| (attempt.id, telnyx.answer(attempt))).collect();
        patiently(async || store.record_answers(&answers, now()).await).await;
        for attempt in &attempts {
            let id = provider_id(attempt.recipient_id);
            if telnyx.taken.lock().unwrap().contains_key(&attempt.recipient_id) {
                let delivered = webhook(&id, &id, &attempt.phone, state(Rank::Delivered));
                let delivered = [hinted(delivered, attempt.recipient_id)];
                patiently(async || store.record_webhooks(&delivered).await).await;
            }
        }
        tokio::task::yield_now().await;
    }
}

fn retry_of(message: &NewMessage) -> NewRetry {
    NewRetry {
        id: Uuid::now_v7(),
        church_id: message.church_id.clone(),
        retry_of: message.id,
        author_id: "ann".into(),
        from_number: message.from_number.clone(),
        messaging_profile_id: None,
        include_unresolved: false,
        created_at: now(),
        trace_parent: None,
    }
}

/// Waits until Telnyx has got this many requests, or will get none for the message any more.
async fn until(telnyx: &Telnyx, requests: usize, store: &Store, message: &NewMessage) {
    while *telnyx.requests.lock().unwrap() < requests {
        let shown = patiently(async || store.message(&message.church_id, message.id).await).await;
        if shown.unwrap().status != MessageStatus::Pending {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Retries a message as it is sent, and cancels it in one round. Returns its retries.
async fn order(store: &Store, telnyx: &Telnyx, message: &NewMessage, cancels_in: usize) -> Vec<Uuid> {
    let mut retries = Vec::new();
    for round in 0..ROUNDS {
        until(telnyx, round * MESSAGES * RECIPIENTS / ROUNDS, store, message).await;
        if round == cancels_in {
            patiently(async || store.cancel(&cancel_of(&message.church_id, message.id, "ann")).await).await;
        }
        if let Retried::New(new) = patiently(async || store.retry(&retry_of(message)).await).await {
            retries.push(new.id);
        }
    }
    retries
}

/// Two people order the same at the same time, at two processes. Returns the message and its retries.
async fn press(
    processes: &[Store; 2],
    telnyx: &Telnyx,
    message: &NewMessage,
    cancels_in: usize,
) -> Vec<(ChurchId, Uuid)> {
    let [first, second] = processes.each_ref().map(|store| order(store, telnyx, message, cancels_in));
    let (first, second) = join(first, second).await;
    let ids = [vec![message.id], first, second].concat();
    ids.into_iter().map(|id| (message.church_id.clone(), id)).collect()
}

async fn what_is_cancelled_or_retried_while_two_processes_send_is_sent_once_or_not_at_all(kind: Kind) {
    let database = Database::fresh(kind).await;
    let processes = [database.migrated().await, database.store()];
    let messages: Vec<NewMessage> =
        (0..MESSAGES).map(|number| message(&format!("church-{number}"), RECIPIENTS)).collect();
    for new in &messages {
        record(&processes[0], new).await;
    }
    let (telnyx, is_over) = (Telnyx::default(), AtomicBool::new(false));
    let sending = join_all(processes.each_ref().map(|store| dispatch(store, &telnyx, &is_over)));
    let press = |(index, new)| press(&processes, &telnyx, new, index % ROUNDS);
    let ordering = async {
        let done = join_all(messages.iter().enumerate().map(press)).await;
        is_over.store(true, Ordering::SeqCst);
        done.into_iter().flatten().collect::<Vec<_>>()
    };
    let (_, all_messages) = join(sending, ordering).await;
    assert!(all_messages.len() > MESSAGES, "nothing was retried");
    let taken = telnyx.taken.into_inner().unwrap();
    assert!(taken.values().all(|count| *count == 1), "{taken:?}");
    for (church, id) in all_messages {
        judge(&processes[0], &church, id, &taken).await;
    }
    assert!(processes[0].audit().await.unwrap().is_sound());
}

/// Everybody is finished, and got the text exactly if it is not cancelled and not refused.
async fn judge(store: &Store, church: &ChurchId, message: Uuid, taken: &BTreeMap<Uuid, u32>) {
    for recipient in patiently(async || store.recipients(church, message, &all()).await).await {
        let was_taken = taken.contains_key(&recipient.id);
        assert_eq!(recipient.state.rank == Rank::Delivered, was_taken, "{recipient:?}");
        let code = recipient.failure.as_ref().map(|failure| failure.code.as_str());
        assert_eq!(matches!(code, Some(CANCELLED | "40318")), !was_taken, "{recipient:?}");
    }
}
