//! The console's command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use common::config::ConfigError;
use webhook_ingest::settings::{DefaultNumber, DefaultNumberOptions};

use crate::ops::broker::BrokerOptions;
use crate::ops::check_services::ServiceOptions;
use crate::ops::database::DatabaseOptions;
use crate::ops::operator::Operator;
use crate::ops::retry::DefaultSender;

/// `ops console`.
#[derive(clap::Args)]
pub(crate) struct Console {
    /// Where the page is served. On another address than loopback, everything crosses the network unencrypted; use
    /// `ssh -L 9085:127.0.0.1:9085 HOST` instead
    #[arg(long, env = "OPS_CONSOLE_LISTEN", default_value = "127.0.0.1:9085", value_name = "ADDRESS")]
    pub(super) listen: SocketAddr,
    /// Let the page change something: retry, cancel, pause, reprocess, replay, revoke, repair
    #[arg(long)]
    pub(super) allow_changes: bool,
    /// File to which each change is appended, with time, operator, command and result; by default
    /// church-live/actions.jsonl in $XDG_STATE_HOME or ~/.local/state
    #[arg(long, env = "OPS_ACTION_LOG", value_name = "FILE")]
    pub(super) action_log: Option<PathBuf>,
    #[command(flatten)]
    pub(super) operator: Operator,
    #[command(flatten)]
    pub(super) database: DatabaseOptions,
    #[command(flatten)]
    pub(super) broker: BrokerOptions,
    #[command(flatten)]
    pub(super) services: ServiceOptions,
    #[command(flatten)]
    pub(super) default_sender: DefaultSender,
    /// The church that gets the texts to TELNYX_FROM, as webhook-ingest has it
    #[arg(long, env = "TELNYX_FROM_CHURCH", value_name = "ID")]
    telnyx_from_church: Option<String>,
}

impl Console {
    /// The number of churches without one of their own, and the church that gets the texts to it.
    ///
    /// # Errors
    /// As [`DefaultNumberOptions::read`].
    pub(super) fn default_number(&self) -> Result<Option<DefaultNumber>, ConfigError> {
        let telnyx_from = self.default_sender.telnyx_from.clone();
        DefaultNumberOptions { telnyx_from, telnyx_from_church: self.telnyx_from_church.clone() }.read()
    }
}
