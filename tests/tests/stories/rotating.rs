//! Every secret is replaced under load, in the order of docs/runbook.md. No webhook is lost, and no text is sent twice.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deploy::nats;
use deploy::services::{API, INGEST, gateway};
use deploy::{token, traffic};
use tests::databases::{self, Database, Kind};
use tests::eventually;
use tests::stack::{TestStack, id_of};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{AUTHOR, CHURCH, borrowed, phones};

/// The secret that replaces the stack's.
const NEW_SECRET: &str = "a-secret-that-replaces-the-first-one";
/// The password that replaces each other one.
const NEW_PASSWORD: &str = "p00112233445566778899aabb";

/// Sends messages one after the other until it is stopped.
struct Load {
    token: Arc<Mutex<String>>,
    sent: Arc<Mutex<Vec<Uuid>>>,
    running: JoinHandle<()>,
}

impl Load {
    fn start(stack: &TestStack) -> Self {
        let token = Arc::new(Mutex::new(stack.token(CHURCH, AUTHOR)));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (http, api) = (stack.stack.http().clone(), stack.stack.file().api.clone());
        let (tokens, messages) = (token.clone(), sent.clone());
        let running = tokio::spawn(async move {
            let phones = phones(5);
            loop {
                let token = tokens.lock().unwrap().clone();
                // message-api may be restarting.
                match traffic::send(&http, &api, &token, "Service at ten", &borrowed(&phones)).await {
                    Ok(message) => messages.lock().unwrap().push(id_of(&message)),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        Self { token, sent, running }
    }

    /// Waits until more messages were sent.
    async fn until_more(&self) {
        let before = self.sent.lock().unwrap().len();
        eventually("more messages are sent", async || {
            (self.sent.lock().unwrap().len() > before + 2).then_some(())
        })
        .await;
    }

    fn stop(self) -> Vec<Uuid> {
        self.running.abort();
        self.sent.lock().unwrap().clone()
    }
}

async fn restart(stack: &mut TestStack, process: &str, changes: &[(&str, &str)]) {
    for (variable, value) in changes {
        stack.stack.set(process, variable, value).unwrap();
    }
    // However long a restart takes here, Telnyx has an attempt left after it.
    stack.telnyx().hold_repetitions(true);
    stack.stack.terminate(process).await.unwrap();
    stack.stack.start_process(process).unwrap();
    stack.stack.ready(process).await.unwrap();
    stack.telnyx().hold_repetitions(false);
    eventually("each webhook that failed is answered 200", async || {
        let attempts: Vec<_> = stack.telnyx().entries().into_iter().flat_map(|it| it.webhooks).collect();
        let answered: HashSet<_> =
            attempts.iter().filter(|it| it.answer == Some(200)).map(|it| it.event_id).collect();
        attempts.iter().all(|it| answered.contains(&it.event_id)).then_some(())
    })
    .await;
}

async fn rotate_the_secret_of_tokens(stack: &mut TestStack, load: &Load) {
    let both = format!("{NEW_SECRET},{}", stack.stack.file().jwt_secret);
    for secrets in [&*both, NEW_SECRET] {
        for process in [gateway(1), gateway(2), API.into()] {
            restart(stack, &process, &[("JWT_SECRET", secrets)]).await;
            load.until_more().await;
        }
        // From now on the product signs with the new one.
        let new = token::mint(NEW_SECRET, CHURCH, AUTHOR, Duration::from_secs(3600)).unwrap();
        *load.token.lock().unwrap() = new;
        load.until_more().await;
    }
}

async fn rotate_the_passwords_of_the_broker(stack: &mut TestStack, load: &Load) {
    for user in ["INGEST", "MESSAGE_API", "GATEWAY"] {
        stack.stack.set(nats::NAME, &format!("NATS_{user}_PASSWORD"), NEW_PASSWORD).unwrap();
    }
    restart(stack, nats::NAME, &[]).await;
    load.until_more().await;
    for process in [gateway(1), gateway(2), INGEST.into(), API.into()] {
        restart(stack, &process, &[("NATS_PASSWORD", NEW_PASSWORD)]).await;
    }
    load.until_more().await;
}

/// Returns the new `DATABASE_URL`.
async fn rotate_the_password_of_the_database(stack: &mut TestStack, load: &Load) -> String {
    let old = stack.stack.file().database.clone();
    databases::execute(&old, &format!("alter role church password '{NEW_PASSWORD}'")).await;
    let (before, after) = old.split_once('@').unwrap();
    let (user, _) = before.rsplit_once(':').unwrap();
    let new = format!("{user}:{NEW_PASSWORD}@{after}");
    for process in [INGEST, API] {
        restart(stack, process, &[("DATABASE_URL", &new)]).await;
    }
    load.until_more().await;
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn every_secret_is_replaced_under_load_without_losing_a_webhook() {
    let mut stack = TestStack::start_with(Kind::Postgres, |options| {
        options.gateways = 2;
        options.environment.push((API.into(), "SEND_RATE".into(), "200".into()));
    })
    .await;
    let old_token = stack.token(CHURCH, AUTHOR);
    let load = Load::start(&stack);
    load.until_more().await;
    rotate_the_secret_of_tokens(&mut stack, &load).await;
    let key = stack.stack.wiring().telnyx_public_key;
    let other = deploy::simulator::Signer::from_seed(&other_seed()).unwrap().public_key();
    for keys in [format!("{other},{key}"), key] {
        restart(&mut stack, INGEST, &[("TELNYX_PUBLIC_KEY", &keys)]).await;
        load.until_more().await;
    }
    rotate_the_passwords_of_the_broker(&mut stack, &load).await;
    let database = rotate_the_password_of_the_database(&mut stack, &load).await;
    let new_token = load.token.lock().unwrap().clone();
    let messages = load.stop();

    let history = format!("{}/api/messages/history", stack.stack.file().api);
    let asked = stack.stack.http().get(&history).bearer_auth(&old_token).send().await.unwrap();
    assert_eq!(asked.status(), 401);
    for message in messages {
        let url = format!("{}/api/messages/{message}", stack.stack.file().api);
        eventually("every recipient is delivered", async || {
            let asked = stack.stack.http().get(&url).bearer_auth(&new_token).send().await.ok()?;
            let shown: serde_json::Value = asked.json().await.ok()?;
            (shown["data"]["deliveredCount"] == 5).then_some(())
        })
        .await;
    }
    stack.sent_once();
    let audit = Database::named(&database).audit().await.unwrap();
    assert!(audit.is_sound() && audit.parked == 0, "{audit:?}");
}

/// The seed of a key that replaces Telnyx's.
fn other_seed() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode([9; 32])
}
