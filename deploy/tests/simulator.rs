//! The simulator behaves like Telnyx, as far as the suite uses it.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use deploy::simulator::{Answer, Hold, InboundText, Outcome, Pace, Request, Rule, Settings, Simulator};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(20);

/// Receives webhooks.
#[derive(Clone, Default)]
struct Receiver {
    bodies: Arc<Mutex<Vec<Value>>>,
    refusals_left: Arc<Mutex<u32>>,
    public_key: Arc<Mutex<Vec<u8>>>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut signed = [headers["telnyx-timestamp"].as_bytes(), b"|"].concat();
    signed.extend_from_slice(&body);
    let signature = STANDARD.decode(&headers["telnyx-signature-ed25519"]).unwrap();
    let key = UnparsedPublicKey::new(&ED25519, receiver.public_key.lock().unwrap().clone());
    key.verify(&signed, &signature).unwrap();
    receiver.bodies.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
    let mut left = receiver.refusals_left.lock().unwrap();
    let refused = *left > 0;
    *left = left.saturating_sub(1);
    if refused { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

struct World {
    simulator: Simulator,
    receiver: Receiver,
    webhook_url: String,
    http: reqwest::Client,
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, waiting).await.is_ok(), "not in time: {what}");
}

impl World {
    async fn new() -> Self {
        let any_port = || TcpListener::bind("127.0.0.1:0");
        let millis = Duration::from_millis;
        let pace = Pace {
            sent: millis(1),
            finalized: millis(2),
            read: millis(2),
            back_off: millis(1),
            ..Pace::default()
        };
        let settings = Settings { api_key: "KEY".into(), seed: STANDARD.encode([3; 32]), pace, book: None };
        let simulator = Simulator::start(any_port().await.unwrap(), settings).unwrap();
        let receiver = Receiver::default();
        *receiver.public_key.lock().unwrap() = STANDARD.decode(simulator.signer().public_key()).unwrap();
        let listener = any_port().await.unwrap();
        let webhook_url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { simulator, receiver, webhook_url, http }
    }

    fn message(&self, phone: &str) -> Value {
        json!({"to": phone, "from": "+12025550100", "text": "Hello", "webhook_url": self.webhook_url})
    }

