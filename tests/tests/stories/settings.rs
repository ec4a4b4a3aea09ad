//! A wrong setting ends each service with exit code 2. The error names the variable and shows no secret.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use deploy::program::Program;
use deploy::services::Wiring;
use tempfile::TempDir;

/// Longest wait for the exit. A process that accepts a wrong setting keeps running.
const PATIENCE: Duration = Duration::from_secs(60);
/// A password that no output may contain.
const PASSWORD: &str = "hunter2";

/// Valid settings for all services.
fn wiring(folder: &Path) -> Wiring {
    let passwords = ["message_api", "ingest", "gateway"].map(|user| (user.into(), PASSWORD.into()));
    Wiring {
        database_url: format!("sqlite:{}", folder.join("church.db").display()),
        jwt_secret: "0123456789abcdef0123456789abcdef".into(),
        nats_url: "nats://127.0.0.1:1".into(),
        nats_ca_file: None,
        nats_passwords: passwords.into_iter().collect(),
        telnyx_url: "http://127.0.0.1:1".into(),
        telnyx_api_key: "KEY".into(),
        telnyx_public_key: "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=".into(),
        ingest_url: "http://127.0.0.1:1".into(),
        recipients_url: String::new(),
        recipients_secret: String::new(),
        listen: std::net::Ipv4Addr::LOCALHOST.into(),
        cors_origins: vec!["localhost".into()],
    }
}

