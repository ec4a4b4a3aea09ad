//! Who may use the operators' console, and what it shows.

use reqwest::header::{COOKIE, ORIGIN};
use serde_json::json;
use tests::console::Console;
use tests::databases::Kind;
use tests::eventually;
use tests::report::Report;
use tests::stack::TestStack;

use super::{AUTHOR, BLOCKED, CHURCH, DELIVERED, SILENT};

const UNCONFIRMED: &str = "+12025550105";

/// Every path that gives data.
const DATA: [&str; 15] = [
    "/api/about",
    "/api/now",
    "/api/messages?church=grace",
    "/api/messages/stuck",
    "/api/messages/failed",
    "/api/messages/search?text=x",
    "/api/messages/x",
    "/api/webhooks",
    "/api/webhooks/search?text=x",
    "/api/webhooks/x",
    "/api/churches",
    "/api/churches/grace/events",
    "/api/churches/grace/tail",
    "/api/work",
    "/api/actions",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_console_gives_nothing_without_its_cookie_and_its_token_opens_it_once() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let console = stack.console(&[]).await;
    for path in DATA {
        assert_eq!(console.reading(path).send().await.unwrap().status(), 401, "{path}");
    }
    for path in ["/api/preview", "/api/changes", "/api/audit", "/api/work/1/stop"] {
        assert_eq!(console.posting(path, &json!({})).send().await.unwrap().status(), 401, "{path}");
    }
    assert_eq!(console.exchange("guess").await.status(), 403);
    let console = console.enter().await;
    assert_eq!(console.exchange(&console.token).await.status(), 403);
    assert_eq!(console.report("/api/about").await["operator"], "operator:anna");
    let page = console.reading("/").send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    for (path, status) in [("/", 200), ("/app.js", 200), ("/htm-preact.js", 200), ("/nothing.js", 404)] {
        let answer = console.reading(path).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-content-type-options"]),
            (status, &"nosniff".parse().unwrap())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_name_or_origin_is_refused_even_with_the_cookie() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let console = stack.console(&["--allow-changes", "--action-log", "/dev/null"]).await.enter().await;
    for path in DATA.into_iter().chain(["/", "/app.js"]) {
        let named = Console::named(console.reading(path), "church.example:80");
        assert_eq!(named.send().await.unwrap().status(), 403, "{path}");
        let foreign = console.reading(path).header(ORIGIN, "http://evil.example");
        assert_eq!(foreign.send().await.unwrap().status(), 403, "{path}");
    }
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let pause = json!({ "change": "pause", "church": null });
    for origin in [None, Some("null"), Some("http://127.0.0.1:3000"), Some("http://evil.example")] {
        let mut request =
            http.post(format!("{}/api/changes", console.origin)).header(COOKIE, &console.cookie);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        assert_eq!(request.json(&pause).send().await.unwrap().status(), 403, "{origin:?}");
    }
    // A form of another page can send no JSON.
    let form = http.post(format!("{}/api/changes", console.origin)).header(COOKIE, &console.cookie);
    let form =
        form.header(ORIGIN, &console.origin).header("content-type", "text/plain").body(pause.to_string());
    assert_eq!(form.send().await.unwrap().status(), 415);
    assert!(stack.store().pauses().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_view_shows_what_its_command_reports_and_masks_numbers_until_they_are_asked_for() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let _client = stack.client(CHURCH, "watcher").await;
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED, BLOCKED]).await;
    stack.until_status(CHURCH, id, "delivered").await;
    stack.until_announced().await;
    let console = stack.console(&[]).await.enter().await;
    for (path, words) in [
        ("/api/messages/failed", &["failures", "--since", "24h"][..]),
        ("/api/webhooks", &["webhooks", "--since", "7d"]),
        ("/api/churches", &["churches"]),
        ("/api/churches/grace/connected", &["connected", "--church", CHURCH]),
        ("/api/churches/grace/events", &["events", "--church", CHURCH]),
        ("/api/messages/stuck", &["stuck", "--for", "10m"]),
    ] {
        let answer = console.reading(path).header("x-show-numbers", "1").send().await.unwrap();
        let answer: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(answer["command"], format!("ops {}", words.join(" ")));
        let reported = stack.ops(&[words, &["--json"]].concat()).await.json();
        assert_eq!(answer["report"], reported, "{path}");
    }
    let masked = console.report(&format!("/api/messages/{id}")).await;
    assert!(
        !masked.to_string().contains(DELIVERED) && masked.to_string().contains("+•••••••0101"),
        "{masked}"
    );
    let shown =
        console.reading(&format!("/api/messages/{id}")).header("x-show-numbers", "1").send().await.unwrap();
    assert!(shown.text().await.unwrap().contains(DELIVERED));
    let found = console.report(&format!("/api/messages/search?text=%2B{}", &DELIVERED[1..])).await;
    assert_eq!(found["messages"][0]["messageId"], id.to_string());
    assert_eq!(found["says"], "1 message to +•••••••0101");
    let webhook = console.report("/api/webhooks").await[0]["eventId"].as_str().unwrap().to_owned();
    let webhook = console.report(&format!("/api/webhooks/{webhook}")).await;
    assert!(webhook["body"].as_str().unwrap().contains("•"), "{webhook}");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_found_by_their_event_and_by_each_id_of_their_message() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED, UNCONFIRMED]).await;
    stack.until_status(CHURCH, id, "delivered").await;
    let console = stack.console(&[]).await.enter().await;
    let search = async |text: &str| console.report(&format!("/api/webhooks/search?text={text}")).await;
    let life = console.report(&format!("/api/messages/{id}")).await;
    let all = search(&id.to_string()).await;
    let count = all["webhooks"].as_array().unwrap().len();
    assert_eq!(all["says"], format!("{count} webhooks of message {id}"));
    let recipient = &life["recipients"][0];
    for key in ["id", "telnyxId"] {
        let of_one = search(recipient[key].as_str().unwrap()).await;
        let of_one = of_one["webhooks"].as_array().unwrap();
        assert!(!of_one.is_empty() && of_one.len() < count, "{of_one:?}");
        assert!(of_one.iter().all(|webhook| webhook["recipientId"] == recipient["id"]), "{of_one:?}");
    }
    let event = all["webhooks"][0]["eventId"].as_str().unwrap();
    let found = search(event).await;
    assert_eq!((&found["webhooks"][0]["eventId"], found["webhooks"][1].is_null()), (&event.into(), true));

    let mut entry = stack.until_accepted(1).await.remove(0);
    entry.id = uuid::Uuid::now_v7();
    entry.request["webhook_url"] = "https://elsewhere.example.org/".into();
    assert_eq!(stack.report(&Report::of(&entry, "sent")).await.status(), 200);
    let parked = search(&entry.id.to_string()).await;
    assert_eq!(parked["says"], "1 parked webhook of a message that is not known");
    let nothing = search("nothing-like-this").await;
    assert!(nothing["says"].as_str().unwrap().starts_with("nothing with this id"), "{nothing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_without_a_receipt_has_a_reason() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let id = stack.send(CHURCH, AUTHOR, &[UNCONFIRMED]).await;
    stack.until_status(CHURCH, id, "sent").await;
    let console = stack.console(&[]).await.enter().await;
    let life = console.report(&format!("/api/messages/{id}")).await;
    let reason = life["recipients"][0]["failureReason"].as_str().unwrap();
    assert!(reason.contains("does not confirm"), "{life}");
    let said = stack.ops(&["message", &id.to_string()]).await;
    assert!(said.out.contains(reason), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_view_counts_what_the_services_do_and_names_what_is_away() {
    let mut stack = TestStack::start(Kind::Sqlite).await;
    let console = stack.console(&[]).await.enter().await;
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    let now = eventually("webhooks were counted", async || {
        let more = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
        stack.until_status(CHURCH, more, "delivered").await;
        let now = console.report("/api/now").await;
        let series = now["series"]["webhooks"].as_array()?.clone();
        let percentile = now["series"]["answerSeconds"].as_array()?.last()?.as_f64();
        let counted = series.iter().any(|rate| rate.as_f64() > Some(0.0));
        (counted && percentile > Some(0.0)).then_some(now)
    })
    .await;
    let processes = now["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 3);
    for process in processes {
        assert!(process["version"].is_string() && process["startedAt"].is_string(), "{process}");
    }
    stack.stack.stop_broker().await.unwrap();
    eventually("the broker's absence is told", async || {
        let now = console.report("/api/now").await;
        let degraded = now["processes"].as_array()?.iter().filter(|process| process["state"] != "ready");
        (degraded.count() == 3).then_some(())
    })
    .await;
    let away = console.reading("/api/churches/grace/events").send().await.unwrap();
    assert_eq!(away.status(), 503);
    assert!(away.text().await.unwrap().contains("can't connect to the broker"));
    // What needs no broker is still shown.
    console.report("/api/messages/failed").await;
    let life = console.report(&format!("/api/messages/{id}")).await;
    assert!(life["notes"][0].as_str().unwrap().contains("the stream was not searched"), "{life}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_list_what_waits_what_came_and_which_churches_there_are() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let id = stack.send(CHURCH, AUTHOR, &[SILENT]).await;
    let entries = stack.until_accepted(1).await;
    assert_eq!(stack.ops(&["stuck"]).await.code, 0);
    let stuck = eventually("the text without a receipt is listed", async || {
        let said = stack.ops(&["stuck", "--for", "0s", "--json"]).await;
        (said.json()[0]["waiting"] == "unreported").then_some(said)
    })
    .await;
    assert_eq!((stuck.code, &stuck.json()[0]["messageId"]), (1, &id.to_string().into()));
    let others = stack.ops(&["stuck", "--for", "0s", "--waiting", "unsent"]).await;
    assert!(others.code == 0 && others.out.contains("no message is stuck"), "{others:?}");
    let report = Report::of(&entries[0], "sent");
    for _ in 0..2 {
        eventually("the webhook is taken", async || {
            stack.report(&report).await.status().is_success().then_some(())
        })
        .await;
    }
    let twice = stack.ops(&["webhooks", "--outcome", "duplicate", "--json"]).await.json();
    assert_eq!(twice[0]["eventId"], report.event_id.to_string());
    assert!(twice[0]["deliveries"].as_i64() >= Some(2), "{twice}");
    let churches = stack.ops(&["churches", "--json"]).await.json();
    assert_eq!(churches[0]["churchId"], CHURCH);
    stack.until_announced().await;
    let events = stack.ops(&["events", "--church", CHURCH, "--limit", "1", "--json"]).await.json();
    assert_eq!(events[0]["event"]["id"], stack.stored(CHURCH).await.last().unwrap().id.to_string());
}

/// Many more messages than a page of any view; the browser's test fills its database with them, too.
const MANY: &str = include_str!("../../src/load/many_messages.sql");

#[tokio::test(flavor = "multi_thread")]
async fn each_view_answers_with_a_hundred_thousand_messages() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let console = stack.console(&[]).await.enter().await;
    stack.ops(&["pause", "sending"]).await;
    for statement in MANY.split(';') {
        tests::databases::execute(&stack.stack.file().database, statement).await;
    }
    let newest = "01900000-0000-7000-8000-000000000001";
    for path in [
        "/api/messages/stuck",
        "/api/messages/stuck?waiting=unanswered",
        "/api/messages/failed",
        "/api/messages?church=crowd",
        "/api/messages/search?text=%2B12025550000",
        &format!("/api/messages/{newest}"),
        "/api/webhooks?outcome=ignored",
        "/api/webhooks?outcome=stale",
        "/api/webhooks?outcome=duplicate",
        "/api/churches",
        "/api/churches/crowd/facts",
    ] {
        let report = console.report(path).await;
        assert!(report.to_string().len() < 200_000, "{path}");
    }
    let page = console.report("/api/messages?church=crowd").await;
    let last = page[49]["messageId"].as_str().unwrap();
    let next = console.report(&format!("/api/messages?church=crowd&before={last}")).await;
    assert_eq!((page[0]["messageId"].clone(), next.as_array().unwrap().len()), (newest.into(), 50));
    assert!(next[0]["messageId"].as_str().unwrap() > last);
    eventually("what waits is counted", async || {
        let now = console.report("/api/now").await;
        (now["series"]["due"].as_array()?.last()? == 10_000.0).then_some(())
    })
    .await;
}
