//! Checks the account at Telnyx by reading alone, and that webhooks reach webhook-ingest. Nothing is sent.

use std::time::Duration;

use common::config::without_secrets;
use common::store::Sender;
use reqwest::header::{DATE, HeaderMap};
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use time::OffsetDateTime;

use super::diagnosis::Diagnosis;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Telnyx's webhooks are refused if the clocks differ by five minutes.
const SKEW: time::Duration = time::Duration::seconds(60);
/// Most churches whose senders are looked up.
const SENDERS: usize = 20;
/// What webhook-ingest answers a webhook without a signature.
const UNSIGNED: &str = "signature_missing";

/// The account, as message-api has it.
#[derive(clap::Args)]
#[command(next_help_heading = "Telnyx")]
pub(super) struct TelnyxOptions {
    /// API key of the account
    #[arg(long, env = "TELNYX_API_KEY", hide_env_values = true, value_name = "KEY")]
    telnyx_api_key: Option<SecretString>,
    /// Base URL of Telnyx
    #[arg(
        long,
        env = "TELNYX_BASE_URL",
        hide_env_values = true,
        default_value = "https://api.telnyx.com",
        value_name = "URL"
    )]
    telnyx_base_url: String,
    /// Number of churches without a sender of their own
    #[arg(long, env = "TELNYX_FROM", value_name = "NUMBER")]
    telnyx_from: Option<String>,
    /// Messaging profile of that number
    #[arg(long, env = "TELNYX_MESSAGING_PROFILE_ID", value_name = "ID")]
    telnyx_messaging_profile_id: Option<String>,
    /// URL at which Telnyx reaches webhook-ingest
    #[arg(long, env = "PUBLIC_WEBHOOK_URL", hide_env_values = true, value_name = "URL")]
    public_webhook_url: Option<String>,
    /// URL that Telnyx uses when it can't reach the first
    #[arg(long, env = "PUBLIC_WEBHOOK_FAILOVER_URL", hide_env_values = true, value_name = "URL")]
    public_webhook_failover_url: Option<String>,
}

/// Checks the account, and the webhooks' way to us.
pub(super) async fn check(options: &TelnyxOptions, senders: &[Sender], diagnosis: &mut Diagnosis) {
    match &options.telnyx_api_key {
        None => diagnosis.skipped("telnyx", "TELNYX_API_KEY is not set here"),
        Some(key) => match Account::new(options, key) {
            Ok(account) => account.check(options, senders, diagnosis).await,
            Err(problem) => diagnosis.wrong("telnyx", problem, "correct the variable"),
        },
    }
    let urls = [
        ("PUBLIC_WEBHOOK_URL", &options.public_webhook_url),
        ("PUBLIC_WEBHOOK_FAILOVER_URL", &options.public_webhook_failover_url),
    ];
    for (variable, url) in urls {
        match url.as_deref().filter(|url| !url.is_empty()) {
            Some(url) => webhook_url(variable, url, diagnosis).await,
            None if variable == "PUBLIC_WEBHOOK_URL" => {
                diagnosis.skipped("webhook url", format!("{variable} is not set here"));
            }
            None => {}
        }
    }
}

/// The account, which is only read.
struct Account<'a> {
    http: Client,
    base: Url,
    key: &'a SecretString,
}

impl<'a> Account<'a> {
    fn new(options: &TelnyxOptions, key: &'a SecretString) -> Result<Self, String> {
        let base: Url = options.telnyx_base_url.parse().map_err(|_| "TELNYX_BASE_URL is not a URL")?;
        Ok(Self { http: client(&base)?, base, key })
    }

    async fn check(&self, options: &TelnyxOptions, senders: &[Sender], diagnosis: &mut Diagnosis) {
        match self.get("messaging_profiles", &[("page[size]", "1")]).await {
            Ok((StatusCode::OK, headers, _)) => {
                diagnosis.ok("telnyx", "accepts the API key");
                clock(&headers, diagnosis);
            }
            Ok((StatusCode::UNAUTHORIZED, ..)) => {
                return diagnosis.wrong(
                    "telnyx",
                    "refuses the API key",
                    "set TELNYX_API_KEY to a key of the account",
                );
            }
            Ok((status, ..)) => {
                return diagnosis.wrong(
                    "telnyx",
                    format!("answers {status}"),
                    "try again; see Telnyx's status page",
                );
            }
            Err(error) => {
                return diagnosis.wrong("telnyx", error, "check the network and TELNYX_BASE_URL");
            }
        }
        let own = senders.iter().take(SENDERS);
        let own =
            own.map(|sender| (sender.church_id.as_str(), Some(&sender.number), &sender.messaging_profile_id));
        let default =
            ("churches without one", options.telnyx_from.as_ref(), &options.telnyx_messaging_profile_id);
        if options.telnyx_from.is_none() && options.telnyx_messaging_profile_id.is_none() {
            let says = "TELNYX_FROM is not set here: a church without a sender can't send";
            diagnosis.skipped("telnyx sender", says);
        }
        for (whose, number, profile) in own.chain([default]) {
            if let Some(number) = number.filter(|number| !number.is_empty()) {
                self.number(whose, number, diagnosis).await;
            }
            if let Some(profile) = profile.as_deref().filter(|profile| !profile.is_empty()) {
                self.profile(whose, profile, diagnosis).await;
            }
        }
    }

