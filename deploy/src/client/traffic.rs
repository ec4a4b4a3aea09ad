//! Sends messages, and a little traffic to watch.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use uuid::Uuid;

/// Phone numbers for a realistic mix: most are delivered, some read, few blocked or without a receipt.
const PHONES: [&str; 8] = [
    "+12025550101",
    "+12025551101",
    "+12025552101",
    "+12025550104",
    "+12025551104",
    "+12025550102",
    "+12025550105",
    "+12025553101",
];

/// Sends a text and returns the answer's `data`.
///
/// # Errors
/// message-api is away, or refuses.
pub async fn send(
    http: &reqwest::Client,
    api_url: &str,
    token: &str,
    content: &str,
    phones: &[&str],
) -> anyhow::Result<Value> {
    let recipients: Vec<_> = phones.iter().map(|phone| json!({"phone": phone})).collect();
    send_to(http, api_url, token, content, json!({ "recipients": recipients })).await
}

/// Sends a text to whom the fields name: `recipients`, or `targetType` and `targetIds`.
///
/// # Errors
/// message-api does not answer 201.
pub async fn send_to(
    http: &reqwest::Client,
    api_url: &str,
    token: &str,
    content: &str,
    mut body: Value,
) -> anyhow::Result<Value> {
    body["content"] = content.into();
    let request = http
        .post(format!("{api_url}/api/messages/send"))
        .bearer_auth(token)
        .header("Idempotency-Key", Uuid::now_v7().to_string())
        .json(&body);
    let answer = request.send().await.context("message-api does not answer")?;
    let status = answer.status();
    let mut body: Value = answer.json().await.context("message-api's answer is not JSON")?;
    anyhow::ensure!(status == 201, "message-api answers {status}: {body}");
    Ok(body["data"].take())
}

/// Sends a text to a few of the phones every two seconds, until it is dropped. Logs failures and goes on.
pub async fn flow(http: reqwest::Client, api_url: String, token: String) {
    let mut round = 0;
    let mut tick = tokio::time::interval(Duration::from_secs(2));
    loop {
        tick.tick().await;
        let count = 1 + round % 3;
        let phones: Vec<_> = (0..count).map(|n| PHONES[(round + n * 3) % PHONES.len()]).collect();
        if let Err(error) = send(&http, &api_url, &token, "Choir practice is at seven", &phones).await {
            tracing::warn!("can't send traffic: {error:#}");
        }
        round += 1;
    }
}
