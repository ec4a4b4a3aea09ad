use std::num::NonZeroUsize;
use std::pin::Pin;

use bytes::Bytes;
use common::store::{StoreOptions, WebhookContent};
use common::telemetry::Metrics;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::task::AbortOnDropHandle;

use super::*;

/// A queue with a database of its own, whose committer does not run yet.
struct Setup {
    queue: Queue,
    committer: Option<Committer>,
    metrics: Metrics,
    closing: CancellationToken,
    _folder: TempDir,
}

impl Setup {
    async fn new(places: usize, batch: usize) -> Self {
        let setup = Self::without_database(places, batch);
        setup.committer.as_ref().unwrap().store.migrate().await.unwrap();
        setup
    }

    /// A setup before the first migration.
    fn without_database(places: usize, batch: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}", folder.path().join("record.db").display());
        let store = Store::new(&StoreOptions { database_url: url.into(), database_connections: 1 }).unwrap();
        let ingest_queue_bytes = u32::try_from(places * OVERHEAD).unwrap();
        let ingest_batch = NonZeroUsize::new(batch).unwrap();
        let metrics = Metrics::default();
        let options = QueueOptions { ingest_queue_bytes, ingest_batch };
        let (queue, committer) = super::queue(options, store, IngestMetrics::new(&metrics));
        Self {
            queue,
            committer: Some(committer),
            metrics,
            closing: CancellationToken::new(),
            _folder: folder,
        }
    }

    fn start(&mut self) -> AbortOnDropHandle<()> {
        let committer = self.committer.take().unwrap();
        AbortOnDropHandle::new(tokio::spawn(committer.run(self.closing.clone())))
    }

    /// Puts a webhook into the queue.
    fn put(&self, event_id: &str) -> Pin<Box<impl Future<Output = Result<Outcome, CommitError>> + use<>>> {
        let mut waiting = Box::pin(self.queue.reserve(0).unwrap().commit(webhook(event_id)));
        assert_eq!((&mut waiting).now_or_never(), None);
        waiting
    }

    fn shows(&self, line: &str) -> bool {
        self.metrics.encode().lines().any(|shown| shown == line)
    }
}

fn webhook(event_id: &str) -> Webhook {
    Webhook {
        event_id: event_id.into(),
        event_type: "message.received".into(),
        occurred_at: None,
        received_at: OffsetDateTime::now_utc(),
        body: Bytes::from_static(b"{}"),
        content: WebhookContent::Ignored { reason: "a test".into() },
        trace_parent: None,
    }
}

#[tokio::test]
async fn waiting_webhooks_are_committed_together() {
    let mut setup = Setup::new(64, 8).await;
    let waiting: Vec<_> = (0..20).map(|number| setup.put(&format!("e{number}"))).collect();
    let _running = setup.start();
    assert!(join_all(waiting).await.into_iter().all(|outcome| outcome == Ok(Outcome::Ignored)));
    for line in [
        "church_ingest_batch_webhooks_count 3",
        "church_ingest_batch_webhooks_sum 20.0",
        "church_ingest_queue_length 0",
    ] {
        assert!(setup.shows(line), "{line}\n{}", setup.metrics.encode());
    }
    assert!(setup.shows("church_ingest_webhooks_total{outcome=\"ignored\"} 20"));
}

#[tokio::test]
async fn repeated_webhooks_in_one_commit_are_duplicates() {
    let mut setup = Setup::new(8, 8).await;
    let waiting = [setup.put("same"), setup.put("same"), setup.put("other")];
    let _running = setup.start();
    let outcomes = join_all(waiting).await;
    assert_eq!(outcomes, [Ok(Outcome::Ignored), Ok(Outcome::Duplicate), Ok(Outcome::Ignored)]);
}

#[tokio::test]
async fn a_request_that_ended_before_the_commit_is_left_out() {
    let mut setup = Setup::new(8, 8).await;
    let patient = setup.put("patient");
    drop(setup.put("hasty"));
    let _running = setup.start();
    assert_eq!(patient.await, Ok(Outcome::Ignored));
    assert!(setup.shows("church_ingest_batch_webhooks_sum 1.0"));
    // Sent again, it is new.
    let again = setup.queue.reserve(0).unwrap().commit(webhook("hasty"));
    assert_eq!(again.await, Ok(Outcome::Ignored));
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_a_dropped_slot_is_free_again() {
    let setup = Setup::new(2, 8).await;
    let (first, _second) = (setup.queue.reserve(0).unwrap(), setup.queue.reserve(0).unwrap());
    assert_eq!(setup.queue.reserve(0).err(), Some(CommitError::QueueFull));
    assert!(setup.shows("church_ingest_queue_length 2"));
    drop(first);
    assert!(setup.queue.reserve(0).is_ok());
}

#[tokio::test]
async fn a_long_body_takes_the_room_of_many_until_it_is_known_to_be_short() {
    let mut setup = Setup::new(10, 8).await;
    let long = setup.queue.reserve(8 * OVERHEAD).unwrap();
    let short = setup.queue.reserve(0).unwrap();
    assert_eq!(setup.queue.reserve(0).err(), Some(CommitError::QueueFull));
    let mut waiting = Box::pin(long.commit(webhook("short after all")));
    assert_eq!((&mut waiting).now_or_never(), None);
    assert!(setup.queue.reserve(7 * OVERHEAD - 2).is_ok());
    let _running = setup.start();
    assert_eq!(waiting.await, Ok(Outcome::Ignored));
    drop(short);
    assert!(setup.queue.reserve(9 * OVERHEAD).is_ok(), "all of it is free again");
}

#[tokio::test]
async fn more_webhooks_than_the_database_records_in_time_are_refused_at_once() {
    let mut setup = Setup::new(64, 2).await;
    for _ in 0..100 {
        setup.committer.as_ref().unwrap().pace.measured(64, Duration::from_secs(64));
    }
    // As many as one commit takes may always wait.
    let waiting = [setup.put("e1"), setup.put("e2")];
    let reading = setup.queue.reserve(0);
    assert_eq!(reading.err(), Some(CommitError::QueueFull));
    let _running = setup.start();
    assert_eq!(join_all(waiting).await, [Ok(Outcome::Ignored); 2]);
    assert!(setup.queue.reserve(0).is_ok());
}

#[tokio::test]
async fn closing_answers_reserved_slots_and_refuses_new_ones() {
    let mut setup = Setup::new(8, 1).await;
    let waiting = [setup.put("e1"), setup.put("e2"), setup.put("e3")];
    let reading = setup.queue.reserve(0).unwrap();
    setup.closing.cancel();
    let running = setup.start();
    assert_eq!(join_all(waiting).await, [Ok(Outcome::Ignored); 3]);
    assert_eq!(setup.queue.reserve(0).err(), Some(CommitError::Stopping));
    assert_eq!(reading.commit(webhook("e4")).await, Ok(Outcome::Ignored));
    running.await.unwrap();
}

#[tokio::test]
async fn a_database_without_tables_counts_as_unavailable() {
    let mut setup = Setup::without_database(8, 8);
    let waiting = [setup.put("e1"), setup.put("e2")];
    let store = setup.committer.as_ref().unwrap().store.clone();
    let _running = setup.start();
    assert_eq!(join_all(waiting).await, [Err(CommitError::DatabaseUnavailable); 2]);
    store.migrate().await.unwrap();
    let again = setup.queue.reserve(0).unwrap().commit(webhook("e1"));
    assert_eq!(again.await, Ok(Outcome::Ignored));
}
