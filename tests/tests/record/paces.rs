//! Rates and holds of senders: each keeps its own rate across all processes, and a hold affects only its sender.

use common::status::MessageStatus;
use common::store::{Answer, Attempt, NewMessage, Pause, SendLimits, Sender, Setback, Store};
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use time::{Duration, OffsetDateTime};

use super::church::{all, church, message, now, record};

on_both_databases!(
    a_held_sender_holds_back_no_other_sender,
    a_sender_keeps_its_rate_across_all_processes,
    all_senders_together_keep_the_total_rate,
    a_recipient_held_back_too_long_fails_instead_of_going_out_late,
    a_recipient_waiting_its_turn_is_never_given_up,
    recipients_that_waited_through_a_full_stop_are_given_up,
    the_estimate_counts_fair_turns_rates_and_the_send_time,
    another_senders_success_does_not_shorten_a_hold,
    a_paused_church_is_not_claimed_and_does_not_count_as_due,
    nothing_is_claimed_while_everybody_is_paused,
    what_operators_have_paused_is_not_late,
);

fn from(number: &str, mut message: NewMessage) -> NewMessage {
    message.from_number = Some(number.into());
    message
}

fn limited(store: &Store, rate: Option<u32>) -> Store {
    let within = Some(std::time::Duration::from_secs(12 * 3_600));
    store.clone().with_limits(SendLimits { rate, within })
}

async fn answer(
    store: &Store,
    attempts: &[Attempt],
    answer: impl Fn(&Attempt) -> Answer,
    at: OffsetDateTime,
) {
    let answers: Vec<_> = attempts.iter().map(|attempt| (attempt.id, answer(attempt))).collect();
    store.record_answers(&answers, at).await.unwrap();
}

fn accepted(attempt: &Attempt) -> Answer {
    Answer::Accepted { provider_id: attempt.recipient_id.to_string() }
}

fn held(at: OffsetDateTime) -> impl Fn(&Attempt) -> Answer {
    let (first, longest) = (Duration::minutes(1), Duration::minutes(15));
    let setback = Setback { reason: "sender_refused".into(), first, longest, until: None };
    move |_| Answer::NotAccepted { again_at: at, setback: Some(setback.clone()) }
}

fn of_sender(attempts: &[Attempt], number: &str) -> usize {
    attempts.iter().filter(|attempt| attempt.sender == number).count()
}

async fn a_held_sender_holds_back_no_other_sender(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    record(&store, &from("+15550000001", message("held", 50))).await;
    record(&store, &from("+15550000002", message("free", 50))).await;
    let start = now();
    let attempts = store.begin_attempts(2, start).await.unwrap();
    let (of_held, of_free): (Vec<_>, Vec<_>) =
        attempts.into_iter().partition(|attempt| attempt.sender == "+15550000001");
    answer(&store, &of_held, held(start), start).await;
    answer(&store, &of_free, accepted, start).await;
    let rest = store.begin_attempts(100, start).await.unwrap();
    assert_eq!((of_sender(&rest, "+15550000001"), of_sender(&rest, "+15550000002")), (0, 49));
    let told = store.held_senders(start).await.unwrap();
    assert_eq!(told.iter().map(|sender| sender.reason.as_str()).collect::<Vec<_>>(), ["sender_refused"]);
    // One message is sent as a trial; its success releases the others.
    let later = start + Duration::minutes(1);
    let trying = store.begin_attempts(100, later).await.unwrap();
    assert_eq!(trying.len(), 1);
    assert!(store.begin_attempts(100, later).await.unwrap().is_empty());
    answer(&store, &trying, accepted, later).await;
    assert_eq!(store.begin_attempts(100, later).await.unwrap().len(), 49);
    assert!(store.held_senders(later).await.unwrap().is_empty());
}

async fn another_senders_success_does_not_shorten_a_hold(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    record(&store, &from("+15550000001", message("held", 9))).await;
    let mut at = now();
    for minutes in [1, 2, 4, 8, 15, 15] {
        let trying = store.begin_attempts(1, at).await.unwrap();
        answer(&store, &trying, held(at), at).await;
        record(&store, &from("+15550000002", message("free", 1))).await;
        let free = store.begin_attempts(9, at.max(now())).await.unwrap();
        assert_eq!((free.len(), of_sender(&free, "+15550000002")), (1, 1));
        answer(&store, &free, accepted, at).await;
        let next = at + Duration::minutes(minutes);
        assert_eq!(store.next_attempt_at().await.unwrap(), Some(next));
        at = next;
    }
}

