//! Operators take tokens back: the sockets end everywhere, and nothing lets them in again.

use deploy::services::binary;
use serde_json::{Value, json};
use tests::client::Client;
use tests::databases::Kind;
use tests::load::socketio;
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};
use time::OffsetDateTime;
use tokio::process::Command;

use super::{AUTHOR, CHURCH};

on_both_databases!(a_user_whose_tokens_are_revoked_is_out_everywhere_and_nobody_else_is);

const REVOKED: &str = "Authentication error: token revoked";

async fn two_gateways(kind: Kind) -> TestStack {
    TestStack::start_with(kind, |options| options.gateways = 2).await
}

/// Runs the operators' command.
async fn revoke(stack: &TestStack, arguments: &[&str]) {
    let mut command = Command::new(binary("ops").unwrap());
    command.arg("revoke").args(arguments).env("DATABASE_URL", &stack.stack.file().database);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A token that was issued so many seconds ago.
fn token_of_age(stack: &TestStack, church: &str, user: &str, age: i64) -> String {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let claims = json!({"userId": user, "churchId": church, "iat": now - age, "exp": now + 3_600});
    stack.token_with(&claims)
}

/// A client at each gateway.
async fn at_both(stack: &TestStack, token: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for gateway in &stack.stack.file().gateways {
        let mut client = Client::start(gateway, token, &[]).await;
        client.until("connected").await;
        clients.push(client);
    }
    clients
}

/// Tries to get in at each gateway.
async fn knock_at_both(stack: &TestStack, token: &str) -> [anyhow::Result<socketio::Client>; 2] {
    let auth = json!({"token": token});
    let knock = async |number| socketio::Client::connect(stack.gateway_address(number), &auth).await;
    [knock(0).await, knock(1).await]
}

/// What message-api answers to a token.
async fn asked(stack: &TestStack, token: &str) -> (u16, Value) {
    let url = format!("{}/api/messages/history", stack.stack.file().api);
    let answer = stack.stack.http().get(url).bearer_auth(token).send().await.unwrap();
    (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["code"].take())
}

/// Neither gateway lets it in, and message-api does not answer it.
async fn assert_refused(stack: &TestStack, token: &str) {
    for outcome in knock_at_both(stack, token).await {
        let refusal = outcome.unwrap_err().to_string();
        assert!(refusal.contains(REVOKED), "{refusal}");
    }
    assert_eq!(asked(stack, token).await, (401, json!("token_revoked")));
}

/// Both gateways let it in, and message-api answers it.
async fn assert_good(stack: &TestStack, token: &str) {
    for outcome in knock_at_both(stack, token).await {
        let first = outcome.unwrap().next().await.unwrap().unwrap();
        assert_eq!(first.name(), "connected");
    }
    assert_eq!(asked(stack, token).await.0, 200);
}

async fn until_closed(clients: &mut [Client]) {
    for client in clients {
        assert_eq!(client.until("disconnect").await.data["reason"], "transport close");
        assert_eq!(client.until("connect_error").await.data["message"], REVOKED);
    }
}

/// Services begin anew, one after the other.
async fn kill_and_restart(stack: &mut TestStack) {
    for service in ["realtime-gateway-1", "realtime-gateway-2", "message-api"] {
        stack.stack.kill(service).await.unwrap();
        stack.stack.start_process(service).unwrap();
        stack.stack.ready(service).await.unwrap();
    }
}

/// A token of a later second than the one in which tokens were revoked.
async fn later_token(stack: &TestStack, revoked: OffsetDateTime) -> String {
    eventually("the next second", async || {
        (OffsetDateTime::now_utc().unix_timestamp() > revoked.unix_timestamp()).then_some(())
    })
    .await;
    stack.token(CHURCH, AUTHOR)
}

async fn a_user_whose_tokens_are_revoked_is_out_everywhere_and_nobody_else_is(kind: Kind) {
    let mut stack = two_gateways(kind).await;
    let old = stack.token(CHURCH, AUTHOR);
    let mut revoked = at_both(&stack, &old).await;
    let mut colleagues = at_both(&stack, &stack.token(CHURCH, "deacon")).await;
    let mut namesakes = at_both(&stack, &stack.token("hope", AUTHOR)).await;
    revoke(&stack, &["--church", CHURCH, "--user", AUTHOR]).await;
    let at = OffsetDateTime::now_utc();
    until_closed(&mut revoked).await;
    assert_refused(&stack, &old).await;
    let new = later_token(&stack, at).await;
    assert_good(&stack, &new).await;

    let announcer = stack.announcer().await;
    for (clients, church) in [(&mut colleagues, CHURCH), (&mut namesakes, "hope")] {
        let events = announcer.announce(church, 1, "").await;
        for client in clients {
            client.until_event(events[0]).await;
            assert_eq!(client.recovered(), [false], "nobody else was closed");
        }
    }
    assert_eq!(asked(&stack, &stack.token(CHURCH, "deacon")).await.0, 200);

    kill_and_restart(&mut stack).await;
    assert_refused(&stack, &old).await;
    assert_good(&stack, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_issued_to_a_church_before_a_time_is_revoked_and_what_came_later_is_good() {
    let mut stack = two_gateways(Kind::Sqlite).await;
    let old = [AUTHOR, "deacon"].map(|user| token_of_age(&stack, CHURCH, user, 600));
    let new = [AUTHOR, "deacon"].map(|user| token_of_age(&stack, CHURCH, user, 60));
    let other = token_of_age(&stack, "hope", AUTHOR, 600);
    let mut revoked = at_both(&stack, &old[0]).await;
    revoked.extend(at_both(&stack, &old[1]).await);
    let mut kept = at_both(&stack, &new[0]).await;
    let before = OffsetDateTime::now_utc() - time::Duration::seconds(300);
    let before = common::event::timestamp::to_text(before);
    revoke(&stack, &["--church", CHURCH, "--issued-before", &before]).await;
    until_closed(&mut revoked).await;
    let events = stack.announcer().await.announce(CHURCH, 1, "").await;
    for client in &mut kept {
        client.until_event(events[0]).await;
        assert_eq!(client.recovered(), [false], "a later token's socket was not closed");
    }
    for _ in 0..2 {
        for token in &old {
            assert_refused(&stack, token).await;
        }
        for token in new.iter().chain([&other]) {
            assert_good(&stack, token).await;
        }
        kill_and_restart(&mut stack).await;
    }
}
