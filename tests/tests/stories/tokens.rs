//! Who is let in: the same token for HTTP and for the socket, wherever the client puts it and however it connects.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tests::client::Client;
use tests::databases::Kind;
use tests::stack::TestStack;
use time::OffsetDateTime;

use super::{AUTHOR, CHURCH, SILENT};

fn in_seconds(seconds: i64) -> i64 {
    OffsetDateTime::now_utc().unix_timestamp() + seconds
}

fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn unsigned(claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(claims))
}

/// Where the client may put its token, and how it may connect; the last is the stock client's default.
fn ways() -> impl Iterator<Item = (&'static str, &'static str)> {
    ["auth", "query", "header"]
        .into_iter()
        .flat_map(|place| ["websocket", "polling", "polling,websocket"].map(|transports| (place, transports)))
}

/// How both refuse a church id of a wrong form.
const MALFORMED: &str = "invalid token: a church id is 1 to 64 characters of A-Z, a-z, 0-9, _ and -, \
                         because it names the church's subjects and room";

/// A token whose header demands an extension.
fn critical(secret: &str, claims: &Value) -> String {
    let header = Header { crit: Some(vec!["b64".into()]), ..Header::new(Algorithm::HS256) };
    encode(&header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// Bad tokens: what the gateway says of them after "Authentication error: ", and message-api's code.
fn bad_tokens(secret: &str) -> Vec<(&'static str, String, &'static str, &'static str)> {
    let good = json!({"userId": AUTHOR, "churchId": CHURCH, "exp": in_seconds(600)});
    let with = |field: &str, value: Value| {
        let mut claims = good.clone();
        claims[field] = value;
        signed(Algorithm::HS256, secret, &claims)
    };
    let (invalid, invalid_code) = ("invalid token", "token_invalid");
    vec![
        ("garbage", "not.a.token".into(), invalid, invalid_code),
        ("unsigned", unsigned(&good), invalid, invalid_code),
        ("another key", signed(Algorithm::HS256, &"k".repeat(48), &good), invalid, invalid_code),
        ("another algorithm", signed(Algorithm::HS512, secret, &good), invalid, invalid_code),
        ("no expiry", with("exp", Value::Null), invalid, invalid_code),
        ("church of a wrong form", with("churchId", json!("grace.*")), MALFORMED, "church_malformed"),
        ("issued tomorrow", with("iat", json!(in_seconds(86_400))), invalid, invalid_code),
        ("something critical", critical(secret, &good), invalid, invalid_code),
        ("no user", with("userId", Value::Null), invalid, invalid_code),
        ("expired", with("exp", json!(in_seconds(-31))), "token expired", "token_expired"),
        ("no church", with("churchId", Value::Null), "church missing", "church_missing"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_token_is_refused_by_both_with_its_reason() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let (file, http) = (stack.stack.file(), stack.stack.http());
    let url = format!("{}/api/messages/history", file.api);
    let refused = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 401);
        answer.json::<Value>().await.unwrap()["code"].take()
    };
    let tokens = bad_tokens(&file.jwt_secret);
    let clients = tokens.iter().map(async |(what, token, reason, code)| {
        assert_eq!(refused(http.get(&url).bearer_auth(token)).await, *code, "{what}");
        let mut client = Client::start(&file.gateways[0], token, &[]).await;
        let error = client.until("connect_error").await;
        assert_eq!(error.data["message"], format!("Authentication error: {reason}"), "{what}");
    });
    join_all(clients).await;

    assert_eq!(refused(http.get(&url)).await, "token_missing");
    let mut client = Client::start(&file.gateways[0], "unused", &["--token-in", "nothing"]).await;
    let error = client.until("connect_error").await;
    assert_eq!(error.data["message"], "Authentication error: missing token");
    assert_eq!(stack.metric(&file.ops.gateways[0], "church_gateway_sockets").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_called_so_in_every_place_over_every_transport() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let file = stack.stack.file();
    let claims = json!({"userId": AUTHOR, "churchId": CHURCH, "exp": in_seconds(-31)});
    let token = signed(Algorithm::HS256, &file.jwt_secret, &claims);
    join_all(ways().map(async |(place, transports)| {
        let arguments = ["--token-in", place, "--transports", transports];
        let mut client = Client::start(&file.gateways[0], &token, &arguments).await;
        let error = client.until("connect_error").await;
        assert_eq!(error.data["message"], "Authentication error: token expired", "{place} {transports}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_is_taken_from_every_place_over_every_transport() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let (stack, gateway) = (&stack, &stack.stack.file().gateways[0]);
    let clients = ways().map(async |(place, transports)| {
        let token = stack.token(CHURCH, place);
        let arguments = ["--token-in", place, "--transports", transports];
        let mut client = Client::start(gateway, &token, &arguments).await;
        let first = client.until("open").await.data["transport"].take();
        assert_eq!(first, transports.split(',').next().unwrap(), "{place}");
        let connected = client.until("connected").await.data;
        assert_eq!((&connected["userId"], &connected["churchId"]), (&json!(place), &json!(CHURCH)));
        assert_eq!(connected["recovered"], false);
        // It may have gone over before it was let in.
        while transports.contains(',') && !client.seen().iter().any(|seen| seen.event == "upgrade") {
            client.next().await;
        }
        client
    });
    let clients = join_all(clients).await;
    let message = stack.send(CHURCH, AUTHOR, &[SILENT]).await;
    for mut client in clients {
        assert_eq!(client.until("message:sent").await.data["messageId"], json!(message));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_shape_of_the_sign_in_with_admin_id_is_taken_by_both() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let file = stack.stack.file();
    let claims = json!({"adminId": "a-7", "churchId": CHURCH, "role": "admin", "exp": in_seconds(900)});
    let token = signed(Algorithm::HS256, &file.jwt_secret, &claims);
    let answer = stack.stack.http().get(format!("{}/api/messages/history", file.api)).bearer_auth(&token);
    assert_eq!(answer.send().await.unwrap().status(), 200);
    let mut client = Client::start(&file.gateways[0], &token, &[]).await;
    assert_eq!(client.until("connected").await.data["userId"], "a-7");
}
