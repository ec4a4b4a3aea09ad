//! The member directory: the product's own back end, which is asked at `RECIPIENTS_URL` who belongs to a target.

mod page;
mod readiness;
mod recipients;
mod target;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::claims::Claims;
use common::config::ConfigError;
use common::service::{Health, Weight};
use common::throttle::Throttle;
use common::trace_context::{TRACEPARENT, TraceParent};
use reqwest::{StatusCode, Url};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use self::page::{Page, Question};
use self::readiness::Reporter;
use self::recipients::Collected;
pub(crate) use self::recipients::Found;
pub(crate) use self::target::{MAX_RECIPIENTS, NoRecipients, TARGET_TYPES, Target};
use crate::back_end::client;
use crate::metrics::ApiMetrics;
use crate::phone::Country;
use crate::settings::BackEndOptions;

/// Longest page.
const MAX_PAGE: usize = 1 << 20;
/// Most pages of one answer.
const MAX_PAGES: usize = 1_000;

static REPEATS: Throttle = Throttle::once_a_minute();

/// A client of the back end's endpoint for recipients.
#[derive(Clone)]
pub(crate) struct Directory {
    http: reqwest::Client,
    url: Url,
    time_limit: Duration,
    country: Option<Country>,
    reporter: Arc<Reporter>,
}

impl Directory {
    /// A client of `RECIPIENTS_URL`, if that is set; it connects later. The limit is for all pages together. Then it
    /// registers the readiness condition `recipients`.
    ///
    /// # Errors
    /// A setting is wrong; the error names its variable.
    pub(crate) fn new(
        options: &BackEndOptions,
        time_limit: Duration,
        country: Option<Country>,
        (health, metrics): (&Health, &ApiMetrics),
    ) -> Result<Option<Self>, ConfigError> {
        let Some(url) = options.recipients_url()? else { return Ok(None) };
        let http = client(options, ("RECIPIENTS_URL", &url), time_limit)?;
        let reporter = Reporter::new(health.condition("recipients", Weight::Degrading), metrics);
        Ok(Some(Self { http, url, time_limit, country, reporter: Arc::new(reporter) }))
    }

    /// Keeps the readiness up to date until shutdown.
    pub(crate) fn keep_ready(&self, shutdown: CancellationToken) -> impl Future<Output = ()> + use<> {
        let reporter = self.reporter.clone();
        async move { reporter.watch(shutdown).await }
    }

    /// Asks who belongs to a target, page by page, for a request of a trace. Each number comes once.
    ///
    /// # Errors
    /// Nobody belongs to it, or the back end does not say.
    pub(crate) async fn recipients(
        &self,
        caller: &Claims,
        target: &Target,
        trace: Option<&TraceParent>,
    ) -> Result<Found, NoRecipients> {
        let asked = Instant::now();
        let asking = tokio::time::timeout(self.time_limit, self.ask(caller, target, trace)).await;
        let found = asking.unwrap_or(Err(NoRecipients::Slow));
        self.reporter.note(&found, asked.elapsed());
        if let Err(problem @ (NoRecipients::Slow | NoRecipients::Wrong(_))) = &found
            && let Some(held_back) = REPEATS.opens("recipients")
        {
            warn!(error = problem as &dyn std::error::Error, held_back, "RECIPIENTS_URL gave no recipients");
        }
        found
    }

    async fn ask(
        &self,
        caller: &Claims,
        target: &Target,
        trace: Option<&TraceParent>,
    ) -> Result<Found, NoRecipients> {
        let mut collected = Collected::new(self.country);
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let page = self.page(&Question::new(caller, target, cursor.as_deref()), trace).await?;
            if let Some(unknown) = page.unknown.filter(|unknown| !unknown.is_empty()) {
                return Err(NoRecipients::Unknown(unknown));
            }
            // Ten thousand numbers take a while to read.
            let adding = tokio::task::spawn_blocking(move || collected.with(page.recipients));
            collected = adding.await.map_err(|_| NoRecipients::Wrong("its answer can't be read"))??;
            match page.next {
                None => return collected.finish(),
                next if next == cursor => return Err(NoRecipients::Wrong("its page leads to itself")),
                next => cursor = next,
            }
        }
        Err(NoRecipients::Wrong("it does not come to an end of its pages"))
    }

    async fn page(&self, question: &Question<'_>, trace: Option<&TraceParent>) -> Result<Page, NoRecipients> {
        let mut request = self.http.post(self.url.clone()).json(question);
        if let Some(trace) = trace {
            request = request.header(TRACEPARENT, trace.as_str());
        }
        let mut answer = request.send().await.map_err(lost)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(NoRecipients::Unknown(Vec::new())),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                if let Some(held_back) = REPEATS.opens("secret") {
                    error!(
                        held_back,
                        "the back end refuses RECIPIENTS_SECRET; set the same secret on both sides"
                    );
                }
                return Err(NoRecipients::Wrong("it refuses RECIPIENTS_SECRET"));
            }
            status if status.is_redirection() => return Err(NoRecipients::Wrong("it redirects")),
            _ => return Err(NoRecipients::Wrong("it answers with an error")),
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > MAX_PAGE {
                return Err(NoRecipients::Wrong("its page is larger than 1 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body)
            .map_err(|_| NoRecipients::Wrong("its answer is not the JSON of the contract"))
    }
}

fn lost(error: reqwest::Error) -> NoRecipients {
    match error {
        error if error.is_timeout() => NoRecipients::Slow,
        error if error.is_connect() => NoRecipients::Wrong("it can't be reached"),
        _ => NoRecipients::Wrong("the connection was lost before the answer"),
    }
}