async fn a_sender_keeps_its_rate_across_all_processes(kind: Kind) {
    let database = Database::fresh(kind).await;
    let (one, two) = (database.migrated().await, database.store());
    let number = "+15550000001".to_owned();
    let sender = Sender {
        church_id: church("grace"),
        number: number.clone(),
        messaging_profile_id: None,
        rate: Some(20),
    };
    one.set_sender(&sender).await.unwrap();
    record(&one, &from(&number, message("grace", 100))).await;
    let (start, mut taken) = (now(), 0);
    for tenth in 0..20 {
        let at = start + Duration::milliseconds(100) * tenth;
        for store in [&one, &two] {
            taken += store.begin_attempts(16, at).await.unwrap().len();
        }
    }
    // A full bucket at first, then the messages of 0.2 s each time.
    assert!((30..=40).contains(&taken), "{taken}");
}

async fn all_senders_together_keep_the_total_rate(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let processes = [limited(&store, Some(50)), limited(&database.store(), Some(50))];
    for number in 1..=3 {
        let new = from(&format!("+1555000000{number}"), message(&format!("church-{number}"), 60));
        record(&store, &new).await;
    }
    let (start, mut taken) = (now(), 0);
    for tenth in 0..20 {
        for store in &processes {
            let at = start + Duration::milliseconds(100) * tenth;
            taken += store.begin_attempts(16, at).await.unwrap().len();
        }
    }
    assert!((80..=100).contains(&taken), "{taken}");
}

async fn a_recipient_held_back_too_long_fails_instead_of_going_out_late(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = limited(&database.migrated().await, None);
    let new = from("+15550000001", message("grace", 3));
    record(&store, &new).await;
    let mut at = now();
    let end = at + Duration::hours(12);
    while at < end {
        let trying = store.begin_attempts(1, at).await.unwrap();
        answer(&store, &trying, held(at), at).await;
        assert_eq!(store.fail_unsent(100, at).await.unwrap(), 0);
        at += Duration::minutes(20);
    }
    // Telnyx would accept it now, but it is too late.
    let late = end + Duration::minutes(21);
    assert!(store.begin_attempts(9, late).await.unwrap().is_empty());
    assert_eq!(store.fail_unsent(100, late).await.unwrap(), 3);
    let read = store.message(&new.church_id, new.id).await.unwrap().unwrap();
    assert_eq!((read.status, read.tally.failed), (MessageStatus::Failed, 3));
    let recipients = store.recipients(&new.church_id, new.id, &all()).await.unwrap();
    assert!(
        recipients.iter().all(|it| it.failure.as_ref().is_some_and(|failure| failure.code == "not_sent"))
    );
    assert!(store.audit().await.unwrap().is_sound());
    // Later messages are sent.
    let mut today = from("+15550000001", message("grace", 1));
    today.created_at = late;
    record(&store, &today).await;
    assert_eq!(store.begin_attempts(9, late).await.unwrap().len(), 1);
}

async fn a_recipient_waiting_its_turn_is_never_given_up(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = limited(&database.migrated().await, None);
    record(&store, &from("+15550000001", message("grace", 60))).await;
    let start = now();
    for hour in 0..20 {
        let at = start + Duration::hours(hour);
        let attempts = store.begin_attempts(2, at).await.unwrap();
        assert_eq!(attempts.len(), 2, "in hour {hour}");
        answer(&store, &attempts, accepted, at).await;
        assert_eq!(store.fail_unsent(100, at).await.unwrap(), 0, "in hour {hour}");
    }
}

async fn recipients_that_waited_through_a_full_stop_are_given_up(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = limited(&database.migrated().await, None);
    let new = from("+15550000001", message("grace", 4));
    record(&store, &new).await;
    let saturday = now();
    let attempts = store.begin_attempts(1, saturday).await.unwrap();
    answer(&store, &attempts, accepted, saturday).await;
    let monday = saturday + Duration::days(2);
    assert!(store.begin_attempts(9, monday).await.unwrap().is_empty());
    assert_eq!(store.fail_unsent(100, monday).await.unwrap(), 3);
}

