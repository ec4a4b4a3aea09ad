//! What waits until it is released: webhooks, and requests at a step, so that their sender can be killed there.

use std::sync::Arc;

use tokio::sync::watch;

use super::behaviour::{Hold, Rule};

/// Webhooks wait here while it is closed.
#[derive(Default)]
pub(super) struct Gate(watch::Sender<bool>);

impl Gate {
    pub(super) fn close(&self, closed: bool) {
        self.0.send_replace(closed);
    }

    pub(super) async fn pass(&self) {
        // The sender lives as long as the simulator.
        let _ = self.0.subscribe().wait_for(|closed| !closed).await;
    }
}

/// The requests that wait now.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<watch::Sender<State>>);

#[derive(Default)]
struct State {
    /// How many wait.
    waiting: usize,
    /// How often all were released.
    releases: u64,
}

impl Held {
    /// Waits if the rule holds requests at this step.
    pub(super) async fn wait(&self, rule: &Rule, step: Hold) {
        if rule.hold != Some(step) {
            return;
        }
        let mut state = self.0.subscribe();
        let before = state.borrow().releases;
        self.0.send_modify(|state| state.waiting += 1);
        let _leaves = Leaves(self);
        // The sender lives as long as the simulator.
        let _ = state.wait_for(|state| state.releases > before).await;
    }

    pub(super) fn count(&self) -> usize {
        self.0.borrow().waiting
    }

    pub(super) fn release(&self) {
        self.0.send_modify(|state| state.releases += 1);
    }
}

/// Counts a request out, also when its client has gone away.
struct Leaves<'a>(&'a Held);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.waiting -= 1);
    }
}
