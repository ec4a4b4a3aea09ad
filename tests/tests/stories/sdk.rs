//! Telnyx's own SDK takes the simulator for Telnyx: its answers, its errors and its signed webhooks.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use deploy::simulator::{Answer, Pace, Rule, Settings, Simulator};
use deploy::tools;
use deploy::watch::Seen;
use serde_json::{Value, json};
use tests::client::Client;
use tests::frontend::Code;
use tokio::net::TcpListener;
use tokio::process::Command;

const KEY: &str = "KEY-of-the-test";

/// The requests that the simulator refuses: the SDK's error, the status and Telnyx's code.
const REFUSALS: [(&str, &str, u16, &str); 5] = [
    ("stop", "ConflictError", 409, "40300"),
    ("number", "BadRequestError", 400, "40310"),
    ("unknown", "NotFoundError", 404, "10005"),
    ("key", "AuthenticationError", 401, "10009"),
    ("throttled", "RateLimitError", 429, "10011"),
];

async fn simulator() -> Simulator {
    let pace =
        Pace { sent: Duration::from_millis(20), finalized: Duration::from_millis(20), ..Pace::default() };
    let settings = Settings { api_key: KEY.into(), seed: STANDARD.encode([9; 32]), pace, book: None };
    Simulator::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), settings).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn telnyxs_sdk_takes_the_simulators_answers_errors_and_webhooks() {
    let (simulator, code) = (simulator().await, Code::unpacked().await);
    let answer = Answer::Throttle { retry_after: 1 };
    simulator.add_rule(Rule { phone: "0107".into(), answer, times: Some(2), ..Rule::default() });
    let mut program = code.program("telnyx.js", &[]);
    program.env("TELNYX_BASE_URL", format!("{}/v2", simulator.url()));
    program.env("TELNYX_API_KEY", KEY).env("TELNYX_PUBLIC_KEY", simulator.signer().public_key());
    let mut sdk = Client::run(program);

    let sent = sdk.until("sent").await.data;
    let retrieved = sdk.until("retrieved").await.data;
    assert_eq!(
        (&sent["data"]["to"][0]["status"], &sent["data"]["id"]),
        (&json!("queued"), &retrieved["data"]["id"])
    );
    for (what, name, status, code) in REFUSALS {
        let refused = sdk.until("refused").await.data;
        let told = (&refused["what"], &refused["name"], &refused["status"], &refused["errors"][0]["code"]);
        assert_eq!(told, (&json!(what), &json!(name), &json!(status), &json!(code)), "{refused}");
    }
    let patient = sdk.until("patient").await.data;
    let mut webhooks: Vec<_> = sdk.seen().iter().filter(|seen| seen.event == "webhook").cloned().collect();
    while webhooks.len() < 2 {
        webhooks.push(sdk.until("webhook").await);
    }
    let mut told: Vec<_> =
        webhooks.iter().map(|seen| seen.data["data"]["event_type"].as_str().unwrap()).collect();
    told.sort_unstable();
    assert_eq!(told, ["message.finalized", "message.sent"]);
    assert!(sdk.seen().iter().all(|seen| seen.event != "unverified"));
    assert_eq!(simulator.totals(), (6, 2));
    assert_fit(&code, &[("Send", &sent), ("Send", &patient), ("Retrieve", &retrieved)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telnyxs_python_sdk_takes_the_simulators_answers_errors_and_webhooks() {
    let simulator = simulator().await;
    let answer = Answer::Throttle { retry_after: 1 };
    simulator.add_rule(Rule { phone: "0107".into(), answer, times: Some(2), ..Rule::default() });
    let packages = tokio::task::spawn_blocking(|| tools::python_packages("telnyx")).await.unwrap().unwrap();
    let mut program = Command::new("python3");
    program.arg(tools::project().join("tests/python/telnyx_sdk.py")).env("PYTHONPATH", packages);
    program.env("TELNYX_BASE_URL", format!("{}/v2", simulator.url()));
    program.env("TELNYX_API_KEY", KEY).env("TELNYX_PUBLIC_KEY", simulator.signer().public_key());
    let mut sdk = Client::run(program);

    let sent = sdk.until("sent").await.data;
    let retrieved = sdk.until("retrieved").await.data;
    assert_eq!(
        (&sent["data"]["to"][0]["status"], &sent["data"]["id"]),
        (&json!("queued"), &retrieved["data"]["id"])
    );
    for (what, name, status, code) in REFUSALS {
        let refused = sdk.until("refused").await.data;
        assert_eq!(refused, json!({ "what": what, "name": name, "status": status, "code": code }));
    }
    assert!(sdk.until("patient").await.data["data"]["id"].is_string());
    let is_of = |seen: &Seen, kind: &str| seen.event == "webhook" && seen.data["event_type"] == kind;
    for kind in ["message.sent", "message.finalized"] {
        let is_seen = sdk.seen().iter().any(|seen| is_of(seen, kind));
        if !is_seen {
            sdk.until_one(|seen| is_of(seen, kind)).await;
        }
    }
    assert!(sdk.seen().iter().all(|seen| seen.event != "unverified"), "{:#?}", sdk.seen());
    assert_eq!(simulator.totals(), (6, 2));
}

/// The types of the SDK take these answers, and take no others.
async fn assert_fit(code: &Code, answers: &[(&str, &Value)]) {
    let mut file = "import type { Telnyx } from \"telnyx\"\nexport const answers = [\n".to_owned();
    for (method, answer) in answers {
        let mut wrong = (*answer).clone();
        wrong["data"]["id"] = json!(7);
        file += &format!("{answer} satisfies Telnyx.Message{method}Response,\n");
        file += &format!("// @ts-expect-error\n{wrong} satisfies Telnyx.Message{method}Response,\n");
    }
    code.write("answers.ts", &format!("{file}]\n"));
    assert_eq!(code.complaints().await, "");
}
