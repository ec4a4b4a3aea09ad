//! What the page is about.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// A gateway is killed. It is started again at once.
    KillGateway,
    /// The broker is stopped, and started again after a few seconds.
    StopBroker,
}

/// A fault that somebody asks for, and who waits until it has happened.
pub type Request = (Fault, oneshot::Sender<anyhow::Result<()>>);

/// The stack that the page shows.
#[derive(Clone)]
pub struct Site(Arc<Parts>);

/// The stack's addresses and secrets that the page needs.
pub struct Parts {
    /// The secret of the printed address. On this machine it works the buttons.
    pub secret: String,
    /// The secret of the address for other devices. It only shows the page.
    pub view_secret: String,
    /// message-api's base URL.
    pub api: String,
    /// The gateway that the page's browsers use.
    pub gateway: String,
    /// The simulated Telnyx.
    pub telnyx: String,
    /// Signs tokens.
    pub jwt_secret: String,
    /// `NATS_URL`.
    pub nats_url: String,
    /// The password of the user `ops`.
    pub nats_password: String,
    /// The folder of the packages that npm has fetched.
    pub fetched: PathBuf,
    /// For requests to the simulated Telnyx.
    pub http: reqwest::Client,
    /// Kills and stops processes.
    pub faults: mpsc::Sender<Request>,
}

impl std::ops::Deref for Site {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Site {
    /// A site of these parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The addresses of message-api and the gateway, as a browser reaches them that reached this page by a name.
    pub(super) fn addresses(&self, name: &str) -> (String, String) {
        let by_name = |url: &String| match url.rsplit_once(':') {
            Some((_, port)) => format!("http://{name}:{port}"),
            None => url.clone(),
        };
        (by_name(&self.api), by_name(&self.gateway))
    }

    /// Where its pages may connect to.
    pub(super) fn connects(&self, name: &str) -> Vec<String> {
        let (api, gateway) = self.addresses(name);
        let websocket = gateway.replacen("http", "ws", 1);
        vec![api, gateway, websocket]
    }
}
