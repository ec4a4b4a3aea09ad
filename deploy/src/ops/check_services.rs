//! Checks what the services say of their readiness.

use std::time::Duration;

use super::diagnosis::Diagnosis;
use super::gateways::{GatewayOptions, address};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the services answer operators.
#[derive(clap::Args)]
#[command(next_help_heading = "Services")]
pub(super) struct ServiceOptions {
    /// message-api's addresses for operators (API_OPS_LISTEN), comma separated
    #[arg(
        long,
        env = "API_OPS_URLS",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:9080",
        value_name = "URL",
        value_parser = address
    )]
    api_ops_urls: Vec<String>,
    /// webhook-ingest's addresses for operators (INGEST_OPS_LISTEN), comma separated
    #[arg(
        long,
        env = "INGEST_OPS_URLS",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:9081",
        value_name = "URL",
        value_parser = address
    )]
    ingest_ops_urls: Vec<String>,
    #[command(flatten)]
    pub(super) gateways: GatewayOptions,
}

impl ServiceOptions {
    /// Each process: its service, and its address without a slash at its end.
    pub(super) fn all(&self) -> Vec<(&'static str, &str)> {
        let services = [
            ("message-api", &self.api_ops_urls),
            ("webhook-ingest", &self.ingest_ops_urls),
            ("realtime-gateway", &self.gateways.gateway_ops_urls),
        ];
        let mut all = Vec::new();
        for (name, urls) in services {
            all.extend(urls.iter().map(|url| (name, url.trim().trim_end_matches('/'))));
        }
        all
    }
}

/// Asks each of them.
pub(super) async fn check(options: &ServiceOptions, diagnosis: &mut Diagnosis) {
    let Ok(http) = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build() else {
        return diagnosis.skipped("services", "this machine has no HTTP client");
    };
    for (name, url) in options.all() {
        match readiness(&http, url).await {
            Ok(said) if said == "ready" => diagnosis.ok(name, format!("{url}: ready")),
            Ok(said) => {
                let todo = "docs/operations.md says what each condition needs";
                diagnosis.wrong(name, format!("{url}: {}", said.replace('\n', ", ")), todo);
            }
            Err(error) => {
                let says = format!("{url} does not answer: {}", error.without_url());
                diagnosis.wrong(name, says, "start it, or correct the address; its port may be taken");
            }
        }
    }
}

async fn readiness(http: &reqwest::Client, url: &str) -> reqwest::Result<String> {
    let answer = http.get(format!("{url}/readyz")).send().await?;
    Ok(answer.text().await?.trim().to_owned())
}
