//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::claims::TokenVerifier;
use common::service::Health;
use common::store::Store;
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::metrics::ApiMetrics;
use crate::phone::Country;
use crate::settings::DefaultSender;

/// Largest body, in MiB: 10 000 recipients fit, with ids and names as long as they may be, in any script.
pub(crate) const MAX_BODY_MIB: usize = 8;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct App {
    /// The record.
    pub store: Store,
    /// Checks bearer tokens.
    pub verifier: TokenVerifier,
    /// Who a church without a sender of its own sends as.
    pub default_sender: Option<DefaultSender>,
    /// The country of a number without a country code.
    pub default_country: Option<Country>,
    /// Wakes the dispatcher.
    pub wake: Arc<Notify>,
    /// What is counted.
    pub metrics: ApiMetrics,
    /// Whether the database is there.
    pub health: Health,
    /// Cancelled once the database's schema is up to date.
    pub schema_ready: CancellationToken,
    /// Longest time that a request may take.
    pub request_timeout: Duration,
}

/// The envelope of every success: `{"success":true, "data":…}`.
#[derive(Serialize)]
pub(crate) struct Success<T> {
    success: bool,
    data: T,
}

impl<T> Success<T> {
    /// Wraps the data.
    pub(crate) fn new(data: T) -> Self {
        Self { success: true, data }
    }
}

/// Whether a request has begun with something that must not be done twice: if it is broken off then, nobody knows
/// whether it was done.
#[derive(Clone, Default)]
pub(crate) struct Once(Arc<AtomicBool>);

impl Once {
    /// From now on.
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
