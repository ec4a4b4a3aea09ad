//! Telnyx: one POST for one recipient, never repeated here, and what the answer means; and the question what became
//! of a message.

use std::time::Duration;

use axum::http::HeaderValue;
use common::config::ConfigError;
use common::store::Attempt;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use reqwest::{RequestBuilder, Response, Url, header, redirect, retry};
use secrecy::ExposeSecret;
use serde::Serialize;
use time::OffsetDateTime;

use super::answer::{Verdict, classify};
use super::classes::class_of;
use super::retry_reason::RetryReason;
use crate::metrics::AnswerLabels;
use crate::settings::TelnyxOptions;

/// Longest answer that is read. A longer one counts as unreadable.
const MAX_ANSWER_LEN: usize = 256 * 1024;
/// How long an idle connection is reused. Short, because a server that closes it at the same moment leaves it open
/// whether it took the request.
const IDLE_CONNECTION: Duration = Duration::from_secs(15);

/// A client of Telnyx's messages API.
#[derive(Clone)]
pub(crate) struct Telnyx {
    pub(super) http: reqwest::Client,
    pub(super) endpoint: Url,
    webhook_prefix: String,
    webhook_failover_prefix: Option<String>,
    answers: Family<AnswerLabels, Counter>,
}

#[derive(Serialize)]
struct NewMessage<'a> {
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messaging_profile_id: Option<&'a str>,
    text: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    media_urls: &'a [String],
    webhook_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_failover_url: Option<String>,
    /// False: webhooks go to the addresses above only, not to the profile's own.
    use_profile_webhooks: bool,
}

impl Telnyx {
    /// Builds the client; it connects later, and counts answers by their class.
    ///
    /// # Errors
    /// A setting is wrong; the error names its variable.
    pub(crate) fn new(
        options: &TelnyxOptions,
        timeout: Duration,
        answers: Family<AnswerLabels, Counter>,
    ) -> Result<Self, ConfigError> {
        let endpoint = options.endpoint()?;
        let http = client_for(&endpoint)
            .default_headers(header::HeaderMap::from_iter([(header::AUTHORIZATION, bearer(options)?)]))
            .user_agent(concat!("message-api/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .connect_timeout(timeout / 3)
            .pool_idle_timeout(IDLE_CONNECTION)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .build()
            .map_err(|error| ConfigError::new("TELNYX_BASE_URL", error.to_string()))?;
        Ok(Self {
            http,
            endpoint,
            webhook_prefix: options.webhook_prefix()?,
            webhook_failover_prefix: options.webhook_failover_prefix()?,
            answers,
        })
    }

    /// Posts the message to one recipient, once, within the configured timeout.
    pub(crate) async fn send(&self, attempt: &Attempt) -> Verdict {
        let failover = self.webhook_failover_prefix.as_deref();
        let message = NewMessage {
            to: &attempt.phone,
            from: attempt.from_number.as_deref(),
            messaging_profile_id: attempt.messaging_profile_id.as_deref(),
            text: &attempt.content,
            media_urls: &attempt.media_urls,
            webhook_url: format!("{}{}", self.webhook_prefix, attempt.recipient_id),
            webhook_failover_url: failover.map(|prefix| format!("{prefix}{}", attempt.recipient_id)),
            use_profile_webhooks: false,
        };
        let posted = self.http.post(self.endpoint.clone()).json(&message);
        let response = match self.answer("send", posted).await {
            Ok(response) => response,
            // Name, connection or TLS: it failed before any byte of the request was sent.
            Err(error) if error.is_connect() => {
                return Verdict::NotAccepted { reason: RetryReason::Unreachable, retry_after: None };
            }
            Err(error) if error.is_timeout() => return Verdict::Unresolved("no answer in time"),
            Err(_) => return Verdict::Unresolved("the connection was lost before the answer"),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        match read(response).await {
            Some(body) => classify(status, &headers, &body, OffsetDateTime::now_utc()),
            None => Verdict::Unresolved("the answer could not be read"),
        }
    }

    /// Sends a request and counts how it is answered.
    pub(super) async fn answer(
        &self,
        request: &'static str,
        prepared: RequestBuilder,
    ) -> reqwest::Result<Response> {
        let answer = prepared.send().await;
        self.answers.get_or_create(&AnswerLabels { request, class: class_of(&answer) }).inc();
        answer
    }
}

/// Uses the environment's proxy, except for a simulator on this machine.
fn client_for(endpoint: &Url) -> reqwest::ClientBuilder {
    let host = endpoint.host_str().unwrap_or_default();
    let is_loopback_host = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    let client = reqwest::Client::builder();
    if is_loopback_host { client.no_proxy() } else { client }
}

fn bearer(options: &TelnyxOptions) -> Result<HeaderValue, ConfigError> {
    let key = options.telnyx_api_key.expose_secret().trim();
    let value = HeaderValue::from_str(&format!("Bearer {key}")).ok().filter(|_| !key.is_empty());
    let mut value = value.ok_or_else(|| ConfigError::new("TELNYX_API_KEY", "is empty or not a key"))?;
    value.set_sensitive(true);
    Ok(value)
}

pub(super) async fn read(mut response: Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > MAX_ANSWER_LEN {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}
