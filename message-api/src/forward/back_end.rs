//! One request to the back end: one text.

use std::time::Duration;

use common::config::ConfigError;
use common::event::timestamp;
use common::inbound::OptOut;
use common::store::Inbound;
use common::subject::ChurchId;
use reqwest::Url;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::back_end::client;
use crate::settings::BackEndOptions;

/// Longest wait for an answer.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The back end's endpoint for texts that came in.
#[derive(Clone)]
pub(crate) struct BackEnd {
    http: reqwest::Client,
    url: Url,
}

/// Why the back end did not take a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untold {
    /// It answered something else than 2xx.
    #[error("it answers {0}")]
    Refused(u16),
    /// It did not answer.
    #[error("{0}")]
    Unreachable(&'static str),
}

impl Untold {
    /// The label in metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    id: Uuid,
    church_id: &'a ChurchId,
    from: &'a str,
    text: &'a str,
    media_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    opt_out: Option<OptOut>,
    #[serde(with = "timestamp")]
    received_at: OffsetDateTime,
}

impl BackEnd {
    /// A client of `INBOUND_URL`, if that is set; it connects later.
    ///
    /// # Errors
    /// A setting is wrong; the error names its variable.
    pub(crate) fn new(options: &BackEndOptions) -> Result<Option<Self>, ConfigError> {
        let Some(url) = options.inbound_url()? else { return Ok(None) };
        let http = client(options, ("INBOUND_URL", &url), TIME_LIMIT)?;
        Ok(Some(Self { http, url }))
    }

    /// Tells of one text, once.
    ///
    /// # Errors
    /// It was not told, or may not have been.
    pub(super) async fn tell(&self, text: &Inbound) -> Result<(), Untold> {
        let told = Told {
            id: text.id,
            church_id: &text.church_id,
            from: &text.from,
            text: &text.content,
            media_count: text.media_count,
            opt_out: text.opt_out,
            received_at: text.received_at,
        };
        let answer =
            self.http.post(self.url.clone()).json(&told).send().await.map_err(|error| match error {
                error if error.is_connect() => Untold::Unreachable("it can't be reached"),
                error if error.is_timeout() => Untold::Unreachable("it does not answer in time"),
                _ => Untold::Unreachable("the connection was lost before the answer"),
            })?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(Untold::Refused(status.as_u16())) }
    }
}
