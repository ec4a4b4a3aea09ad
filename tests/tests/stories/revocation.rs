//! Revoked tokens: their sockets close on every gateway, and the tokens are refused from then on.

use deploy::services::binary;
use serde_json::{Value, json};
use tests::client::Client;
use tests::databases::{self, Kind};
use tests::load::socketio;
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};
use time::OffsetDateTime;
use tokio::process::Command;

use super::{AUTHOR, CHURCH};

on_both_databases!(revoking_a_users_tokens_closes_only_their_sockets_on_every_gateway);

const REVOKED: &str = "Authentication error: token revoked";

async fn two_gateways(kind: Kind) -> TestStack {
    TestStack::start_with(kind, |options| options.gateways = 2).await
}

/// Runs an `ops` command on the stack's database. Returns its output.
async fn ops(stack: &TestStack, arguments: &[&str]) -> String {
    let mut command = Command::new(binary("ops").unwrap());
    command.args(arguments).env("DATABASE_URL", &stack.stack.file().database);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn revoke(stack: &TestStack, arguments: &[&str]) {
    ops(stack, &[&["revoke"], arguments].concat()).await;
}

/// A token issued this many seconds ago.
fn token_of_age(stack: &TestStack, church: &str, user: &str, age: i64) -> String {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let claims = json!({"userId": user, "churchId": church, "iat": now - age, "exp": now + 3_600});
    stack.token_with(&claims)
}

/// One client per gateway.
async fn at_both(stack: &TestStack, token: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for gateway in &stack.stack.file().gateways {
        let mut client = Client::start(gateway, token, &[]).await;
        client.until("connected").await;
        clients.push(client);
    }
    clients
}

/// Tries to connect to each gateway.
async fn connect_to_both(stack: &TestStack, token: &str) -> [anyhow::Result<socketio::Client>; 2] {
    let auth = json!({"token": token});
    let connect = async |number| socketio::Client::connect(stack.gateway_address(number), &auth).await;
    [connect(0).await, connect(1).await]
}

/// Status and code of message-api's answer to a request with this token. A 503 of a busy machine may be repeated.
async fn api_answer(stack: &TestStack, token: &str) -> (u16, Value) {
    let url = format!("{}/api/messages/history", stack.stack.file().api);
    eventually("message-api answers", async || {
        let answer = stack.stack.http().get(&url).bearer_auth(token).send().await.unwrap();
        let status = answer.status().as_u16();
        let code = answer.json::<Value>().await.unwrap()["code"].take();
        (status != 503).then_some((status, code))
    })
    .await
}

/// Fails unless both gateways and message-api refuse the token as revoked.
async fn assert_refused(stack: &TestStack, token: &str) {
    for outcome in connect_to_both(stack, token).await {
        let refusal = outcome.unwrap_err().to_string();
        assert!(refusal.contains(REVOKED), "{refusal}");
    }
    assert_eq!(api_answer(stack, token).await, (401, json!("token_revoked")));
}

/// Fails unless both gateways and message-api accept the token.
async fn assert_good(stack: &TestStack, token: &str) {
    for outcome in connect_to_both(stack, token).await {
        let first = outcome.unwrap().next().await.unwrap().unwrap();
        assert_eq!(first.name(), "connected");
    }
    assert_eq!(api_answer(stack, token).await.0, 200);
}

async fn until_closed(clients: &mut [Client]) {
    for client in clients {
        assert_eq!(client.until("disconnect").await.data["reason"], "transport close");
        assert_eq!(client.until("connect_error").await.data["message"], REVOKED);
    }
}

/// Kills and restarts the services one after the other.
async fn kill_and_restart(stack: &mut TestStack) {
    for service in ["realtime-gateway-1", "realtime-gateway-2", "message-api"] {
        stack.stack.kill(service).await.unwrap();
        stack.stack.start_process(service).unwrap();
        stack.stack.ready(service).await.unwrap();
    }
}

/// A token issued in a later second than the revocation.
async fn later_token(stack: &TestStack, revoked: OffsetDateTime) -> String {
    eventually("the next second", async || {
        (OffsetDateTime::now_utc().unix_timestamp() > revoked.unix_timestamp()).then_some(())
    })
    .await;
    stack.token(CHURCH, AUTHOR)
}

async fn revoking_a_users_tokens_closes_only_their_sockets_on_every_gateway(kind: Kind) {
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
            assert_eq!(client.recovered(), [false], "no other client was closed");
        }
    }
    assert_eq!(api_answer(&stack, &stack.token(CHURCH, "deacon")).await.0, 200);

    kill_and_restart(&mut stack).await;
    assert_refused(&stack, &old).await;
    assert_good(&stack, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_by_issue_time_spares_tokens_issued_later() {
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

/// The number of revocations in the stream.
async fn revocations_in_the_stream(stack: &TestStack) -> usize {
    let client = stack.stack.nats("ops").await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream(common::subject::STREAM).await.unwrap();
    let state = stream.cached_info().state.clone();
    let mut count = 0;
    for sequence in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await;
        count += usize::from(message.is_ok_and(|message| message.subject.ends_with(".revoked")));
    }
    count
}

async fn until_in_the_stream(stack: &TestStack) {
    eventually("the stream holds a revocation", async || {
        (revocations_in_the_stream(stack).await > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_outlive_the_outbox_and_the_stream_until_they_are_undone() {
    let mut stack = two_gateways(Kind::Sqlite).await;
    let old = stack.token(CHURCH, AUTHOR);
    revoke(&stack, &["--church", CHURCH, "--user", AUTHOR]).await;
    until_in_the_stream(&stack).await;
    stack.send(CHURCH, "deacon", &["+12025550101"]).await;
    stack.until_announced().await;
    // As the outbox's retention does.
    let database = stack.stack.file().database.clone();
    databases::execute(&database, "delete from outbox where subject like '%.revoked'").await;
    stack.wipe_broker().await;
    until_in_the_stream(&stack).await;
    kill_and_restart(&mut stack).await;
    assert_refused(&stack, &old).await;

    let list = ops(&stack, &["revocations"]).await;
    assert!(list.contains(&format!("tokens of userId {AUTHOR} in {CHURCH} issued until")), "{list}");
    ops(&stack, &["revocations", "undo", "--church", CHURCH, "--user", AUTHOR]).await;
    eventually("the token is accepted again", async || {
        connect_to_both(&stack, &old).await.iter().all(Result::is_ok).then_some(())
    })
    .await;
    assert_good(&stack, &old).await;
    kill_and_restart(&mut stack).await;
    assert_good(&stack, &old).await;
    assert_eq!(ops(&stack, &["revocations", "list", "--church", CHURCH]).await, "no tokens are revoked\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_aged_out_of_the_stream_is_announced_again() {
    let mut stack = two_gateways(Kind::Sqlite).await;
    let old = stack.token(CHURCH, AUTHOR);
    revoke(&stack, &["--church", CHURCH, "--user", AUTHOR]).await;
    until_in_the_stream(&stack).await;
    let week = std::time::Duration::from_secs(7 * 24 * 3_600);
    keep_events_for(&stack, std::time::Duration::from_secs(1)).await;
    eventually("the stream has dropped it", async || {
        (revocations_in_the_stream(&stack).await == 0).then_some(())
    })
    .await;
    keep_events_for(&stack, week).await;
    let database = stack.stack.file().database.clone();
    databases::execute(&database, "update revocations set announced_at = $EPOCH").await;
    until_in_the_stream(&stack).await;
    kill_and_restart(&mut stack).await;
    assert_refused(&stack, &old).await;
}

async fn keep_events_for(stack: &TestStack, time: std::time::Duration) {
    let jetstream = async_nats::jetstream::new(stack.stack.nats("provisioner").await.unwrap());
    let stream = jetstream.get_stream(common::subject::STREAM).await.unwrap();
    let mut config = stream.cached_info().config.clone();
    // The duplicate window may not exceed the age limit.
    config.duplicate_window = time.min(std::time::Duration::from_secs(120));
    config.max_age = time;
    jetstream.update_stream(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_user_id_spares_the_admin_with_the_same_id() {
    let stack = two_gateways(Kind::Sqlite).await;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let token = |claim: &str| {
        stack.token_with(&json!({claim: 7, "churchId": CHURCH, "iat": now - 60, "exp": now + 3_600}))
    };
    // An id that a script left empty is nobody's, and not the whole church.
    let empty = stack.ops(&["revoke", "--church", CHURCH, "--user", ""]).await;
    assert!(empty.code == 2 && empty.err.contains("a value is required"), "{empty:?}");
    revoke(&stack, &["--church", CHURCH, "--user", "7"]).await;
    until_in_the_stream(&stack).await;
    eventually("the gateways know the revocation", async || {
        connect_to_both(&stack, &token("userId")).await.iter().all(Result::is_err).then_some(())
    })
    .await;
    assert_refused(&stack, &token("userId")).await;
    assert_good(&stack, &token("adminId")).await;
    revoke(&stack, &["--church", CHURCH, "--admin", "7"]).await;
    eventually("the gateways know the revocation", async || {
        connect_to_both(&stack, &token("adminId")).await.iter().all(Result::is_err).then_some(())
    })
    .await;
    assert_refused(&stack, &token("adminId")).await;
}
