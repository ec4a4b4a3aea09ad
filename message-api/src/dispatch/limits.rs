//! Rates and time limits for the store's claims.

use common::store::SendLimits;

use crate::settings::SendOptions;

/// The limits that all processes share.
pub(crate) fn limits(options: &SendOptions) -> SendLimits {
    SendLimits { rate: Some(options.send_rate), within: Some(options.send_within) }
}