/// Exit code and error output of a program with some variables changed.
async fn ended(program: &Program, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::from(program.command());
    let output = command.envs(variables.iter().copied()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await;
    assert!(output.is_ok(), "{} runs with {variables:?}", program.name);
    let output = output.unwrap().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

async fn refuses(program: &Program, variable: &str, variables: &[(&str, &str)]) {
    let (code, said) = ended(program, variables).await;
    assert_eq!(code, Some(2), "{} with {variables:?}: {said}", program.name);
    assert!(said.contains(variable), "{} with {variables:?}: {said}", program.name);
    assert!(!said.contains(PASSWORD), "{} with {variables:?}: {said}", program.name);
}

async fn refuses_each(program: &Program, table: &[(&str, &str)]) {
    for (variable, value) in table {
        refuses(program, variable, &[(variable, value)]).await;
    }
}

const LOGS: [(&str, &str); 3] = [("LOG", "inof"), ("LOG", "info,common=loud"), ("LOG_FORMAT", "xml")];
const BROKER: [(&str, &str); 9] = [
    ("NATS_URL", ""),
    ("NATS_URL", "http://127.0.0.1:1"),
    ("NATS_URL", "nats://"),
    ("NATS_URL", "nats://127.0.0.1:1,"),
    ("NATS_URL", "https://user:hunter2@127.0.0.1:1"),
    ("NATS_USER", ""),
    ("NATS_PASSWORD", ""),
    ("NATS_CA_FILE", ""),
    ("NATS_CA_FILE", "/nowhere/ca.pem"),
];
const DATABASE: [(&str, &str); 12] = [
    ("DATABASE_URL", ""),
    ("DATABASE_URL", "church.db"),
    ("DATABASE_URL", "mysql://user:hunter2@localhost/church"),
    ("DATABASE_URL", "postgres://"),
    ("DATABASE_URL", "postgres://user:hunter2@localhost"),
    ("DATABASE_URL", "postgres://user:hunter2@localhost:port/church"),
    ("DATABASE_URL", "postgres://user:hunter2@localhost/church?sslmod=require"),
    ("DATABASE_URL", "sqlite:"),
    ("DATABASE_URL", "sqlite:/etc"),
    ("DATABASE_URL", "sqlite:/no/such/folder/church.db"),
    ("DATABASE_CONNECTIONS", "0"),
    ("DATABASE_CONNECTIONS", "-1"),
];
const PAGES: [(&str, &str); 11] = [
    ("CORS_ORIGINS", ""),
    ("CORS_ORIGINS", "*"),
    ("CORS_ORIGINS", "app.example.org"),
    ("CORS_ORIGINS", "https://*.example.org"),
    ("CORS_ORIGINS", "https://App.example.org"),
    ("CORS_ORIGINS", "https://app.example.org:443"),
    ("CORS_ORIGINS", "https://app.example.org/"),
    ("CORS_ORIGINS", "https://app.example.org/live"),
    ("CORS_ORIGINS", "https://user:hunter2@app.example.org"),
    ("CORS_HEADERS", "two words"),
    ("CORS_HEADERS", "*"),
];
const TOKENS: [(&str, &str); 4] =
    [("JWT_SECRET", ""), ("JWT_SECRET", "short"), ("JWT_ISSUER", ""), ("JWT_PUBLIC_KEY_FILE", "key.pem")];

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// Files with keys that can't verify tokens.
fn wrong_keys() -> [(&'static str, String); 4] {
    let private = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = private.as_der().unwrap();
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let p384: PublicKeyX509Der<'_> = p384.public_key().as_der().unwrap();
    [
        ("RSA private", pem("PRIVATE KEY", private.as_ref())),
        ("RSA 1024", include_str!("../../../common/testdata/rsa-1024.pem").into()),
        ("P-384", pem("PUBLIC KEY", p384.as_ref())),
        ("garbage", "garbage".into()),
    ]
}

async fn refuses_wrong_keys(program: &mut Program, folder: &Path) {
    // A secret and a key file exclude each other.
    program.environment.retain(|(name, _)| name != "JWT_SECRET");
    for (what, pem) in wrong_keys() {
        let file = folder.join(what);
        std::fs::write(&file, pem).unwrap();
        let file = file.to_str().unwrap();
        refuses(program, "JWT_PUBLIC_KEY_FILE", &[("JWT_PUBLIC_KEY_FILE", file)]).await;
    }
}

/// A CA file must contain a readable certificate.
async fn refuses_a_wrong_ca(program: &Program, folder: &Path) {
    for (what, text) in [
        ("nothing", String::new()),
        ("no PEM", "garbage".into()),
        ("no certificate", pem("PUBLIC KEY", b"x")),
        ("no readable certificate", pem("CERTIFICATE", b"garbage")),
    ] {
        let file = folder.join(what);
        std::fs::write(&file, text).unwrap();
        refuses(program, "NATS_CA_FILE", &[("NATS_CA_FILE", file.to_str().unwrap())]).await;
    }
}

/// A taken address is no wrong setting, because it may be free the next time.
async fn names_a_taken_port(program: &Program, variables: [&str; 2]) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for variable in variables {
        let (code, said) = ended(program, &[(variable, &address)]).await;
        assert_eq!(code, Some(1), "{}: {said}", program.name);
        assert!(said.contains(variable) && said.contains(&address), "{}: {said}", program.name);
    }
}

#[tokio::test]
async fn message_api_refuses_a_wrong_setting_and_names_it() {
    let folder = TempDir::new().unwrap();
    let mut api = wiring(folder.path()).message_api(0, 0).unwrap();
    refuses_each(&api, &LOGS).await;
    refuses_each(&api, &BROKER).await;
    refuses_each(&api, &DATABASE).await;
    refuses_each(&api, &PAGES).await;
    refuses_each(&api, &TOKENS).await;
    let own = [
        ("TELNYX_API_KEY", ""),
        ("TELNYX_API_KEY", "KEY hunter2"),
        ("TELNYX_API_KEY", "hunter2\n"),
        ("TELNYX_FROM", "5551230000"),
        ("TELNYX_MESSAGING_PROFILE_ID", "a b"),
        ("TELNYX_BASE_URL", "api.telnyx.com"),
        ("TELNYX_BASE_URL", "ftp://user:hunter2@api.telnyx.com"),
        ("PUBLIC_WEBHOOK_URL", "nowhere"),
        ("PUBLIC_WEBHOOK_URL", "https://user:hunter2@hooks.example.org/?a=b"),
        ("PUBLIC_WEBHOOK_URL", "https://user:hunter2@hooks.example.org/webhooks/telnyx"),
        ("PUBLIC_WEBHOOK_URL", "user:hunter2@hooks.example.org"),
        ("PUBLIC_WEBHOOK_FAILOVER_URL", "nowhere"),
        ("PUBLIC_WEBHOOK_FAILOVER_URL", "https://user:hunter2@hooks.example.org/webhooks/telnyx"),
        ("DEFAULT_COUNTRY", "XX"),
        ("DEFAULT_COUNTRY", "Nigeria"),
        ("SEND_RATE", "0"),
        ("SEND_RATE", "fast"),
        ("SEND_WITHIN", "soon"),
        ("SEND_WITHIN", "12"),
        ("UNRESOLVED_AFTER", "soon"),
        ("UNRESOLVED_AFTER", "14s"),
        ("API_LISTEN", "8080"),
        ("INBOUND_URL", "nowhere"),
        ("INBOUND_URL", "http://user:hunter2@church.example.org/inbound"),
    ];
    refuses_each(&api, &own).await;
    let back_end = ("INBOUND_URL", "https://user:hunter2@church.example.org/inbound");
    refuses(&api, "RECIPIENTS_SECRET", &[back_end]).await;
    refuses(&api, "RECIPIENTS_SECRET", &[back_end, ("RECIPIENTS_SECRET", PASSWORD)]).await;
    refuses(&api, "UNRESOLVED_AFTER", &[("SEND_TIMEOUT", "1h"), ("UNRESOLVED_AFTER", "30m")]).await;
    refuses_a_wrong_ca(&api, folder.path()).await;
    names_a_taken_port(&api, ["API_LISTEN", "API_OPS_LISTEN"]).await;
    refuses_wrong_keys(&mut api, folder.path()).await;
}

#[tokio::test]
async fn webhook_ingest_refuses_a_wrong_setting_and_names_it() {
    let folder = TempDir::new().unwrap();
    let ingest = wiring(folder.path()).webhook_ingest(0, 0).unwrap();
    refuses_each(&ingest, &LOGS).await;
    refuses_each(&ingest, &BROKER).await;
    refuses_each(&ingest, &DATABASE).await;
    let own = [
        ("TELNYX_PUBLIC_KEY", ""),
        ("TELNYX_PUBLIC_KEY", "none"),
        ("INGEST_QUEUE_BYTES", "1000000"),
        ("INGEST_BATCH", "0"),
        ("INGEST_LISTEN", "8081"),
        ("TELNYX_FROM", "5551230000"),
        ("TELNYX_FROM", ""),
        ("TELNYX_FROM_CHURCH", "two words"),
    ];
    refuses_each(&ingest, &own).await;
    refuses_a_wrong_ca(&ingest, folder.path()).await;
    names_a_taken_port(&ingest, ["INGEST_LISTEN", "INGEST_OPS_LISTEN"]).await;
}

#[tokio::test]
async fn realtime_gateway_refuses_a_wrong_setting_and_names_it() {
    let folder = TempDir::new().unwrap();
    let mut gateway = wiring(folder.path()).gateway(1, 0, 0).unwrap();
    refuses_each(&gateway, &LOGS).await;
    refuses_each(&gateway, &BROKER).await;
    refuses_each(&gateway, &PAGES).await;
    refuses_each(&gateway, &TOKENS).await;
    let own = [("TRUSTED_PROXIES", "proxy"), ("GATEWAY_MAX_MESSAGE", "1"), ("GATEWAY_LISTEN", "8082")];
    refuses_each(&gateway, &own).await;
    refuses_a_wrong_ca(&gateway, folder.path()).await;
    names_a_taken_port(&gateway, ["GATEWAY_LISTEN", "GATEWAY_OPS_LISTEN"]).await;
    refuses_wrong_keys(&mut gateway, folder.path()).await;
}
