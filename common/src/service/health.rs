//! Readiness, as named conditions.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// A service's readiness: named conditions, each with the reason why it does not hold.
#[derive(Clone, Default)]
pub struct Health(Arc<watch::Sender<HealthState>>);

#[derive(Default)]
pub(super) struct HealthState {
    stopping: bool,
    failure: Option<anyhow::Error>,
    conditions: BTreeMap<&'static str, (Weight, Option<String>)>,
}

/// How much an unmet condition weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The service is not ready (503).
    Required,
    /// The service is ready and says `degraded: <name>` (200).
    Degrading,
}

/// One condition of a service's readiness. Unmet until [`Condition::met`] is called.
#[derive(Clone)]
pub struct Condition {
    health: Health,
    name: &'static str,
}

impl Condition {
    /// Says that it holds.
    pub fn met(&self) {
        self.set(None);
    }

    /// Says that it does not hold, and why.
    pub fn unmet(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        self.health.0.send_if_modified(|state| match state.conditions.get_mut(self.name) {
            Some((_, unmet)) if *unmet != reason => {
                *unmet = reason;
                true
            }
            _ => false,
        });
    }
}

impl Health {
    /// Adds a condition, unmet at first.
    pub fn condition(&self, name: &'static str, weight: Weight) -> Condition {
        self.0.send_modify(|state| {
            state.conditions.insert(name, (weight, Some("starting".into())));
        });
        Condition { health: self.clone(), name }
    }

    /// Whether `GET /readyz` answers 200, and its text.
    pub fn report(&self) -> (bool, String) {
        let state = self.0.borrow();
        if state.stopping {
            return (false, "stopping\n".into());
        }
        let unmet = |weight| {
            let of_weight = state.conditions.iter().filter(move |(_, (w, _))| *w == weight);
            of_weight.filter_map(|(name, (_, reason))| reason.as_ref().map(|reason| (*name, reason)))
        };
        let missing: Vec<_> =
            unmet(Weight::Required).map(|(name, why)| format!("not ready: {name} ({why})\n")).collect();
        let degraded = unmet(Weight::Degrading).map(|(name, why)| format!("degraded: {name} ({why})\n"));
        // A service registers its required conditions while it starts.
        if !state.conditions.values().any(|(weight, _)| *weight == Weight::Required) {
            return (false, "not ready: starting\n".into());
        }
        let ready = missing.is_empty();
        let lines: String = missing.into_iter().chain(degraded).collect();
        (ready, if lines.is_empty() { "ready\n".into() } else { lines })
    }

    /// The conditions by name, and whether each is met.
    pub(super) fn conditions(&self) -> Vec<(&'static str, Weight, bool)> {
        let state = self.0.borrow();
        let conditions = state.conditions.iter();
        conditions.map(|(name, (weight, unmet))| (*name, *weight, unmet.is_none())).collect()
    }

    /// Makes the service not ready for good.
    pub fn stop(&self) {
        self.0.send_modify(|state| state.stopping = true);
    }

    /// Tells of each change of [`Health::report`].
    pub(super) fn changes(&self) -> watch::Receiver<HealthState> {
        self.0.subscribe()
    }

    /// A vital task ended: not ready for good. The first failure is kept.
    pub(super) fn fail(&self, failure: anyhow::Error) {
        self.0.send_modify(|state| {
            state.stopping = true;
            state.failure.get_or_insert(failure);
        });
    }

    /// Whether a vital task has failed.
    pub fn has_failed(&self) -> bool {
        self.0.borrow().failure.is_some()
    }

    /// Takes the failure of a vital task.
    pub(super) fn failure(&self) -> Option<anyhow::Error> {
        let mut failure = None;
        self.0.send_modify(|state| failure = state.failure.take());
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_requirement_makes_a_service_not_ready_and_a_degradation_does_not() {
        let health = Health::default();
        assert!(!health.report().0, "before it said what it needs");
        let (database, nats) =
            (health.condition("database", Weight::Required), health.condition("nats", Weight::Degrading));
        assert_eq!(
            health.report(),
            (false, "not ready: database (starting)\ndegraded: nats (starting)\n".into())
        );
        database.met();
        assert_eq!(health.report(), (true, "degraded: nats (starting)\n".into()));
        nats.met();
        assert_eq!(health.report(), (true, "ready\n".into()));
        health.stop();
        assert!(!health.report().0);
    }
}