    async fn number(&self, whose: &str, number: &str, diagnosis: &mut Diagnosis) {
        let found = self.get("phone_numbers", &[("filter[phone_number]", number)]).await;
        let status = match &found {
            Ok((StatusCode::OK, _, body)) => body["data"][0]["status"].as_str().unwrap_or("absent"),
            Ok((_, _, _)) | Err(_) => "unknown",
        };
        match status {
            "active" => diagnosis.ok("telnyx number", format!("the number of {whose} is active")),
            "absent" => {
                let says = format!("the account does not have the number of {whose}");
                diagnosis.wrong("telnyx number", says, "correct it by `ops sender`, or in TELNYX_FROM");
            }
            "unknown" => {
                diagnosis.skipped("telnyx number", format!("Telnyx does not show the number of {whose}"))
            }
            other => diagnosis.wrong(
                "telnyx number",
                format!("the number of {whose} is {other}"),
                "see Telnyx's portal",
            ),
        }
    }

    async fn profile(&self, whose: &str, id: &str, diagnosis: &mut Diagnosis) {
        let (status, body) = match self.get(&format!("messaging_profiles/{id}"), &[]).await {
            Ok((status, _, body)) => (status, body),
            Err(error) => {
                return diagnosis.skipped("telnyx profile", format!("the profile of {whose}: {error}"));
            }
        };
        let data = &body["data"];
        let todo = "correct it in Telnyx's portal";
        if status != StatusCode::OK {
            let says = format!("the account does not show the profile of {whose}: {status}");
            diagnosis.wrong(
                "telnyx profile",
                says,
                "correct it by `ops sender`, or in TELNYX_MESSAGING_PROFILE_ID",
            );
        } else if data["enabled"] == Value::Bool(false) {
            diagnosis.wrong("telnyx profile", format!("the profile of {whose} is switched off"), todo);
        } else if data["webhook_api_version"].as_str().is_some_and(|version| version != "2") {
            diagnosis.wrong(
                "telnyx profile",
                format!("the profile of {whose} does not send webhooks of version 2"),
                todo,
            );
        } else {
            diagnosis.ok("telnyx profile", format!("the profile of {whose} is switched on"));
        }
    }

    async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<(StatusCode, HeaderMap, Value), String> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/v2/{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.get(url).bearer_auth(self.key.expose_secret().trim());
        let answer = request.send().await.map_err(words)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok((status, headers, answer.json().await.unwrap_or_default()))
    }
}

/// Compares our clock with Telnyx's.
fn clock(headers: &HeaderMap, diagnosis: &mut Diagnosis) {
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()).map(OffsetDateTime::from)
    else {
        return diagnosis.skipped("telnyx clock", "Telnyx's answer has no date");
    };
    let ahead = OffsetDateTime::now_utc() - theirs;
    if ahead.abs() <= SKEW {
        diagnosis.ok("telnyx clock", "agrees with ours");
    } else {
        let says = format!("ours is {} s ahead; webhooks are refused from 300 s on", ahead.whole_seconds());
        diagnosis.wrong("telnyx clock", says, "set this machine's clock by NTP");
    }
}

/// Posts an unsigned webhook. Our own refusal proves that the way to webhook-ingest is open.
async fn webhook_url(variable: &'static str, url: &str, diagnosis: &mut Diagnosis) {
    let shown = without_secrets(url);
    let Ok(target) = format!("{}/webhooks/telnyx", url.trim_end_matches('/')).parse::<Url>() else {
        return diagnosis.wrong("webhook url", format!("{variable} is not a URL"), "write https://host");
    };
    let answer = match client(&target) {
        Ok(http) => http.post(target).body("{}").send().await.map_err(words),
        Err(problem) => Err(problem),
    };
    let todo = "correct the variable, or the proxy in front of webhook-ingest";
    match answer {
        Err(error) => diagnosis.wrong("webhook url", format!("{shown}: {error}"), todo),
        Ok(answer) => {
            let status = answer.status();
            let body: Value = answer.json().await.unwrap_or_default();
            if status == StatusCode::UNAUTHORIZED && body["code"] == UNSIGNED {
                diagnosis.ok("webhook url", format!("{shown} leads to webhook-ingest"));
            } else {
                let says = format!("{shown} answers {status}, and not as webhook-ingest");
                diagnosis.wrong("webhook url", says, todo);
            }
        }
    }
}

/// Uses the environment's proxy, except for this machine.
fn client(url: &Url) -> Result<Client, String> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_here =
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let client = Client::builder().timeout(PATIENCE);
    let client = if is_here { client.no_proxy() } else { client };
    client.build().map_err(words)
}

/// The error without the URL, which may hold a password.
fn words(error: reqwest::Error) -> String {
    format!("no answer: {:#}", anyhow::Error::new(error.without_url()))
}
