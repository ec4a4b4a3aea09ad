//! A model of two processes that claim, post, receive or lose answers, crash, and record answers repeatedly, while people
//! cancel and retry, over the real store. Telnyx's book is the judge: no recipient is in it twice, none that was
//! cancelled is in it, and none that was due is missing.

mod judge;
mod orders;
mod sending;
mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tests::databases::{Database, Kind};
use tests::on_both_databases;

use self::world::World;

on_both_databases!(no_recipient_is_sent_twice_or_forgotten_or_sent_after_a_cancel_whatever_answers_are_lost);

/// The next step. Indexes select among the existing items.
#[derive(Debug, Clone)]
enum Step {
    Claim { process: usize, limit: u32, commit: Commit },
    Post { which: prop::sample::Index, reply: Reply },
    Record { which: prop::sample::Index, answered: bool },
    Crash { process: usize },
    Webhook { which: prop::sample::Index, rank: i16, passing: bool },
    Wait { minutes: i64 },
    Cancel { process: usize, which: prop::sample::Index },
    Retry { process: usize, which: prop::sample::Index, include_unresolved: bool },
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
    /// Refused for a reason that stays.
    Refuse,
    /// Refused for a reason that passes.
    RefuseForNow,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let commit = prop_oneof![3 => Just(Commit::Answered), 1 => Just(Commit::Lost)];
    let reply = prop_oneof![
        3 => Just(Reply::Accept), 1 => Just(Reply::Lose), 1 => Just(Reply::Drop), 4 => Just(Reply::Throttle),
        1 => Just(Reply::HoldSender), 1 => Just(Reply::Refuse), 2 => Just(Reply::RefuseForNow),
    ];
    let step = prop_oneof![
        4 => (0..2usize, 1..4u32, commit).prop_map(|(process, limit, commit)| Step::Claim { process, limit, commit }),
        5 => (index(), reply).prop_map(|(which, reply)| Step::Post { which, reply }),
        6 => (index(), any::<bool>()).prop_map(|(which, answered)| Step::Record { which, answered }),
        1 => (0..2usize).prop_map(|process| Step::Crash { process }),
        2 => (index(), 0..=6i16, any::<bool>()).prop_map(|(which, rank, passing)| Step::Webhook { which, rank, passing }),
        1 => (1..600i64).prop_map(|minutes| Step::Wait { minutes }),
        1 => (0..2usize, index()).prop_map(|(process, which)| Step::Cancel { process, which }),
        2 => (0..2usize, index(), any::<bool>())
            .prop_map(|(process, which, include_unresolved)| Step::Retry { process, which, include_unresolved }),
    ];
    prop::collection::vec(step, 5..40)
}

async fn no_recipient_is_sent_twice_or_forgotten_or_sent_after_a_cancel_whatever_answers_are_lost(
    kind: Kind,
) {
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
    let mut world = World::new(database).await;
    for step in steps {
        world.take(step).await?;
        world.judge_messages().await?;
    }
    world.finish().await
}
