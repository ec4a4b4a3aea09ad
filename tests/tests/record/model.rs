//! A model of two processes that claim, post, receive or lose answers, crash, and record answers repeatedly, over the
//! real store. Telnyx's book is the judge: no recipient is in it twice, and none that was due is missing.

use std::collections::{BTreeMap, BTreeSet};

use common::status::{MessageStatus, Rank};
use common::store::{Answer, Attempt, AttemptId, Failure, NewMessage, Overdue, Setback, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::church::{all, hinted, message, now, patiently, state, webhook};

on_both_databases!(no_recipient_is_sent_twice_or_forgotten_whatever_answers_are_lost);

/// Recipients of the model's only message.
const RECIPIENTS: usize = 6;
/// An attempt without an answer fails after this time.
const GIVEN_UP_AFTER: Duration = Duration::hours(6);

/// The next step. Indexes select among the existing items.
#[derive(Debug, Clone)]
enum Step {
    Claim { process: usize, limit: u32, commit: Commit },
    Post { which: prop::sample::Index, reply: Reply },
    Record { which: prop::sample::Index, answered: bool },
    Crash { process: usize },
    Webhook { which: prop::sample::Index, rank: i16 },
    Wait { minutes: i64 },
}

/// The outcome of a claim's commit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Commit {
    Answered,
    /// Committed, and the acknowledgement is lost.
    Lost,
}

/// How Telnyx handles a request.
#[derive(Debug, Clone, Copy)]
enum Reply {
    Accept,
    /// Accepted, and the answer is lost.
    Lose,
    /// Not accepted, and the answer is lost.
    Drop,
    Throttle,
    HoldSender,
    Refuse,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let commit = prop_oneof![3 => Just(Commit::Answered), 1 => Just(Commit::Lost)];
    let reply = prop_oneof![
        3 => Just(Reply::Accept), 1 => Just(Reply::Lose), 1 => Just(Reply::Drop), 4 => Just(Reply::Throttle),
        1 => Just(Reply::HoldSender), 1 => Just(Reply::Refuse),
    ];
    let step = prop_oneof![
        4 => (0..2usize, 1..4u32, commit).prop_map(|(process, limit, commit)| Step::Claim { process, limit, commit }),
        5 => (index(), reply).prop_map(|(which, reply)| Step::Post { which, reply }),
        6 => (index(), any::<bool>()).prop_map(|(which, answered)| Step::Record { which, answered }),
        1 => (0..2usize).prop_map(|process| Step::Crash { process }),
        2 => (index(), 0..=6i16).prop_map(|(which, rank)| Step::Webhook { which, rank }),
        1 => (1..600i64).prop_map(|minutes| Step::Wait { minutes }),
    ];
    prop::collection::vec(step, 5..40)
}

/// The suite as the model drives it, and Telnyx's book.
struct World<'a> {
    database: &'a Database,
    processes: [Store; 2],
    message: NewMessage,
    now: OffsetDateTime,
    claimed: Vec<(usize, Attempt)>,
    answers: Vec<(usize, AttemptId, Answer)>,
    /// Claims that a process must read back.
    doubted: [BTreeSet<Uuid>; 2],
    /// The time of each recipient's last attempt.
    attempted: BTreeMap<Uuid, OffsetDateTime>,
    /// Telnyx's ids of accepted messages, by recipient.
    book: BTreeMap<Uuid, Vec<String>>,
    /// Recipients that may be missing in the book: refused, dropped, or lost with a process.
    excused: BTreeSet<Uuid>,
    events: u32,
}

