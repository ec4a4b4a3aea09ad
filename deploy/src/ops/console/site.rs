//! What the console works on.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use common::store::Store;
use tokio_util::sync::CancellationToken;
use webhook_ingest::settings::DefaultNumber;

use super::action_log::ActionLog;
use super::options::Console;
use super::samples::Samples;
use super::session::Session;
use super::work::Works;
use crate::ops::message::Sources;

/// Longest wait for the database. A person waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The console's own state, for all its requests.
#[derive(Clone)]
pub(super) struct Site(Arc<Parts>);

/// The parts of a [`Site`].
pub(super) struct Parts {
    pub(super) options: Console,
    pub(super) store: Store,
    pub(super) default_number: Option<DefaultNumber>,
    pub(super) session: Session,
    pub(super) samples: Samples,
    pub(super) works: Works,
    /// Cancelled when the console ends.
    pub(super) ending: CancellationToken,
    /// `None` means that nothing may be changed.
    pub(super) actions: Option<ActionLog>,
}

impl Site {
    /// A site of these parts.
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Where a message's life is recorded.
    pub(super) fn sources(&self) -> Sources<'_> {
        let Console { broker, services, .. } = &self.options;
        Sources { store: &self.store, broker, gateways: &services.gateways }
    }
}

impl Deref for Site {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