    async fn send(&self, message: &Value) -> reqwest::Result<(u16, Value)> {
        let url = format!("{}/v2/messages", self.simulator.url());
        let answer = self.http.post(url).bearer_auth("KEY").json(message).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    async fn until_held(&self, count: usize) {
        until("the requests are held", || self.simulator.held_requests() == count).await;
    }

    /// Waits for this many webhooks. Returns type and status of each, sorted, because they may overtake each other.
    async fn webhooks(&self, count: usize) -> Vec<(String, String)> {
        until("the webhooks have come", || self.receiver.bodies.lock().unwrap().len() >= count).await;
        let bodies = self.receiver.bodies.lock().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut seen: Vec<_> = bodies
            .iter()
            .map(|body| {
                let data = &body["data"];
                (text(&data["event_type"]), text(&data["payload"]["to"][0]["status"]))
            })
            .collect();
        seen.sort();
        seen
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(kind, status)| ((*kind).to_owned(), (*status).to_owned())).collect()
}

#[tokio::test]
async fn an_accepted_message_gets_signed_webhooks() {
    let world = World::new().await;
    let (status, answer) = world.send(&world.message("+12025550104")).await.unwrap();
    assert_eq!((status, &answer["data"]["to"][0]["status"]), (200, &json!("queued")));
    let expected = [("message.finalized", "delivered"), ("message.read", "read"), ("message.sent", "sent")];
    assert_eq!(world.webhooks(3).await, pairs(&expected));
    let bodies = world.receiver.bodies.lock().unwrap().clone();
    let body = bodies.iter().find(|body| body["data"]["event_type"] == "message.read").unwrap();
    assert_eq!(body["data"]["payload"]["id"], answer["data"]["id"]);
    assert_eq!(body["data"]["payload"]["webhook_url"], world.webhook_url);
    assert_eq!(body["data"]["payload"]["type"], "RCS");
    assert_eq!(body["meta"], json!({"attempt": 1, "delivered_to": world.webhook_url}));
    let url = format!("{}/v2/messages/{}", world.simulator.url(), answer["data"]["id"].as_str().unwrap());
    let asked: Value = world.http.get(url).bearer_auth("KEY").send().await.unwrap().json().await.unwrap();
    assert_eq!(asked["data"]["id"], answer["data"]["id"]);
}

#[tokio::test]
async fn refusals_have_telnyxs_format_and_codes() {
    let world = World::new().await;
    let cases = [
        (world.message("2025550101"), 400, "40310"),
        (world.message("+12025550102"), 409, "40300"),
        (json!({"to": "+12025550101", "text": "x"}), 400, "40305"),
        (json!({"to": "+12025550101", "from": "+12025550100"}), 400, "10004"),
        (json!({"to": "+12025550101", "from": "+1", "text": "a".repeat(1_531)}), 400, "40302"),
    ];
    for (message, status, code) in cases {
        let (answered, error) = world.send(&message).await.unwrap();
        assert_eq!((answered, &error["errors"][0]["code"]), (status, &json!(code)), "{error}");
    }
    let url = format!("{}/v2/messages", world.simulator.url());
    let wrong_key = world.http.post(url).bearer_auth("OTHER").json(&json!({})).send().await.unwrap();
    assert_eq!(wrong_key.status(), 401);
    assert_eq!(world.simulator.totals(), (5, 0));
}

#[tokio::test]
async fn a_refused_webhook_is_sent_three_times_to_each_url() {
    let world = World::new().await;
    *world.receiver.refusals_left.lock().unwrap() = 5;
    world.simulator.add_rule(Rule { outcome: Some(Outcome::Silent), ..Rule::default() });
    let mut message = world.message("+12025550101");
    message["webhook_failover_url"] = json!(format!("{}/failover", world.webhook_url));
    let (_, answer) = world.send(&message).await.unwrap();
    let id = answer["data"]["id"].as_str().unwrap().parse().unwrap();
    assert!(world.simulator.trigger(id, Outcome::Delivered));
    world.webhooks(6).await;
    let bodies = world.receiver.bodies.lock().unwrap().clone();
    let attempts: Vec<_> = bodies.iter().map(|body| body["meta"]["attempt"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [1, 2, 3, 1, 2, 3]);
    assert!(bodies.iter().all(|body| body["data"]["id"] == bodies[0]["data"]["id"]));
}

#[tokio::test]
async fn a_lost_answer_cuts_the_connection_but_sends_the_message() {
    let world = World::new().await;
    world.simulator.add_rule(Rule { times: Some(1), answer: Answer::Lose, ..Rule::default() });
    assert!(world.send(&world.message("+12025550101")).await.is_err());
    world.webhooks(2).await;
    world.simulator.add_rule(Rule { times: Some(1), answer: Answer::Drop, ..Rule::default() });
    assert!(world.send(&world.message("+12025550101")).await.is_err());
    assert_eq!(world.send(&world.message("+12025550101")).await.unwrap().0, 200);
    assert_eq!(world.simulator.totals(), (3, 2));
    let answers: Vec<_> = world.simulator.entries().iter().map(|entry| entry.answer).collect();
    assert_eq!(answers, [None, None, Some(200)]);
}

#[tokio::test]
async fn rules_over_http_throttle_repeat_reorder_and_fail() {
    let world = World::new().await;
    let rules = format!("{}/simulator/rules", world.simulator.url());
    let throttle = json!([
        {"phone": "7", "times": 1, "answer": {"throttle": {"retryAfter": 3}}},
        {"copies": 2, "reorder": true, "outcome": "failed"},
    ]);
    assert_eq!(world.http.put(&rules).json(&throttle).send().await.unwrap().status(), 204);
    let (status, error) = world.send(&world.message("+12025550107")).await.unwrap();
    assert_eq!((status, &error["errors"][0]["code"]), (429, &json!("10011")));
    assert_eq!(world.send(&world.message("+12025550107")).await.unwrap().0, 200);
    let seen = world.webhooks(4).await;
    let (failed, sent) = (("message.finalized", "delivery_failed"), ("message.sent", "sent"));
    assert_eq!(seen, pairs(&[failed, failed, sent, sent]));
    let book = format!("{}/simulator/book?to=0107", world.simulator.url());
    let book: Value = world.http.get(book).send().await.unwrap().json().await.unwrap();
    assert_eq!((&book["asked"], &book["accepted"]), (&json!(2), &json!(1)));
}

#[tokio::test]
async fn held_webhooks_wait_and_a_silenced_message_gets_none() {
    let world = World::new().await;
    world.simulator.hold(true);
    let (_, silenced) = world.send(&world.message("+12025550101")).await.unwrap();
    let (_, held) = world.send(&world.message("+12025550101")).await.unwrap();
    let id = silenced["data"]["id"].as_str().unwrap().parse().unwrap();
    assert!(world.simulator.trigger(id, Outcome::Silent));
    world.simulator.hold(false);
    world.webhooks(2).await;
    let bodies = world.receiver.bodies.lock().unwrap().clone();
    assert!(bodies.iter().all(|body| body["data"]["payload"]["id"] == held["data"]["id"]));
}

#[tokio::test]
async fn held_repetitions_wait_while_first_attempts_are_sent() {
    let world = World::new().await;
    *world.receiver.refusals_left.lock().unwrap() = 1;
    world.simulator.hold_repetitions(true);
    let attempts = || {
        let bodies = world.receiver.bodies.lock().unwrap();
        bodies.iter().map(|body| body["meta"]["attempt"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    world.simulator.add_rule(Rule { outcome: Some(Outcome::Silent), times: Some(1), ..Rule::default() });
    let (_, refused) = world.send(&world.message("+12025550101")).await.unwrap();
    let id = refused["data"]["id"].as_str().unwrap().parse().unwrap();
    assert!(world.simulator.trigger(id, Outcome::Delivered));
    world.webhooks(1).await;
    world.send(&world.message("+12025550101")).await.unwrap();
    world.webhooks(3).await;
    assert_eq!(attempts(), [1, 1, 1]);
    world.simulator.hold_repetitions(false);
    world.webhooks(4).await;
    assert_eq!(attempts(), [1, 1, 1, 2]);
}

#[tokio::test]
async fn a_held_request_waits_at_its_step_and_a_client_that_goes_away_ends_it() {
    for (hold, is_booked) in [(Hold::Unread, false), (Hold::Unanswered, true), (Hold::Halfway, true)] {
        let world = World::new().await;
        world.simulator.add_rule(Rule { hold: Some(hold), ..Rule::default() });
        let message = world.message("+12025550103");
        tokio::select! {
            _ = world.send(&message) => panic!("it is answered at {hold:?}"),
            () = world.until_held(1) => {}
        }
        world.until_held(0).await;
        assert_eq!(world.simulator.totals().1, u64::from(is_booked), "{hold:?}");
        let (answer, ()) = tokio::join!(world.send(&message), async {
            world.until_held(1).await;
            world.simulator.release_requests();
        });
        assert_eq!(answer.unwrap().0, 200, "{hold:?}");
    }
}

#[tokio::test]
async fn a_broken_answer_is_cut_in_its_middle_and_the_message_is_taken() {
    let world = World::new().await;
    world.simulator.add_rule(Rule { times: Some(1), answer: Answer::Break, ..Rule::default() });
    assert!(world.send(&world.message("+12025550103")).await.is_err());
    assert_eq!(world.simulator.totals(), (1, 1));
    assert_eq!(world.simulator.entries()[0].answer, None);
}

#[tokio::test]
async fn a_retrieval_has_rules_of_its_own_and_stands_in_the_book() {
    let world = World::new().await;
    let answer = Answer::ThrottleUntil { seconds: 5 };
    world.simulator.add_rule(Rule { request: Request::Retrieve, answer, times: Some(1), ..Rule::default() });
    let (status, answer) = world.send(&world.message("+12025550103")).await.unwrap();
    assert_eq!(status, 200);
    let url = format!("{}/v2/messages/{}", world.simulator.url(), answer["data"]["id"].as_str().unwrap());
    let retrieve = async || world.http.get(&url).bearer_auth("KEY").send().await.unwrap();
    let throttled = retrieve().await;
    assert_eq!(throttled.status(), 429);
    assert!(throttled.headers()["retry-after"].to_str().unwrap().ends_with(" GMT"));
    assert_eq!(retrieve().await.status(), 200);
    let entries = world.simulator.entries();
    assert_eq!(entries[0].retrievals.iter().map(|it| it.answer).collect::<Vec<_>>(), [429, 200]);
}

fn text(world: &World, words: &str) -> InboundText {
    InboundText {
        from: "+12025557001".into(),
        to: "+12025550100".into(),
        text: words.into(),
        media: vec!["https://example.org/1.jpg".into()],
        webhook_url: world.webhook_url.clone(),
        copies: 2,
    }
}

#[tokio::test]
async fn a_text_is_a_signed_webhook_that_is_repeated_until_it_is_taken() {
    let world = World::new().await;
    *world.receiver.refusals_left.lock().unwrap() = 1;
    let delivery = world.simulator.receive(text(&world, "Thank you")).await;
    assert_eq!(delivery.answers, [Some(200); 2]);
    let bodies = world.receiver.bodies.lock().unwrap().clone();
    assert_eq!(bodies.len(), 3, "two copies, and one of them twice");
    for body in &bodies {
        let (data, payload) = (&body["data"], &body["data"]["payload"]);
        assert_eq!(
            (&data["event_type"], &data["id"]),
            (&json!("message.received"), &json!(delivery.event_id))
        );
        assert_eq!((&payload["direction"], &payload["text"]), (&json!("inbound"), &json!("Thank you")));
        assert_eq!(payload["from"]["phone_number"], "+12025557001");
        assert_eq!(payload["to"][0]["phone_number"], "+12025550100");
        assert_eq!((&payload["type"], payload["media"].as_array().unwrap().len()), (&json!("MMS"), 1));
        assert_eq!(payload.get("autoresponse_type"), None);
    }
}

#[tokio::test]
async fn after_stop_texts_to_that_person_are_refused_until_start() {
    let world = World::new().await;
    let request = json!({
        "from": "+12025550100", "to": "+12025557001", "text": "Service at ten", "webhook_url": world.webhook_url,
    });
    for (word, status) in [("hello", 200), ("Stop", 409), ("help", 409), ("START", 200)] {
        world.simulator.receive(text(&world, word)).await;
        let answer = world.send(&request).await.unwrap();
        assert_eq!(answer.0, status, "{word}: {}", answer.1);
    }
    let told = world
        .receiver
        .bodies
        .lock()
        .unwrap()
        .iter()
        .filter_map(|body| body["data"]["payload"]["autoresponse_type"].as_str().map(str::to_owned))
        .collect::<Vec<_>>();
    assert_eq!(told, ["STOP", "STOP", "HELP", "HELP", "START", "START"]);
}
