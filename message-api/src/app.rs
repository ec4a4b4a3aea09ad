//! The state that all handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::claims::TokenVerifier;
use common::service::Health;
use common::store::Store;
use common::trace_context::TraceParent;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::directory::Directory;
use crate::metrics::ApiMetrics;
use crate::phone::Country;
use crate::roles::SendRoles;
use crate::settings::DefaultSender;

/// Largest body, in MiB. 10 000 recipients with the longest ids and names fit, in any script.
pub(crate) const MAX_BODY_MIB: usize = 8;

/// The state that all handlers share.
#[derive(Clone)]
pub(crate) struct App {
    /// The database.
    pub store: Store,
    /// Checks bearer tokens.
    pub verifier: TokenVerifier,
    /// The sender of a church without one of its own.
    pub default_sender: Option<DefaultSender>,
    /// The country of numbers without a country code.
    pub default_country: Option<Country>,
    /// Who belongs to a group, a branch or the church.
    pub directory: Option<Directory>,
    /// Who may send.
    pub send_roles: SendRoles,
    /// Wakes the dispatcher.
    pub wake: Arc<Notify>,
    /// Metrics.
    pub metrics: ApiMetrics,
    /// Whether the service is ready.
    pub health: Health,
    /// Cancelled once the database's schema is up to date.
    pub schema_ready: CancellationToken,
    /// Longest time for a request.
    pub request_timeout: Duration,
}

/// The trace that a request belongs to.
pub(crate) type Trace = Option<TraceParent>;

/// Whether a request has started a write that must not be repeated. If it times out after that, its outcome is unknown.
#[derive(Clone, Default)]
pub(crate) struct WriteStarted(Arc<AtomicBool>);

impl WriteStarted {
    /// Marks the start of the write.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
