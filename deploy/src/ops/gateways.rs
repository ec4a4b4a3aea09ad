//! What the gateways answer operators.

use std::time::Duration;

use anyhow::Context as _;
use common::event::timestamp;
use common::subject::ChurchId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the gateways answer operators.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Gateways")]
pub(super) struct GatewayOptions {
    /// The gateways' addresses for operators (GATEWAY_OPS_LISTEN), comma separated
    #[arg(
        long,
        env = "GATEWAY_OPS_URLS",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:9082",
        value_name = "URL",
        value_parser = address
    )]
    pub(super) gateway_ops_urls: Vec<String>,
}

/// What one gateway emitted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Emitted {
    /// In the order of the stream.
    pub(super) emissions: Vec<Emission>,
    /// The first sequence that the gateway remembers.
    pub(super) remembered_from: u64,
}

/// One event that a gateway emitted.
#[derive(Debug, Deserialize)]
pub(super) struct Emission {
    /// Its sequence in the stream.
    pub(super) sequence: u64,
    /// Live sockets that got it.
    pub(super) sockets: u32,
    /// When.
    #[serde(with = "timestamp")]
    pub(super) at: OffsetDateTime,
}

/// Who of a church is connected to one gateway.
#[derive(Debug, Deserialize)]
pub(super) struct Connected {
    /// By user.
    pub(super) users: Vec<ConnectedUser>,
}

/// A user with open sockets.
#[derive(Debug, Deserialize)]
pub(super) struct ConnectedUser {
    /// The user, as the token names it.
    pub(super) user: String,
    /// How many.
    pub(super) sockets: u32,
}

/// Reads the address at which a service answers operators.
pub(super) fn address(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let url = reqwest::Url::parse(text).ok().filter(|url| url.has_host());
    if url.is_some_and(|url| ["http", "https"].contains(&url.scheme())) {
        Ok(text.to_owned())
    } else {
        Err("write http://host:port".into())
    }
}

impl GatewayOptions {
    /// Asks each gateway which events of a church it emitted between two sequences. One after the other: there are
    /// few.
    pub(super) async fn emitted(
        &self,
        church: &ChurchId,
        (first, last): (u64, u64),
    ) -> anyhow::Result<Vec<(&str, anyhow::Result<Emitted>)>> {
        self.ask(&format!("/emitted?church={church}&first={first}&last={last}")).await
    }

    /// Asks each gateway who of a church is connected.
    pub(super) async fn connected(
        &self,
        church: &ChurchId,
    ) -> anyhow::Result<Vec<(&str, anyhow::Result<Connected>)>> {
        self.ask(&format!("/connected?church={church}")).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        question: &str,
    ) -> anyhow::Result<Vec<(&str, anyhow::Result<T>)>> {
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let mut answers = Vec::new();
        for url in self.gateway_ops_urls.iter().map(String::as_str) {
            answers.push((url, ask(&http, &format!("{url}{question}")).await));
        }
        Ok(answers)
    }
}

async fn ask<T: DeserializeOwned>(http: &reqwest::Client, question: &str) -> anyhow::Result<T> {
    let answer = http.get(question).send().await.map_err(reqwest::Error::without_url).context("no answer")?;
    let answer = answer.error_for_status().map_err(reqwest::Error::without_url)?;
    answer.json().await.map_err(reqwest::Error::without_url).context("an answer that can't be read")
}
