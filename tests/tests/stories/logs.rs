//! Logs: a message can be followed through all services, no level shows a secret, and connection failures name their
//! cause.

use std::process::Stdio;
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use deploy::services::{API, FROM, INGEST, binary, gateway};
use deploy::stack::StackOptions;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tests::back_end::{BackEnd, SECRET};
use tests::client::Client;
use tests::databases::Kind;
use tests::eventually;
use tests::stack::TestStack;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{AUTHOR, CHURCH, SILENT, borrowed, phones};

/// Who sends a text to the church.
const MEMBER: &str = "+12025557001";
/// What the back end's directory says of a group's only member that can get a text.
const LISTED: [&str; 4] = ["+12025557003", "member-of-the-choir", "Philippa", "Featherstone"];
/// An entry of the directory without a number that can be read.
const UNREADABLE: &str = "call-her-at-home";
/// Longest wait for a line.
const PATIENCE: Duration = Duration::from_secs(60);
/// The services by process name and by their name in the logs.
const SERVICES: [(&str, &str); 3] =
    [(API, API), (INGEST, INGEST), ("realtime-gateway-1", "realtime-gateway")];

/// Makes the services log JSON at a level.
fn logging(level: &str) -> impl FnOnce(&mut StackOptions) {
    let set =
        |service: &str, name: &str, value: &str| (service.to_owned(), name.to_owned(), value.to_owned());
    let environment = SERVICES
        .iter()
        .flat_map(|(_, service)| [set(service, "LOG", level), set(service, "LOG_FORMAT", "json")])
        .collect();
    move |options| options.environment = environment
}

fn log(stack: &TestStack, process: &str) -> String {
    std::fs::read_to_string(stack.stack.log(process)).unwrap()
}

/// A process's log lines about one message: level, text and status.
fn lines_of(stack: &TestStack, process: &str, message: Uuid) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = log(stack, process);
    // The last line may be incomplete.
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let about = lines.filter(|line| line["fields"]["message.id"] == message.to_string());
    about
        .map(|line| {
            let fields = &line["fields"];
            assert_eq!(fields["church.id"], CHURCH, "{line}");
            (text(&line["level"]), text(&fields["message"]), text(&fields["status"]))
        })
        .collect()
}

fn line(text: &str, status: &str) -> (String, String, String) {
    ("INFO".into(), text.into(), status.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_id_finds_one_log_line_a_step_in_all_three_services() {
    let stack = TestStack::start_with(Kind::Sqlite, logging("info")).await;
    let phones = phones(5);
    let message = stack.send(CHURCH, AUTHOR, &borrowed(&phones)).await;
    stack.until_status(CHURCH, message, "delivered").await;
    stack.until_announced().await;
    let emitted = [line("emitted", "pending"), line("emitted", "delivered")];
    eventually("the gateway logs it", async || {
        (lines_of(&stack, &gateway(1), message) == emitted).then_some(())
    })
    .await;

    let [api, ingest] = [API, INGEST].map(|process| lines_of(&stack, process, message));
    let told = |text: &str| -> Vec<_> {
        api.iter().chain(&ingest).filter(|(_, said, _)| said == text).cloned().collect()
    };
    assert_eq!(api[0], line("recorded a message", ""));
    // Five receipts make one line, the message's.
    assert_eq!(told("recorded a status"), [line("recorded a status", "delivered")]);
    assert!(ingest.contains(&line("recorded a status", "delivered")), "{ingest:?}");
    // The relay may run in either service.
    assert_eq!(told("announced"), [line("announced", ""), line("announced", "")]);
    assert_eq!(api.len() + ingest.len(), 4, "{api:?} {ingest:?}");

    for (process, service) in SERVICES {
        for text in log(&stack, process).lines() {
            let line: Value = serde_json::from_str(text).unwrap();
            assert_eq!(line["service"], service, "{text}");
        }
    }
}

/// A back end's directory. Its second page of the group `broken` is not the JSON of the contract. Returns its URL.
async fn directory() -> String {
    let page = async |Json(question): Json<Value>| {
        let [phone, id, first, last] = LISTED;
        let listed = json!({"phone": phone, "memberId": id, "firstName": first, "lastName": last});
        let is_broken = question["targetIds"][0] == "broken";
        match question["cursor"].as_str() {
            None => Json(json!({"recipients": [listed], "next": "2"})),
            // A reader's error would quote it.
            Some(_) if is_broken => Json(json!({"recipients": [phone]})),
            Some(_) => Json(json!({"recipients": [{"phone": UNREADABLE}]})),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/recipients", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/recipients", post(page))).await });
    url
}