async fn the_estimate_counts_fair_turns_rates_and_the_send_time(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = limited(&database.migrated().await, Some(10));
    let estimate = async |new: &NewMessage| {
        record(&store, new).await;
        store.message(&new.church_id, new.id).await.unwrap().unwrap().estimated_seconds
    };
    assert_eq!(estimate(&message("first", 1)).await, None, "no process sends yet");
    store.publish_rate().await.unwrap();
    assert_eq!(estimate(&message("grace", 99)).await, Some(10), "99 of its own, one before them");
    assert_eq!(estimate(&message("hope", 20)).await, Some(6), "20 of each of three churches at most");
    let mut tomorrow = message("peace", 10);
    tomorrow.send_at = Some(tomorrow.created_at + Duration::days(1));
    assert!(estimate(&tomorrow).await.is_some_and(|seconds| seconds > 86_400));
}

fn pause(church_id: Option<&str>) -> Pause {
    Pause { church_id: church_id.map(church), by: "operator:anna".into(), since: now() }
}

async fn a_paused_church_is_not_claimed_and_does_not_count_as_due(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = limited(&database.migrated().await, None);
    let (grace, hope) = (message("grace", 2), message("hope", 1));
    record(&store, &grace).await;
    record(&store, &hope).await;
    store.pause(&pause(Some("grace"))).await.unwrap();
    store.pause(&Pause { by: "operator:ben".into(), ..pause(Some("grace")) }).await.unwrap();
    let pauses = store.pauses().await.unwrap();
    assert_eq!(pauses.iter().map(|pause| &*pause.by).collect::<Vec<_>>(), ["operator:anna"]);
    let taken = store.begin_attempts(10, now()).await.unwrap();
    assert_eq!(taken.iter().map(|attempt| attempt.recipient_id).collect::<Vec<_>>(), [hope.recipients[0].id]);
    assert_eq!(store.next_attempt_at().await.unwrap(), None);
    let late = now() + Duration::days(1);
    assert_eq!(store.fail_unsent(10, late).await.unwrap(), 0, "a paused text is not given up");
    assert!(store.resume(Some(&church("grace"))).await.unwrap());
    assert!(!store.resume(Some(&church("grace"))).await.unwrap());
    assert_eq!(store.begin_attempts(10, now()).await.unwrap().len(), 2);
}

async fn what_operators_have_paused_is_not_late(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = limited(&database.migrated().await, None);
    let due_since = async |at| store.due_since(at).await.unwrap();
    assert_eq!(due_since(now()).await, None);
    let (grace, mut later) = (message("grace", 2), message("hope", 1));
    let tomorrow = grace.created_at + Duration::days(1);
    later.send_at = Some(tomorrow);
    record(&store, &grace).await;
    record(&store, &later).await;
    assert_eq!(due_since(now()).await, Some(grace.created_at));
    store.pause(&pause(Some("grace"))).await.unwrap();
    assert_eq!(due_since(now()).await, None);
    store.resume(Some(&church("grace"))).await.unwrap();
    assert_eq!(store.begin_attempts(10, now()).await.unwrap().len(), 2);
    assert_eq!(due_since(now()).await, None);
    assert_eq!(due_since(tomorrow).await, Some(tomorrow));
}

async fn nothing_is_claimed_while_everybody_is_paused(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    record(&store, &message("grace", 1)).await;
    store.pause(&pause(None)).await.unwrap();
    store.pause(&pause(Some("hope"))).await.unwrap();
    let churches: Vec<_> = store.pauses().await.unwrap().into_iter().map(|pause| pause.church_id).collect();
    assert_eq!(churches, [None, Some(church("hope"))]);
    assert!(store.begin_attempts(10, now()).await.unwrap().is_empty());
    assert_eq!(store.next_attempt_at().await.unwrap(), None);
    assert!(store.resume(None).await.unwrap());
    assert_eq!(store.begin_attempts(10, now()).await.unwrap().len(), 1);
}