async fn no_recipient_is_sent_twice_or_forgotten_whatever_answers_are_lost(kind: Kind) {
    let database = Database::fresh(kind).await;
    database.migrated().await;
    let runtime = tokio::runtime::Handle::current();
    let config = Config { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    tokio::task::block_in_place(|| {
        TestRunner::new(config)
            .run(&steps(), |steps| runtime.block_on(live(&database, steps)))
            .unwrap_or_else(|failure| panic!("{failure}"));
    });
    assert!(database.store().audit().await.unwrap().is_sound());
}

async fn live(database: &Database, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut message = message(&format!("church-{}", Uuid::now_v7()), RECIPIENTS);
    message.from_number = Some(format!("sender-{}", message.id));
    let processes = [database.store(), database.store()];
    patiently(async || processes[0].record_message(&message, None).await).await;
    let mut world = World {
        database,
        processes,
        message,
        now: now(),
        claimed: Vec::new(),
        answers: Vec::new(),
        doubted: Default::default(),
        attempted: BTreeMap::new(),
        book: BTreeMap::new(),
        excused: BTreeSet::new(),
        events: 0,
    };
    for step in steps {
        world.take(step).await?;
    }
    world.finish().await
}

impl World<'_> {
    async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Claim { process, limit, commit } => self.claim(process, limit, commit).await,
            Step::Post { which, reply } if !self.claimed.is_empty() => {
                let (process, attempt) = self.claimed.swap_remove(which.index(self.claimed.len()));
                self.post(process, &attempt, reply)?;
            }
            Step::Record { which, answered } if !self.answers.is_empty() => {
                let index = which.index(self.answers.len());
                self.record(index).await;
                if answered {
                    self.answers.swap_remove(index);
                }
            }
            Step::Crash { process } => self.crash(process),
            Step::Webhook { which, rank } if !self.book.is_empty() => {
                let recipient = *self.book.keys().nth(which.index(self.book.len())).unwrap();
                self.webhook(recipient, rank).await;
            }
            Step::Wait { minutes } => {
                self.now += Duration::minutes(minutes);
                self.excuse_what_is_given_up();
                self.close_overdue(GIVEN_UP_AFTER).await;
            }
            _ => {}
        }
        Ok(())
    }

    async fn claim(&mut self, process: usize, limit: u32, commit: Commit) {
        let store = &self.processes[process];
        let attempts = patiently(async || store.begin_attempts(limit, self.now).await).await;
        // By now each claim with an unknown outcome was read back or has a final status.
        let read_back = std::mem::take(&mut self.doubted[process]);
        let is_new = |attempt: &&Attempt| !read_back.contains(&attempt.recipient_id);
        self.attempted.extend(attempts.iter().filter(is_new).map(|attempt| (attempt.recipient_id, self.now)));
        if commit == Commit::Lost {
            self.processes[process].reread_claim(&attempts);
            self.doubted[process].extend(attempts.iter().map(|attempt| attempt.recipient_id));
        } else {
            self.claimed.extend(attempts.into_iter().map(|attempt| (process, attempt)));
        }
    }

    fn post(&mut self, process: usize, attempt: &Attempt, reply: Reply) -> Result<(), TestCaseError> {
        let recipient = attempt.recipient_id;
        if matches!(reply, Reply::Accept | Reply::Lose) {
            let taken = self.book.entry(recipient).or_default();
            taken.push(Uuid::now_v7().to_string());
            prop_assert!(taken.len() == 1, "{recipient} is in the book twice");
        }
        let setback = |minutes| Setback {
            reason: "throttled".into(),
            first: Duration::minutes(minutes),
            longest: Duration::minutes(minutes),
            until: None,
        };
        let not_accepted = |setback| Answer::NotAccepted { again_at: self.now, setback };
        let answer = match reply {
            Reply::Accept => Answer::Accepted { provider_id: self.book[&recipient][0].clone() },
            Reply::Lose | Reply::Drop => Answer::Unresolved,
            Reply::Throttle => not_accepted(None),
            Reply::HoldSender => not_accepted(Some(setback(3))),
            Reply::Refuse => Answer::Refused(Failure { code: "40310".into(), reason: "no phone".into() }),
        };
        if matches!(reply, Reply::Drop | Reply::Refuse) {
            self.excused.insert(recipient);
        }
        self.answers.push((process, attempt.id, answer));
        Ok(())
    }

    async fn record(&self, index: usize) {
        let (process, attempt, answer) = &self.answers[index];
        let (store, answer) = (&self.processes[*process], [(*attempt, answer.clone())]);
        patiently(async || store.record_answers(&answer, self.now).await).await;
    }

    /// Marks attempts that were posted or answered only after the suite had given them up.
    fn excuse_what_is_given_up(&mut self) {
        let claimed = self.claimed.iter().map(|(_, attempt)| attempt.recipient_id);
        let answered = self.answers.iter().map(|(_, attempt, _)| attempt.recipient_id);
        let under_way = claimed.chain(answered).chain(self.doubted.iter().flatten().copied());
        let is_late = |id: &Uuid| self.attempted.get(id).is_some_and(|at| *at < self.now - GIVEN_UP_AFTER);
        self.excused.extend(under_way.filter(is_late).collect::<Vec<_>>());
    }

    /// Replaces a process by a new one, which knows nothing of the first one's memory.
    fn crash(&mut self, process: usize) {
        let of_process = |it: &usize| *it == process;
        let claimed =
            self.claimed.extract_if(.., |(it, _)| of_process(it)).map(|(_, attempt)| attempt.recipient_id);
        self.excused.extend(claimed);
        let answers =
            self.answers.extract_if(.., |(it, ..)| of_process(it)).map(|(_, id, _)| id.recipient_id);
        self.excused.extend(answers);
        self.excused.extend(std::mem::take(&mut self.doubted[process]));
        self.processes[process] = self.database.store();
    }

    async fn webhook(&mut self, recipient: Uuid, rank: i16) {
        self.events += 1;
        let provider_id = &self.book[&recipient][0];
        let phone = &self.message.recipients.iter().find(|it| it.id == recipient).unwrap().phone;
        let event = format!("{recipient}-{}", self.events);
        let hook = webhook(&event, provider_id, phone, state(Rank::from_i16(rank).unwrap()));
        let hooks = [hinted(hook, recipient)];
        patiently(async || self.processes[0].record_webhooks(&hooks).await).await;
    }

    async fn close_overdue(&self, after: Duration) {
        let before = self.now - after;
        let overdue = Overdue { accepted_before: before, unresolved_before: before, limit: 100 };
        patiently(async || self.processes[1].close_overdue(&overdue, self.now).await).await;
    }

    /// Records all answers and sends everything due. Then every recipient has the right final status.
    async fn finish(mut self) -> Result<(), TestCaseError> {
        // Well before an attempt is given up.
        for _ in 0..30 {
            for process in 0..2 {
                self.claim(process, 9, Commit::Answered).await;
            }
            while let Some((process, attempt)) = self.claimed.pop() {
                self.post(process, &attempt, Reply::Accept)?;
            }
            while !self.answers.is_empty() {
                self.record(self.answers.len() - 1).await;
                self.answers.pop();
            }
            self.now += Duration::minutes(1);
        }
        for recipient in self.book.keys().copied().collect::<Vec<_>>() {
            self.webhook(recipient, Rank::Delivered.as_i16()).await;
        }
        self.close_overdue(-Duration::hours(1)).await;
        let (store, message) = (&self.processes[0], &self.message);
        for recipient in
            patiently(async || store.recipients(&message.church_id, message.id, &all()).await).await
        {
            let is_in_book = self.book.contains_key(&recipient.id);
            prop_assert!(
                is_in_book || self.excused.contains(&recipient.id),
                "{} was forgotten",
                recipient.id
            );
            let delivered = recipient.state.status() >= MessageStatus::Delivered;
            prop_assert_eq!(delivered, is_in_book, "{:?}", recipient);
            prop_assert!(recipient.state.is_finished(), "{:?}", recipient);
        }
        Ok(())
    }
}