/// Sends to the groups of the directory, one of which can be read.
async fn send_to_groups(stack: &TestStack, token: &str) {
    for (group, status) in [("choir", 201), ("broken", 502)] {
        let body = json!({"content": "Service at ten", "targetType": "groups", "targetIds": [group]});
        let url = format!("{}/api/messages/send", stack.stack.file().api);
        let answer = reqwest::Client::new().post(url).bearer_auth(token).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), status, "{}", answer.text().await.unwrap());
    }
    eventually("both answers of the directory are logged", async || {
        let log = log(stack, API);
        let has = |text| log.lines().any(|line| line.contains(text));
        (has("\"skipped\":1") && has("RECIPIENTS_URL gave no recipients")).then_some(())
    })
    .await;
    stack.until_accepted(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_contains_a_secret_phone_or_text_even_at_trace() {
    let finest = "trace,tungstenite=trace,tokio_tungstenite=trace,engineioxide=trace,async_nats=trace";
    let back_end = BackEnd::start().await;
    let settings = [
        ("INBOUND_URL", back_end.url()),
        ("RECIPIENTS_URL", directory().await),
        ("RECIPIENTS_SECRET", SECRET.into()),
    ];
    let stack = TestStack::start_with(Kind::Sqlite, |options| {
        logging(finest)(options);
        options.environment.extend(settings.map(|(name, value)| (API.into(), name.into(), value)));
    })
    .await;
    let (file, token) = (stack.stack.file(), stack.token(CHURCH, AUTHOR));
    for place in ["auth", "query", "header"] {
        for transports in ["websocket", "polling", "polling,websocket"] {
            let arguments = ["--token-in", place, "--transports", transports];
            let mut client = Client::start(&file.gateways[0], &token, &arguments).await;
            client.until("connected").await;
            client.stop().await;
        }
    }
    let mut client = Client::start(&file.gateways[0], &token, &[]).await;
    client.until("connected").await;
    let message = stack.send(CHURCH, AUTHOR, &[SILENT]).await;
    client.until("message:sent").await;
    stack.receive(MEMBER, FROM, "I shall come").await;
    let text = client.until("message:received").await.data["inboundId"].as_str().unwrap().to_owned();
    back_end.until(1).await;
    eventually("message-api logs it", async || {
        let log = log(&stack, API);
        log.lines().any(|line| line.contains("told the back end") && line.contains(&text)).then_some(())
    })
    .await;

    send_to_groups(&stack, &token).await;

    let signature = token.rsplit_once('.').unwrap().1.to_owned();
    let claims = token.split('.').nth(1).unwrap().to_owned();
    let passwords = file.nats.users.values().cloned();
    let secrets: Vec<String> = passwords
        .chain([signature, claims, file.jwt_secret.clone(), SILENT.into(), "Service at ten".into()])
        .chain([MEMBER, "I shall come", SECRET, UNREADABLE].map(str::to_owned))
        .chain(LISTED.map(str::to_owned))
        .collect();
    for (process, _) in SERVICES {
        let log = log(&stack, process);
        assert!(log.contains("\"level\":\"DEBUG\""), "{process} logs at the requested level");
        for (index, secret) in secrets.iter().enumerate() {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{process} logs secret {index}");
        }
    }
    for id in [message.to_string(), text] {
        assert!(log(&stack, &gateway(1)).contains(&id));
    }
}

/// Runs webhook-ingest with further variables until it logs this text. Returns the line's fields.
async fn trouble(stack: &TestStack, text: &str, more: &[(&str, &str)]) -> Value {
    let file = stack.stack.file();
    let mut command = tokio::process::Command::new(binary(INGEST).unwrap());
    command
        .env_clear()
        .envs([
            ("INGEST_LISTEN", "127.0.0.1:0"),
            ("INGEST_OPS_LISTEN", "127.0.0.1:0"),
            ("LOG_FORMAT", "json"),
        ])
        .envs([("DATABASE_URL", &*file.database), ("TELNYX_PUBLIC_KEY", &file.telnyx_key.public)])
        .envs([
            ("NATS_URL", &*file.nats.url),
            ("NATS_USER", "ingest"),
            ("NATS_PASSWORD", &file.nats.users["ingest"]),
        ])
        .envs(more.iter().copied())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = async {
        loop {
            let line =
                lines.next_line().await.unwrap().unwrap_or_else(|| panic!("it ended without {text:?}"));
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["fields"]["message"].as_str().is_some_and(|message| message.contains(text)) {
                return line["fields"].clone();
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("not told: {text:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_connection_is_logged_with_address_user_and_cause() {
    let stack = TestStack::start(Kind::Postgres).await;
    let file = stack.stack.file();
    let database = file.database.trim_start_matches("postgres://");
    let (credentials, place) = database.split_once('@').unwrap();
    let user = credentials.split_once(':').unwrap().0;
    let server = place.split_once('/').unwrap().0;
    let mut admin = sqlx::PgConnection::connect(&file.database).await.unwrap();
    for statement in ["create role outsider login password 'hidden'", "create database elsewhere"] {
        sqlx::query(statement).execute(&mut admin).await.unwrap();
    }

    for (url, address, user, cause) in [
        (
            format!("postgres://{user}:hidden@127.0.0.1:1/church"),
            "127.0.0.1:1/church".to_owned(),
            user,
            "refused",
        ),
        (
            format!("postgres://{user}:hidden@{place}"),
            place.to_owned(),
            user,
            "password authentication failed",
        ),
        (
            format!("postgres://outsider:hidden@{server}/elsewhere"),
            format!("{server}/elsewhere"),
            "outsider",
            "permission denied for schema public",
        ),
    ] {
        let told = trouble(&stack, "the database can't be used", &[("DATABASE_URL", &url)]).await;
        assert_eq!((&told["address"], &told["user"]), (&address.into(), &user.into()), "{told}");
        assert!(told["cause"].as_str().unwrap().contains(cause), "{told}");
        assert!(!told.to_string().contains("hidden"), "{told}");
    }
    let nats = file.nats.url.trim_start_matches("nats://");
    for (variable, value, address, cause) in [
        ("NATS_PASSWORD", "hidden", nats, "authorization violation"),
        ("NATS_URL", "nats://127.0.0.1:1", "127.0.0.1:1", "refused"),
    ] {
        let told = trouble(&stack, "can't connect to the broker", &[(variable, value)]).await;
        assert_eq!((&told["address"], &told["user"]), (&address.into(), &"ingest".into()), "{told}");
        assert!(told["error"].as_str().unwrap().contains(cause), "{told}");
        assert!(!told.to_string().contains("hidden"), "{told}");
    }
}
