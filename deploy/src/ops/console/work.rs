//! Long work: it goes on while somebody looks elsewhere, tells how far it is, and can be stopped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use common::event::timestamp;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ops::progress::{Done, Progress};

/// Work that is remembered.
const KEPT: usize = 20;

/// All work of a console.
#[derive(Clone, Default)]
pub(super) struct Works(Arc<Inner>);

#[derive(Default)]
struct Inner {
    last: AtomicU64,
    all: Mutex<Vec<Work>>,
    tasks: TaskTracker,
}

/// One piece of work.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Work {
    id: u64,
    command: String,
    #[serde(with = "timestamp")]
    started_at: OffsetDateTime,
    /// `running`, `done` or `failed`.
    state: &'static str,
    progress: Option<Done>,
    /// What it came to.
    says: String,
    report: Value,
    #[serde(skip)]
    stop: CancellationToken,
}

/// What work came to: a sentence, and a report with its parts.
pub(super) type Outcome = anyhow::Result<(String, Value)>;

impl Works {
    /// Starts work. Gives its number.
    pub(super) fn start<F: Future<Output = Outcome> + Send + 'static>(
        &self,
        command: String,
        begin: impl FnOnce(Progress) -> F,
    ) -> u64 {
        let id = self.0.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (stop, works) = (CancellationToken::new(), self.clone());
        let progress =
            Progress::told(move |done| works.change(id, |work| work.progress = Some(done)), stop.clone());
        let work = Work {
            id,
            command,
            started_at: OffsetDateTime::now_utc(),
            state: "running",
            progress: None,
            says: String::new(),
            report: Value::Null,
            stop,
        };
        self.remember(work);
        let (works, doing) = (self.clone(), begin(progress));
        self.0.tasks.spawn(async move {
            let outcome = doing.await;
            works.change(id, |work| work.end(outcome));
        });
        id
    }

    /// All work that is remembered, the newest first.
    pub(super) fn all(&self) -> Vec<Work> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }

    /// Stops work. Returns whether it runs.
    pub(super) fn stop(&self, id: u64) -> bool {
        let all = self.0.all.lock().unwrap_or_else(PoisonError::into_inner);
        let work = all.iter().find(|work| work.id == id && work.state == "running");
        work.inspect(|work| work.stop.cancel()).is_some()
    }

    /// Stops all work, and waits until it has tidied up.
    pub(super) async fn end(&self) {
        self.0.tasks.close();
        self.all().iter().for_each(|work| work.stop.cancel());
        self.0.tasks.wait().await;
    }

    fn remember(&self, work: Work) {
        let mut all = self.0.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(work);
        let mut surplus = all.len().saturating_sub(KEPT);
        all.retain(|work| {
            let leaves = surplus > 0 && work.state != "running";
            surplus -= usize::from(leaves);
            !leaves
        });
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Work)) {
        let mut all = self.0.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(work) = all.iter_mut().find(|work| work.id == id) {
            change(work);
        }
    }
}

impl Work {
    fn end(&mut self, outcome: Outcome) {
        match outcome {
            Ok((says, report)) => (self.state, self.says, self.report) = ("done", says, report),
            Err(error) => (self.state, self.says) = ("failed", format!("{error:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_tells_how_far_it_is_and_ends_when_it_is_stopped() {
        let works = Works::default();
        let id = works.start("ops audit".into(), |progress| async move {
            progress.tell(3, Some(10), "events");
            progress.stop.cancelled().await;
            Ok(("stopped by hand".into(), Value::Null))
        });
        while works.all()[0].progress.is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(works.all()[0].state, "running");
        assert!(works.stop(id) && !works.stop(id + 1));
        works.end().await;
        let ended = &works.all()[0];
        assert_eq!((ended.state, ended.says.as_str()), ("done", "stopped by hand"));
        assert!(!works.stop(id));
    }
}
